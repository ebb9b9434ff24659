"""Every data set's images in the size and the channels that the network takes."""

import numpy as np
from PIL import Image

from stages.common.entry import UserError

BOX = 20 / 28  # part of the network's size into which MNIST fits a digit before it centres it
LUMA = np.array([299, 587, 114])  # thousandths of red, green and blue in the brightness that people see (ITU-R BT.601)


def to_network_size(images: np.ndarray, size: int, channels: int, prepare: str) -> np.ndarray:
    """uint8 (N, size, size), with three `channels` (N, size, size, 3), from uint8 (N, height, width) or (…, 3).

    `prepare` is `as is` (they have that size), `fit` (scaled until the longer side fills it) or `box` (until the longer
    side fills MNIST's box, 20 of 28 pixels). Both scale bilinearly, keep the proportions and add black around. They are
    neither cropped to their ink nor centred by mass, as MNIST's authors did. Raises `UserError` if `as is` does not do.
    """
    images = in_channels(images, channels)
    count, height, width = images.shape[:3]
    if (height, width) == (size, size):
        return images
    if prepare == "as is":
        raise UserError(
            f"the images are {width}×{height} and preprocess.image_size is {size}: set that to {height}, or `prepare`"
            " of the data set in datasets.yaml to fit"
        )
    scale = size * (BOX if prepare == "box" else 1) / max(height, width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - new_height) // 2, (size - new_width) // 2
    prepared = np.zeros((count, size, size, *images.shape[3:]), np.uint8)
    for target, image in zip(prepared, images):
        resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
        target[top : top + new_height, left : left + new_width] = np.asarray(resized)
    return prepared


def in_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Grey `images` (N, height, width) or coloured ones (N, height, width, 3), as `channels`, 1 or 3, says."""
    if channels == 1 and images.ndim == 4:
        return np.asarray((images @ LUMA + 500) // 1000, np.uint8)
    if channels == 3 and images.ndim == 3:
        return np.repeat(images[..., np.newaxis], 3, axis=3)
    return images

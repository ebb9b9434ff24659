"""Every data set's images in the size and the channels that the network takes."""

import numpy as np
from PIL import Image

from stages.common.entry import UserError

BOX = 20 / 28  # part of the network's size into which MNIST fits a digit before it centres it
LUMA = np.array([299, 587, 114])  # thousandths of red, green and blue in the brightness that people see (ITU-R BT.601)


def to_network_size(images: np.ndarray, size: int, channels: int, prepare: str) -> np.ndarray:
    """uint8 (N, size, size), with three `channels` (N, size, size, 3), from square images, grey or in colour.

    Images that have the size stay as they are. Others are scaled bilinearly, by `prepare`: `fit` to the size; `box` to
    MNIST's box, 20 of 28 pixels, with black around. They are neither cropped to their ink nor centred by mass, as its
    authors did. Raises `UserError` if `prepare` is `as is`.
    """
    images = in_channels(images, channels)
    count, side = images.shape[:2]
    if side == size:
        return images
    if prepare == "as is":
        raise UserError(
            f"the images are {side}×{side} and preprocess.image_size is {size}: set that to {side}, or `prepare`"
            " of the data set in datasets.yaml to fit"
        )
    inner = max(1, round(size * BOX)) if prepare == "box" else size
    margin = (size - inner) // 2
    prepared = np.zeros((count, size, size, *images.shape[3:]), np.uint8)
    for target, image in zip(prepared, images):
        resized = Image.fromarray(image).resize((inner, inner), Image.Resampling.BILINEAR)
        target[margin : margin + inner, margin : margin + inner] = np.asarray(resized)
    return prepared


def in_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 `images`, grey (N, side, side) or in colour (N, side, side, 3), with `channels`: 1 or 3."""
    if channels == 1 and images.ndim == 4:
        return np.asarray((images @ LUMA + 500) // 1000, np.uint8)
    if channels == 3 and images.ndim == 3:
        return np.repeat(images[..., np.newaxis], 3, axis=3)
    return images

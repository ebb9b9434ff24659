"""Every data set's images in the size and the channels that the network takes."""

import numpy as np
from PIL import Image

from stages.common.entry import UserError
from stages.preprocess.digit import SIDE, digit

BOX = 20 / 28  # part of the network's size into which MNIST fits a digit before it centres it
LUMA = np.array([299, 587, 114])  # thousandths of red, green and blue in the brightness that people see (ITU-R BT.601)


def to_network_size(images: np.ndarray, size: int, channels: int, prepare: str) -> np.ndarray:
    """uint8 (N, size, size), with three `channels` (N, size, size, 3), from square images, grey or in colour.

    With `prepare` `digit`, the digit of each is found and brought to MNIST's form, as a served picture is. Otherwise
    images that have the size stay as they are, and others are scaled bilinearly: `fit` to the size, `box` to 20 of 28
    pixels, with black around. Raises `UserError` if `prepare` is `as is`, or if an image shows no digit.
    """
    if prepare == "digit":
        return found_digits(images, size, channels)
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


def found_digits(images: np.ndarray, size: int, channels: int) -> np.ndarray:
    """uint8 (N, 28, 28): the digit of each of `images`. Raises `UserError` if one shows none, or for another size."""
    if (size, channels) != (SIDE, 1):
        raise UserError(f"prepare: digit makes {SIDE}×{SIDE} grey images: set preprocess.image_size, channels to that")
    found = [digit(image) for image in images]
    if missing := [index for index, each in enumerate(found) if each is None]:
        some = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        raise UserError(f"prepare: digit finds no digit in {len(missing):,} of {len(images):,} images: {some}")
    return np.stack([each.image for each in found if each])


def in_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 `images`, grey (N, side, side) or in colour (N, side, side, 3), with `channels`: 1 or 3."""
    if channels == 1 and images.ndim == 4:
        return np.asarray((images @ LUMA + 500) // 1000, np.uint8)
    if channels == 3 and images.ndim == 3:
        return np.repeat(images[..., np.newaxis], 3, axis=3)
    return images

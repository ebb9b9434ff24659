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
    prepared, without = some_to_network_size(images, size, channels, prepare)
    if len(without):
        raise no_digit(without, len(images))
    return prepared


def some_to_network_size(images: np.ndarray, size: int, channels: int, prepare: str) -> tuple[np.ndarray, np.ndarray]:
    """As `to_network_size`, but images that show no digit become black: their indices are the second array."""
    if prepare == "digit":
        return found_digits(images, size, channels)
    images, none = in_channels(images, channels), np.empty(0, np.intp)
    count, side = images.shape[:2]
    if side == size:
        return images, none
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
    return prepared, none


def found_digits(images: np.ndarray, size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 28, 28): the digit of each of `images`, black if it shows none; the indices of these.

    Raises `UserError` for another size.
    """
    if (size, channels) != (SIDE, 1):
        raise UserError(f"prepare: digit makes {SIDE}×{SIDE} grey images: set preprocess.image_size, channels to that")
    prepared, without = np.zeros((len(images), SIDE, SIDE), np.uint8), []
    for index, image in enumerate(images):
        if found := digit(image):
            prepared[index] = found.image
        else:
            without.append(index)
    return prepared, np.array(without, np.intp)


def no_digit(indices: np.ndarray, count: int) -> UserError:
    """What to raise if those of `count` images at the `indices` show no digit."""
    some = ", ".join(map(str, indices[:10])) + (", …" if len(indices) > 10 else "")
    return UserError(f"prepare: digit finds no digit in {len(indices):,} of {count:,} images: {some}")


def in_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 `images`, grey (N, side, side) or in colour (N, side, side, 3), with `channels`: 1 or 3."""
    if channels == 1 and images.ndim == 4:
        return np.asarray((images @ LUMA + 500) // 1000, np.uint8)
    if channels == 3 and images.ndim == 3:
        return np.repeat(images[..., np.newaxis], 3, axis=3)
    return images

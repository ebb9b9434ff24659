"""Which training images are held out for validation."""

import math

import numpy as np

from stages.common.entry import UserError

BLOCK = 1 << 16  # images that are looked up at once


def split_by_writer(writers: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A boolean mask over the images: true if held out for validation; no writer on both sides.

    `writers` is one whole number from 0 per image. Whole writers are drawn in a seeded order until the
    number of images is as near to `fraction` of them all as one writer more or fewer allows; at
    least one writer stays on each side. Raises `UserError` if there is only one.
    """
    blocks = [writers[start : start + BLOCK] for start in range(0, len(writers), BLOCK)]
    images = np.zeros(int(writers.max()) + 1, np.int64)
    for block in blocks:
        images += np.bincount(block, minlength=len(images))
    names = np.flatnonzero(images)
    if len(names) < 2:
        raise UserError("all images are by one writer: set preprocess.split_by_writer to false in params.yaml")
    order = np.random.default_rng(seed).permutation(len(names))
    held = np.cumsum(images[names[order]])[:-1]
    number = int(np.argmin(np.abs(held - fraction * len(writers)))) + 1
    drawn = names[order[:number]]
    return np.concatenate([np.isin(block, drawn) for block in blocks])


def split_stratified(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A boolean mask over the images: true if held out; every class keeps its share on both sides.

    The mask is that of scikit-learn's `train_test_split(stratify=labels)`, which needs ten times the memory: it keeps
    the indices of all images at once, and as Python's numbers. Raises `UserError` if there are too few images.
    """
    classes, counts = np.unique(labels, return_counts=True)
    number = math.ceil(fraction * len(labels))
    problem = f"preprocess.validation_fraction is {fraction}"
    if counts.min() < 2:
        raise UserError(f"{problem}: the least populated class has only 1 image, and each side needs one of it")
    if min(number, len(labels) - number) < len(classes):
        raise UserError(f"{problem}: {number} of {len(labels)} images are held out: too few for {len(classes)} classes")
    random = np.random.RandomState(seed)
    stay = shares(counts, len(labels) - number, random)
    leave = shares(counts - stay, number, random)
    mask = np.full(len(labels), False)
    for name, count, first, more in zip(classes, counts, stay, leave, strict=True):
        own = np.flatnonzero(labels == name)
        mask[own[random.permutation(count)[first : first + more]]] = True
    return mask


def shares(counts: np.ndarray, number: int, random: np.random.RandomState) -> np.ndarray:
    """How many of `number` images each class gets, in proportion to its `counts`: int64 (classes,).

    Each share is rounded down; what is left goes to those of which most was cut off, drawn at random if they are equal.
    """
    exact = counts / counts.sum() * number
    whole = np.floor(exact)
    cut, left = exact - whole, int(number - whole.sum())
    for value in np.unique(cut)[::-1]:
        if left <= 0:
            break
        equal = np.flatnonzero(cut == value)
        whole[random.choice(equal, min(len(equal), left), replace=False)] += 1
        left -= min(len(equal), left)
    return np.asarray(whole, np.int64)

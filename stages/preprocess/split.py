"""Which training images are held out for validation."""

import numpy as np
from sklearn.model_selection import train_test_split

from stages.common.entry import UserError


def split_by_writer(writers: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A boolean mask over the images: true if held out for validation; no writer on both sides.

    `writers` is one identifier per image. Whole writers are drawn in a seeded order until the
    number of images is as near to `fraction` of them all as one writer more or fewer allows; at
    least one writer stays on each side. Raises `UserError` if there is only one.
    """
    names, counts = np.unique(writers, return_counts=True)
    if len(names) < 2:
        raise UserError("all images are by one writer: set preprocess.split_by_writer to false in params.yaml")
    order = np.random.default_rng(seed).permutation(len(names))
    held = np.cumsum(counts[order])[:-1]
    number = int(np.argmin(np.abs(held - fraction * len(writers)))) + 1
    return np.isin(writers, names[order[:number]])


def split_stratified(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A boolean mask over the images: true if held out; every class keeps its share on both sides.

    Raises `UserError` if there are too few images for that.
    """
    random = np.random.RandomState(seed)
    try:
        _, held = train_test_split(np.arange(len(labels)), test_size=fraction, stratify=labels, random_state=random)
    except ValueError as error:
        raise UserError(f"preprocess.validation_fraction is {fraction}: {error}") from None
    return np.isin(np.arange(len(labels)), held)

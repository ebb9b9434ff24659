"""Cross-validation: how much accuracy depends on which images are held out."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from stages.common.entry import UserError


def held_out(labels: np.ndarray, writers: np.ndarray | None, folds: int, seed: int) -> list[np.ndarray]:
    """`folds` sorted arrays of indices; every image is in one of them, and each class keeps its share in each.

    If `writers` (N,) are known, no writer is in two. Raises `UserError` if there are too few images or writers.
    """
    kind = StratifiedKFold if writers is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    try:
        return [held for _, held in splitter.split(labels, labels, writers)]
    except ValueError as error:
        raise UserError(f"train.folds is {folds}, too many for these images: {error}") from None

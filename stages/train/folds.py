"""Cross-validation: how far accuracy depends on who happened to be held out."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from stages.common.entry import UserError


def held_out(labels: np.ndarray, writers: np.ndarray | None, folds: int, seed: int) -> list[np.ndarray]:
    """`folds` sorted arrays of indices that part the images; each class keeps its share in each of them,
    and where `writers` (N,) are known no writer is in two. Raises `UserError` where there are too few of them."""
    kind = StratifiedKFold if writers is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    try:
        return [held for _, held in splitter.split(labels, labels, writers)]
    except ValueError as error:
        raise UserError(f"train.folds is {folds}, too many for these images: {error}") from None

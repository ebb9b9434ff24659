"""Accuracy on corrupted images."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from stages.evaluate.corruptions import SEVERITIES, STRENGTHS, corrupt
from stages.evaluate.scores import DIGITS


def accuracy_by_corruption(
    classify: Callable[[np.ndarray], np.ndarray], images: np.ndarray, labels: np.ndarray
) -> pd.DataFrame:
    """Columns corruption, severity, accuracy, images: how many of uint8 `images` are still recognised.

    They are grey (N, height, width) or in colour (N, height, width, 3). `classify` gives their
    classes (N,).
    """
    rows = []
    for corruption in STRENGTHS:
        for severity in SEVERITIES:
            right = classify(corrupt(images, corruption, severity)) == labels
            rows.append((corruption, severity, round(float(right.mean()), DIGITS), len(labels)))
    return pd.DataFrame(rows, columns=["corruption", "severity", "accuracy", "images"])


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Mean accuracy over all corruptions and severities, and the mean of the worst corruption."""
    means = table.groupby("corruption")["accuracy"].mean()
    return {
        "accuracy_corrupted": round(float(table["accuracy"].mean()), DIGITS),
        "accuracy_corrupted_worst": round(float(means.min()), DIGITS),
    }


def examples(images: np.ndarray) -> np.ndarray:
    """An image for each corruption, as it is and at each severity: uint8 (corruptions, 1 + severities, …)."""
    shown = []
    for number, corruption in enumerate(STRENGTHS):
        one = images[[number % len(images)]]
        shown.append(np.concatenate([one, *(corrupt(one, corruption, severity) for severity in SEVERITIES)]))
    return np.stack(shown)

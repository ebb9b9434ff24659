"""Images whose label the model contradicts with confidence: candidates for a wrong label.

Confident learning (Northcutt, Jiang & Chuang 2021, doi:10.1613/jair.1.12125). It needs probabilities by a
model that has not learnt from the labels in question: a model repeats what it was trained on.
"""

from pathlib import Path

import numpy as np
import pandas as pd

DIGITS = 4  # decimals of a probability


def find(probabilities: np.ndarray, labels: np.ndarray, parts: dict[str, int]) -> pd.DataFrame:
    """The suspects among images that lie one after the other in `parts` (name: how many images).

    `probabilities` is (images, classes) float, `labels` (images,) integers. An image is suspect if its most
    probable class is not its label, and if the probability reaches the mean that this class gets on the images
    labelled with it. So the bar is higher for classes that the model knows well, and an image that is merely
    hard is not listed.

    Columns part, index (within the part), label, suggested, probability_of_label, probability_of_suggested;
    the widest margin between the two probabilities first.
    """
    rows = np.arange(len(labels))
    suggested = probabilities.argmax(axis=1)
    of_label, of_suggested = probabilities[rows, labels], probabilities[rows, suggested]
    bars = np.array([of_label[labels == c].mean() if (labels == c).any() else 1 for c in range(probabilities.shape[1])])
    table = pd.DataFrame(
        {
            "part": np.repeat(list(parts), list(parts.values())),
            "index": np.concatenate([np.arange(count) for count in parts.values()]),
            "label": labels,
            "suggested": suggested,
            "probability_of_label": of_label.round(DIGITS),
            "probability_of_suggested": of_suggested.round(DIGITS),
        }
    )
    suspect = np.flatnonzero((suggested != labels) & (of_suggested >= bars[suggested]))
    margin = of_suggested[suspect] - of_label[suspect]
    return table.iloc[suspect[np.argsort(-margin, kind="stable")]].reset_index(drop=True)


def find_in_training(out_of_fold: Path) -> pd.DataFrame | None:
    """The suspects among the training and validation images, or None if the training made no folds."""
    with np.load(out_of_fold) as arrays:
        parts = {part: len(arrays[part]) for part in ("train", "validation")}
        if not any(parts.values()):
            return None
        probabilities = np.concatenate([arrays[part] for part in parts])
        labels = np.concatenate([arrays[f"{part}_labels"] for part in parts])
    return find(probabilities, labels, parts)

"""Images whose label the model contradicts with confidence: candidates for a wrong label.

Confident learning (Northcutt, Jiang & Chuang 2021, doi:10.1613/jair.1.12125). It needs probabilities by a
model that has not learnt from the labels in question: a model repeats what it was trained on.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from stages.common.entry import UserError

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
    return _suspects(_judged(probabilities, labels), parts)


def find_in_training(out_of_fold: Path) -> pd.DataFrame | None:
    """The suspects among the training and validation images, or None if the training made no folds.

    Raises `UserError` if the file holds no such arrays.
    """
    try:
        with np.load(out_of_fold, allow_pickle=False) as arrays:
            tables = {part: _judged(arrays[part], arrays[f"{part}_labels"]) for part in ("train", "validation")}
    except OSError:
        raise
    except Exception as error:  # of a file in which anything may be damaged
        reason = str(error) or type(error).__name__
        raise UserError(f"{out_of_fold}: no probabilities that can be read ({reason}): train again") from None
    parts = {part: len(table) for part, table in tables.items()}
    return _suspects(pd.concat(tables.values()), parts) if any(parts.values()) else None


def _judged(probabilities: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """What `_suspects` needs of each image, in a third of the memory."""
    suggested = probabilities.argmax(axis=1)
    return pd.DataFrame(
        {
            "label": labels,
            "suggested": suggested.astype(np.int16),
            "probability_of_label": np.take_along_axis(probabilities, labels[:, np.newaxis], 1)[:, 0],
            "probability_of_suggested": probabilities.max(axis=1),
        }
    )


def _suspects(judged: pd.DataFrame, parts: dict[str, int]) -> pd.DataFrame:
    labels, suggested, of_label, of_suggested = (judged[column].to_numpy() for column in judged)
    bars = np.array([of_label[labels == c].mean() if (labels == c).any() else 1 for c in range(suggested.max() + 1)])
    suspect = np.flatnonzero((suggested != labels) & (of_suggested >= bars[suggested]))
    margin = of_suggested[suspect] - of_label[suspect]
    widest = suspect[np.argsort(-margin, kind="stable")]
    stops = np.cumsum([*parts.values()])
    part = np.searchsorted(stops, widest, side="right")
    table = judged.iloc[widest].round(DIGITS).reset_index(drop=True)
    table.insert(0, "part", np.array([*parts])[part])
    table.insert(1, "index", widest - np.append(0, stops)[part])
    return table

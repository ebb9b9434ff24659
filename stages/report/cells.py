"""The cells of the confusion matrix, each with some of its images: what a reader sees who clicks on one."""

from typing import Any

import numpy as np

from stages.report.inputs import Rows

# How many images a cell shows, and all of them together, so that the page stays small.
IN_CELL, IN_CELLS = 12, 240

Members = dict[tuple[int, int], list[int]]  # by actual and predicted class: indices of test images


def members(mistakes: Rows, predictions: np.ndarray, probabilities: np.ndarray) -> Members:
    """All `mistakes` (rows of mistakes.csv), the surest first, and the `IN_CELL` least sure right images of each class.

    `predictions` are those of `Inputs`, `probabilities` (images, classes).
    """
    found: Members = {}
    for row in sorted(mistakes, key=lambda row: (-float(row["confidence"]), int(row["index"]))):
        found.setdefault((int(row["label"]), int(row["predicted"])), []).append(int(row["index"]))
    predicted = probabilities.argmax(axis=1)
    for place in range(probabilities.shape[1]):
        right = np.flatnonzero(predictions["right"] & (predicted == place))
        least = predictions["confidence"][right].argsort(kind="stable")[:IN_CELL]
        found[place, place] = right[least].tolist()
    return found


def shown(matrix: np.ndarray, found: Members, names: list[str], limit: int) -> list[dict[str, Any]]:
    """Every cell of `matrix` (classes, classes) that is not 0, with the images that it shows: at most `limit` of each.

    If there are more than `IN_CELLS` in all, each cell gets one before any gets two, frequent mistakes first.
    """
    counts = {
        (int(actual), int(predicted)): int(matrix[actual, predicted]) for actual, predicted in np.argwhere(matrix)
    }
    ranked = sorted(
        (rank, cell[0] == cell[1], -count, cell)
        for cell, count in counts.items()
        for rank in range(min(len(found.get(cell, [])), IN_CELL, limit))
    )
    chosen: Members = {}
    for rank, _, _, cell in ranked[:IN_CELLS]:
        chosen.setdefault(cell, []).append(found[cell][rank])
    return [
        {
            "place": f"{actual}-{predicted}",
            "right": actual == predicted,
            "title": f"{names[actual]} {'recognised' if actual == predicted else f'taken for {names[predicted]}'}",
            "images": count,
            "shown": [{"part": "test", "index": index} for index in chosen.get((actual, predicted), [])],
        }
        for (actual, predicted), count in counts.items()
    ]

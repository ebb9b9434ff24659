"""The numbers of the page and of the model card: counts, intervals and rows, and how they are written."""

from typing import Any

import numpy as np

BLOCKS = ("download", "validate", "preprocess", "train", "evaluate", "report")

# Who filled in the forms of NIST Special Database 19, by series (hsf_0 to hsf_7).
WRITERS = dict.fromkeys((0, 1, 2, 3, 6, 7), "census employees") | {4: "high-school students"}


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95% Wilson score interval of the proportion `right / total`; (0, 1) where `total` is 0."""
    if total == 0:
        return 0.0, 1.0
    z = 1.959964
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5 / (1 + z * z / total)
    # At the ends the formula gives exactly 0 and 1, its floats do not.
    return 0.0 if right == 0 else centre - half, 1.0 if right == total else centre + half


def class_rows(scores: list[dict[str, str]], matrix: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """One row a class: name, precision, recall, f1 (floats), support, right (counts), low, high (of the recall).

    `scores` are the rows of classes.csv, `matrix` the confusion matrix (classes, classes), rows actual,
    `names` what the page calls the classes.
    """
    rows = []
    for name, row, counts, right in zip(names, scores, matrix.sum(axis=1), matrix.diagonal(), strict=True):
        low, high = wilson(int(right), int(counts))
        known = {"name": name, **{key: float(row[key]) for key in ("precision", "recall", "f1")}}
        rows.append({**known, "support": int(counts), "right": int(right), "low": low, "high": high})
    return rows


def series_rows(metrics: dict[str, Any], series: np.ndarray | None, mistakes: np.ndarray) -> list[dict[str, Any]]:
    """One row for each key `accuracy_series_N` of `metrics`, as `class_rows` without precision, recall and f1.

    `series` is the NIST series of each test image, uint8 (images,), or None where no writers are
    known, and then no row is returned; `mistakes` holds the indices of the misclassified images.
    """
    if series is None:
        return []
    rows = []
    prefix = "accuracy_series_"
    for number in sorted(int(key.removeprefix(prefix)) for key in metrics if key.startswith(prefix)):
        support = int((series == number).sum())
        right = support - int((series[mistakes] == number).sum())
        low, high = wilson(right, support)
        rows.append(
            {"name": f"Series {number}", "writers": WRITERS.get(number, ""), "accuracy": metrics[f"{prefix}{number}"]}
            | {"support": support, "right": right, "low": low, "high": high}
        )
    return rows


def worst(mistakes: list[dict[str, str]], names: list[str], limit: int) -> list[dict[str, Any]]:
    """The `limit` most confident of `mistakes` (rows of mistakes.csv), surest first, classes by name."""
    ordered = sorted(mistakes, key=lambda row: (-float(row["confidence"]), int(row["index"])))
    return [
        {
            "index": int(row["index"]),
            "label": names[int(row["label"])],
            "predicted": names[int(row["predicted"])],
            "confidence": float(row["confidence"]),
        }
        for row in ordered[:limit]
    ]


def confusions(matrix: np.ndarray, names: list[str], limit: int = 3) -> list[dict[str, Any]]:
    """The `limit` most frequent mistakes of a confusion matrix (classes, classes): label, predicted, images."""
    cells = [
        (-int(matrix[actual, predicted]), actual, predicted)
        for actual, predicted in zip(*np.nonzero(matrix), strict=True)
        if actual != predicted
    ]
    return [
        {"label": names[actual], "predicted": names[predicted], "images": -count}
        for count, actual, predicted in sorted(cells)[:limit]
    ]


def parameter_blocks(values: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The stages' blocks of params.yaml in the order of the pipeline, every value as text, nested keys dotted."""
    return {block: _flat(values[block]) for block in BLOCKS if isinstance(values.get(block), dict)}


def _flat(values: dict[str, Any], before: str = "") -> dict[str, str]:
    flat = {}
    for key, value in values.items():
        inner = isinstance(value, dict) and value
        flat |= _flat(value, f"{before}{key}.") if inner else {f"{before}{key}": written(value)}
    return flat


def written(value: Any) -> str:
    """A value of params.yaml as one would write it there: `true`, `0.003`, `a, b`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(written, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {written(part)}" for key, part in value.items())
    return "null" if value is None else str(value)


def percent(share: float) -> str:
    """0.9962 as `99.62%`; rounded down to 99.99% where only rounding would make it perfect."""
    text = f"{100 * share:.2f}%"
    return "99.99%" if text == "100.00%" and share < 1 else text


def count(number: int) -> str:
    """10000 as `10,000`."""
    return f"{number:,}"


def plural(number: int, word: str) -> str:
    """`no mistakes`, `1 mistake`, `1,234 mistakes`."""
    return f"{count(number) if number else 'no'} {word}{'' if number == 1 else 's'}"


def cell(text: str) -> str:
    """`text` safe inside a cell of a Markdown table."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")

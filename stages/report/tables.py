"""The numbers of the page and of the model card: counts, intervals and rows, and how they are written."""

import re
from typing import Any

import numpy as np

from stages.report.inputs import Rows

BLOCKS = ("download", "validate", "preprocess", "train", "evaluate", "report")

REFUSED = (0.0, 0.01, 0.03, 0.05)  # shares of the test images, the least sure ones

# Who filled in the forms of NIST Special Database 19, by series (hsf_0 to hsf_7).
WRITERS = dict.fromkeys((0, 1, 2, 3, 6, 7), "census employees") | {4: "high-school students"}


# What Markdown reads as markup in the midst of a line. An underscore within a word, as in `split_by_writer`, is none.
MARKUP = re.compile(r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])")


def class_rows(scores: Rows, matrix: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """One row for each class: name, precision, recall, f1, support, right, and low and high of the recall's interval.

    `scores` are the rows of classes.csv, `matrix` the confusion matrix (classes, classes), rows actual,
    `names` the classes as the page shows them.
    """
    return [
        {
            "name": name,
            "precision": float(row["precision"]),
            "recall": float(row["recall"]),
            "f1": float(row["f1"]),
            "support": int(counts),
            "right": int(right),
            "low": float(row["recall_low"]),
            "high": float(row["recall_high"]),
        }
        for name, row, counts, right in zip(names, scores, matrix.sum(axis=1), matrix.diagonal(), strict=True)
    ]


def series_rows(series: Rows) -> list[dict[str, Any]]:
    """One row for each of `series` (of series.csv): as `class_rows`, with writers and accuracy for scores."""
    return [
        {
            "name": f"Series {row['group']}",
            "writers": WRITERS.get(int(row["group"]), ""),
            "accuracy": float(row["accuracy"]),
            "support": int(row["images"]),
            "right": int(row["right"]),
            "low": float(row["accuracy_low"]),
            "high": float(row["accuracy_high"]),
        }
        for row in series
    ]


def robustness_rows(robustness: Rows) -> list[dict[str, Any]]:
    """One row for each corruption, in the order of robustness.csv: name, accuracies (by severity), their mean."""
    rows = []
    for name in dict.fromkeys(row["corruption"] for row in robustness):
        accuracies = [float(row["accuracy"]) for row in robustness if row["corruption"] == name]
        rows.append({"name": name, "accuracies": accuracies, "mean": sum(accuracies) / len(accuracies)})
    return rows


def worst(mistakes: Rows, probabilities: np.ndarray, names: list[str], limit: int) -> list[dict[str, Any]]:
    """The `limit` most confident of `mistakes` (rows of mistakes.csv), most confident first, classes by name.

    `probabilities` (images, classes) of the test images tell which class came second.
    """
    ordered = sorted(mistakes, key=lambda row: (-float(row["confidence"]), int(row["index"])))
    return [
        {
            "part": "test",
            "index": int(row["index"]),
            "label": names[int(row["label"])],
            "predicted": names[int(row["predicted"])],
            "confidence": float(row["confidence"]),
            **runner_up(probabilities[int(row["index"])], int(row["predicted"]), names),
        }
        for row in ordered[:limit]
    ]


def runner_up(probabilities: np.ndarray, predicted: int, names: list[str]) -> dict[str, Any]:
    """The most probable class but for the one `predicted`, by name, and its probability; of one image (classes,)."""
    others = np.array(probabilities)
    others[predicted] = -1
    second = int(others.argmax())
    return {"second": names[second], "confidence_second": float(others[second])}


def suspects(rows: Rows, parts: tuple[str, ...], names: list[str], limit: int) -> list[dict[str, Any]]:
    """The first `limit` of `rows` (of suspects.csv, most suspect first) from `parts`, classes by name."""
    return [
        {
            "part": row["part"],
            "index": int(row["index"]),
            "label": names[int(row["label"])],
            "suggested": names[int(row["suggested"])],
            "confidence": float(row["probability_of_suggested"]),
        }
        for row in rows
        if row["part"] in parts
    ][:limit]


def galleries(
    mistakes: Rows, probabilities: np.ndarray, suspected: Rows, names: list[str], limit: int
) -> dict[str, list[dict[str, Any]]]:
    """The images to show, at most `limit` in each gallery: `worst`, `suspects` and `suspects_training`."""
    return {
        "worst": worst(mistakes, probabilities, names, limit),
        "suspects": suspects(suspected, ("test",), names, limit),
        "suspects_training": suspects(suspected, ("train", "validation"), names, limit),
    }


def coverage_rows(predictions: np.ndarray) -> list[dict[str, Any]]:
    """A row for each of `REFUSED`, if this share of the images is refused: share, refused, and of the rest mistakes and
    accuracy. `predictions` are those of `Inputs`.
    """
    right = predictions["right"][predictions["confidence"].argsort(kind="stable")]
    rows = []
    for share in REFUSED:
        refused = round(share * len(right))
        rest = right[refused:]
        rows.append(
            {"share": share, "refused": refused, "mistakes": int((~rest).sum()), "accuracy": float(rest.mean())}
        )
    return rows


def disputed_suspects(suspected: Rows, disputed: list[int]) -> int:
    """How many of the `suspected` test images (rows of suspects.csv) are among those at `disputed`."""
    return len({int(row["index"]) for row in suspected if row["part"] == "test"} & {*disputed})


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
    """The stages' blocks of params.yaml in the order of the pipeline; values as text, nested keys dotted."""
    return {block: _flat(values[block]) for block in BLOCKS if isinstance(values.get(block), dict)}


def _flat(values: dict[str, Any], before: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        inner = isinstance(value, dict) and value
        flat |= _flat(value, f"{before}{key}.") if inner else {f"{before}{key}": written(value)}
    return flat


def written(value: Any) -> str:
    """A value of params.yaml as it is written there: `true`, `0.003`, `a, b`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(written, value)) or "[]"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {written(part)}" for key, part in value.items()) or "{}"
    return "null" if value is None else str(value)


def percent(share: float) -> str:
    """0.9962 as `99.62%`; rounded down to 99.99% if it is less than 1."""
    text = f"{100 * share:.2f}%"
    return "99.99%" if text == "100.00%" and share < 1 else text


def count(number: int) -> str:
    """10000 as `10,000`."""
    return f"{number:,}"


def size(number: int) -> str:
    """A number of bytes: 437890 as `438 kB`, 1234567 as `1.2 MB`."""
    return (
        f"{number / 1e6:.1f} MB" if number >= 999_500 else f"{number / 1e3:.0f} kB" if number >= 1000 else f"{number} B"
    )


def plural(number: int, word: str) -> str:
    """`no mistakes`, `1 mistake`, `1,234 mistakes`."""
    return f"{count(number) if number else 'no'} {word}{'' if number == 1 else 's'}"


def cell(text: str) -> str:
    """`text` on one line of Markdown, also within a table, so that it reads as it is written."""
    return MARKUP.sub(r"\\\g<0>", " ".join(str(text).split()))

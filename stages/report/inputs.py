"""Reading what the earlier stages left: JSON, CSV and arrays, with one clear line if something is missing."""

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages import arrays
from stages.common.entry import UserError
from stages.report.params import Reported

RAW = Path("data/raw")
PREPARED = Path("data/prepared")
PREDICTIONS = Path("data/predictions")
METRICS = Path("metrics")
MODEL = Path("models/model.tflite")
PARTS = ("train", "validation", "test")
Kinds = Mapping[str, Callable[[Any], Any]]  # by column or key: what its values must be
REMAKE = "remake it with `dvc repro`"
INTERVAL: Kinds = dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high"), float)
# The keys that the page shows, and what each must be.
ENVIRONMENT: Kinds = dict.fromkeys(("precision", "processor", "versions"), str)
CURVES: Kinds = dict.fromkeys(("loss", "accuracy", "validation_loss", "validation_accuracy"), float)
TRAINED: Kinds = {**CURVES, "epochs": int, "parameters": int}
SCORES = ("loss", "precision_macro", "recall_macro", "f1_macro", "auc_macro", "calibration_error", "accuracy_corrupted")
COUNTS = ("mistakes", "images", "suspect_labels")
MEASURED: Kinds = {**INTERVAL, **dict.fromkeys(SCORES, float), **dict.fromkeys(COUNTS, int)}

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Inputs:
    """What the page and the model card are made from: files under data, metrics and models."""

    dataset: dict[str, Any]  # name, files, done, images, split, shape, classes, disputed, and what datasets.yaml says
    environment: dict[str, Any]
    trained: dict[str, Any]
    metrics: dict[str, Any]
    model_bytes: int  # the size of the LiteRT model
    confusion_matrix: np.ndarray  # int64 (classes, classes), rows actual, columns predicted
    classes: Rows
    mistakes: Rows
    history: Rows
    roc: Rows
    reliability: Rows
    robustness: Rows
    series: Rows
    suspects: Rows
    predictions: np.ndarray  # as `read_predictions`
    probabilities: np.ndarray  # float32 (test images, classes)
    corrupted: np.ndarray  # uint8 (corruptions, 1 + severities, height, width), unchanged first
    images: dict[str, np.ndarray]  # by part: uint8 (images, height, width) or (…, 3)


def read(chosen: Reported) -> Inputs:
    """All of them, for the `chosen` data set. Raises `UserError` if a file is missing or not what it should be."""
    described = {"done": []} | read_json(RAW / "dataset.json", {"name": str, "files": dict})
    described |= read_json(PREPARED / "dataset.json", {"images": dict, "split": str})
    described |= {"classes": chosen.classes, "disputed": chosen.disputed}
    images = {part: read_images(PREPARED / part / "images.npy") for part in PARTS}
    height, width, *colours = images["test"].shape[1:]
    described["shape"] = [height, width, *(colours or [1])]
    label = partial(below, len(chosen.classes))
    of_test = partial(below, len(images["test"]))
    rates = ("precision", "recall", "f1", "recall_low", "recall_high")
    of_bin = dict.fromkeys(("confidence", *INTERVAL), number_or_nothing)
    suspect: Kinds = {"part": str, "index": int, "label": label, "suggested": label, "probability_of_suggested": float}
    return Inputs(
        dataset=described | chosen.about.model_dump(),
        environment=read_json(METRICS / "environment.json", ENVIRONMENT),
        trained=read_json(METRICS / "train.json", TRAINED),
        metrics=read_json(METRICS / "evaluate.json", MEASURED),
        model_bytes=read_size(MODEL),
        confusion_matrix=read_confusion_matrix(PREDICTIONS / "confusion_matrix.csv", chosen.classes),
        classes=read_table(METRICS / "classes.csv", {"class": str, **dict.fromkeys(rates, float)}),
        mistakes=read_table(
            METRICS / "mistakes.csv", {"index": of_test, "label": label, "predicted": label, "confidence": float}
        ),
        history=read_table(METRICS / "history.csv", {"epoch": int, **CURVES}),
        roc=read_table(METRICS / "roc.csv", {"class": str, "false_positive_rate": float, "true_positive_rate": float}),
        reliability=read_table(METRICS / "reliability.csv", {"images": int, **of_bin}),
        robustness=read_robustness(METRICS / "robustness.csv"),
        series=read_table(PREDICTIONS / "series.csv", {"group": int, "images": int, "right": int, **INTERVAL}),
        suspects=read_table(PREDICTIONS / "suspects.csv", suspect),
        predictions=read_predictions(PREDICTIONS / "test.csv", len(images["test"])),
        probabilities=read_probabilities(PREDICTIONS / "probabilities.npy", (len(images["test"]), len(chosen.classes))),
        corrupted=read_images(PREDICTIONS / "corrupted.npy"),
        images=images,
    )


def read_json(path: Path, kinds: Kinds) -> dict[str, Any]:
    """The JSON object at `path`. Raises `UserError` if it is missing, not JSON, or has other values than `kinds`."""
    try:
        values = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        line = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{path}{line}: not valid JSON ({getattr(error, 'msg', error)}); {REMAKE}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no keys; {REMAKE}")
    for key, kind in kinds.items():
        fits = isinstance(values.get(key), (int, float) if kind is float else kind)  # type: ignore[arg-type]
        if not fits:
            raise UserError(f"{path}: {key} is {_short(values.get(key))}; {REMAKE}")
    return values


def read_table(path: Path, kinds: Kinds) -> Rows:
    """The rows of the CSV file at `path`, values as text.

    Raises `UserError` if the file is missing, lacks a column of `kinds`, or has a value that is not of its kind.
    """
    return list(_rows(path, kinds))


def read_robustness(path: Path) -> Rows:
    """The rows of robustness.csv. Raises as `read_table` does, and if a corruption has more rows than another."""
    rows = read_table(path, {"corruption": str, "accuracy": float, "images": int})
    if len({*Counter(row["corruption"] for row in rows).values()}) != 1:
        raise UserError(f"{path}: not every corruption has the same number of rows; {REMAKE}")
    return rows


def read_predictions(path: Path, images: int) -> np.ndarray:
    """Of each row of the CSV file at `path`: `confidence` float64, and `right` bool.

    Raises as `read_table` does, and if there are not as many rows as `images`.
    """
    rows = _rows(path, {"label": str, "predicted": str, "confidence": float})
    values = ((float(row["confidence"]), row["label"] == row["predicted"]) for row in rows)
    predictions = np.fromiter(values, np.dtype([("confidence", np.float64), ("right", np.bool_)]))
    if len(predictions) != images:
        raise UserError(f"{path}: has {len(predictions)} rows for {images} test images; {REMAKE}")
    return predictions


def read_confusion_matrix(path: Path, classes: list[str]) -> np.ndarray:
    """The confusion matrix at `path`: int64 (classes, classes), rows actual, columns predicted.

    Raises `UserError` if its rows are not the `classes` in that order.
    """
    rows = read_table(path, {"actual": str, **dict.fromkeys(classes, int)})
    if [row["actual"] for row in rows] != classes:
        raise UserError(f"{path}: its rows are not the classes of the data set; {REMAKE}")
    return np.array([[int(row[name]) for name in classes] for row in rows], np.int64)


def read_images(path: Path) -> np.ndarray:
    """The array at `path`, memory-mapped: uint8 of three dimensions or more. Raises `UserError` if it is none."""
    array = _array(path)
    if array.dtype != np.uint8 or array.ndim < 3:
        raise UserError(f"{path}: holds no images; {REMAKE}")
    return array


def read_probabilities(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The array at `path`, memory-mapped: float32 (images, classes). Raises `UserError` if it has another `shape`."""
    array = _array(path)
    if array.dtype != np.float32 or array.shape != shape:
        raise UserError(f"{path}: is not float32 of {shape[0]} images by {shape[1]} classes; {REMAKE}")
    return array


def _array(path: Path) -> np.ndarray:
    try:
        return arrays.opened(path)
    except FileNotFoundError:
        raise UserError(_missing(path)) from None


def read_size(path: Path) -> int:
    """The bytes of the file at `path`. Raises `UserError` if it is missing or empty."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
    except FileNotFoundError:
        raise UserError(_missing(path)) from None
    if not size:
        raise UserError(f"{path}: is empty; {REMAKE}")
    return size


def below(end: int, text: str) -> int:
    """The whole number that `text` means. Raises `ValueError` if it is not 0 to below `end`."""
    if not 0 <= (number := int(text)) < end:
        raise ValueError
    return number


def number_or_nothing(text: str) -> float:
    """The number that `text` means, 0 if it is empty, as for a bin without images."""
    return float(text or 0)


def _rows(path: Path, kinds: Kinds) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [column for column in kinds if column not in (reader.fieldnames or [])]:
                raise UserError(f"{path}: no column {', '.join(missing)}; {REMAKE}")
            for row in reader:
                for column, kind in kinds.items():
                    if not _is(kind, row[column]):
                        raise UserError(f"{path} line {reader.line_num}: {column} is {_short(row[column])}; {REMAKE}")
                yield row
    except FileNotFoundError:
        raise UserError(_missing(path)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a table in UTF-8 ({error}); {REMAKE}") from None


def _is(kind: Callable[[Any], Any], text: str | None) -> bool:
    """Whether `text` is a value of this `kind`; a number is a finite one."""
    try:
        return text is not None and (kind is str or math.isfinite(kind(text)))
    except (ValueError, OverflowError):
        return False


def _short(value: object) -> str:
    return "missing" if value is None else f"{value!r:.60}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(_missing(path)) from None


def _missing(path: Path) -> str:
    return f"{path} is missing: make it with `dvc repro`"

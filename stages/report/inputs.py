"""Reading what the earlier stages left: JSON, CSV and arrays, with one clear line if something is missing."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.entry import UserError
from stages.report.params import Reported

RAW = Path("data/raw")
PREPARED = Path("data/prepared")
PREDICTIONS = Path("data/predictions")
METRICS = Path("metrics")
PARTS = ("train", "validation", "test")
INTERVAL = ("accuracy", "accuracy_low", "accuracy_high")

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Inputs:
    """The files under data and metrics that the page and the model card are made from."""

    dataset: dict[str, Any]  # name, files, done, images, split, shape, classes, disputed, and what datasets.yaml says
    environment: dict[str, Any]
    trained: dict[str, Any]
    metrics: dict[str, Any]
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
    corrupted: np.ndarray  # uint8 (corruptions, 1 + severities, height, width), unchanged first
    images: dict[str, np.ndarray]  # by part: uint8 (images, height, width) or (…, 3)


def read(chosen: Reported) -> Inputs:
    """All of them, for the `chosen` data set. Raises `UserError` if a file is missing or lacks a column."""
    described = {"done": []} | read_json(RAW / "dataset.json") | read_json(PREPARED / "dataset.json")
    described |= {"classes": chosen.classes, "disputed": chosen.disputed}
    images = {part: read_images(PREPARED / part / "images.npy") for part in PARTS}
    height, width, *colours = images["test"].shape[1:]
    described["shape"] = [height, width, *(colours or [1])]
    curves = ("loss", "accuracy", "validation_loss", "validation_accuracy")
    return Inputs(
        dataset=described | chosen.about.model_dump(),
        environment=read_json(METRICS / "environment.json"),
        trained=read_json(METRICS / "train.json"),
        metrics=read_json(METRICS / "evaluate.json"),
        confusion_matrix=read_confusion_matrix(PREDICTIONS / "confusion_matrix.csv", chosen.classes),
        classes=read_table(METRICS / "classes.csv", "class", "precision", "recall", "f1", "recall_low", "recall_high"),
        mistakes=read_table(METRICS / "mistakes.csv", "index", "label", "predicted", "confidence"),
        history=read_table(METRICS / "history.csv", "epoch", *curves),
        roc=read_table(METRICS / "roc.csv", "class", "false_positive_rate", "true_positive_rate"),
        reliability=read_table(METRICS / "reliability.csv", "images", "confidence", *INTERVAL),
        robustness=read_table(METRICS / "robustness.csv", "corruption", "accuracy", "images"),
        series=read_table(PREDICTIONS / "series.csv", "group", "images", "right", *INTERVAL),
        suspects=read_table(
            PREDICTIONS / "suspects.csv", "part", "index", "label", "suggested", "probability_of_suggested"
        ),
        predictions=read_predictions(PREDICTIONS / "test.csv"),
        corrupted=read_images(PREDICTIONS / "corrupted.npy"),
        images=images,
    )


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object at `path`. Raises `UserError` if it is missing or not JSON."""
    try:
        values: dict[str, Any] = json.loads(_text(path))
        return values
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} line {error.lineno}: not valid JSON ({error.msg}); remake it with `dvc repro`"
        ) from None


def read_table(path: Path, *columns: str) -> Rows:
    """The rows of the CSV file at `path`, values as text.

    Raises `UserError` if the file is missing or lacks one of `columns`.
    """
    return list(_rows(path, columns))


def read_predictions(path: Path) -> np.ndarray:
    """Of each row of the CSV file at `path`: `confidence` float64, and `right` bool. Raises as `read_table` does."""
    rows = _rows(path, ("label", "predicted", "confidence"))
    values = ((float(row["confidence"]), row["label"] == row["predicted"]) for row in rows)
    return np.fromiter(values, np.dtype([("confidence", np.float64), ("right", np.bool_)]))


def read_confusion_matrix(path: Path, classes: list[str]) -> np.ndarray:
    """The confusion matrix at `path`: int64 (classes, classes), rows actual, columns predicted.

    Raises `UserError` if its rows are not the `classes` in that order.
    """
    rows = read_table(path, "actual", *classes)
    if [row["actual"] for row in rows] != classes:
        raise UserError(f"{path}: its rows are not the classes of the data set; remake it with `dvc repro`")
    return np.array([[int(row[name]) for name in classes] for row in rows], np.int64)


def read_images(path: Path) -> np.ndarray:
    """The array at `path`, memory-mapped. Raises `UserError` if it is missing."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
        return array
    except FileNotFoundError:
        raise UserError(_missing(path)) from None


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := [column for column in columns if column not in (reader.fieldnames or [])]:
                raise UserError(f"{path}: no column {', '.join(missing)}; remake it with `dvc repro`")
            yield from reader
    except FileNotFoundError:
        raise UserError(_missing(path)) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(_missing(path)) from None


def _missing(path: Path) -> str:
    return f"{path} is missing: make it with `dvc repro`"

"""Reading what the stages before left: JSON, CSV and arrays, with one clear line where something is missing."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.entry import UserError


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object at `path`. Raises `UserError` where it is missing or not JSON."""
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} line {error.lineno}: not valid JSON ({error.msg}); remake it with `dvc repro`"
        ) from None


def read_table(path: Path, columns: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """The rows of the CSV file at `path`, values as text.

    Raises `UserError` where the file is missing or lacks one of `columns`.
    """
    reader = csv.DictReader(_text(path).splitlines())
    rows = list(reader)
    if missing := [column for column in columns if column not in (reader.fieldnames or [])]:
        raise UserError(f"{path}: no column {', '.join(missing)}; remake it with `dvc repro`")
    return rows


def read_confusion_matrix(path: Path, classes: list[str]) -> np.ndarray:
    """The confusion matrix at `path`: int64 (classes, classes), rows actual, columns predicted.

    Raises `UserError` where its rows are not those of `classes`, in that order.
    """
    rows = read_table(path, ("actual", *classes))
    if [row["actual"] for row in rows] != classes:
        raise UserError(f"{path}: its rows are not the classes of the data set; remake it with `dvc repro`")
    return np.array([[int(row[name]) for name in classes] for row in rows], np.int64)


def read_images(path: Path) -> np.ndarray:
    """The array at `path`, mapped rather than loaded. Raises `UserError` where it is missing."""
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise UserError(_missing(path)) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(_missing(path)) from None


def _missing(path: Path) -> str:
    return f"{path} is missing: make it with `dvc repro`"

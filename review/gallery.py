"""Test images for the page of a review."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from record.results import TEST_DATA, md5
from review.escape import clean
from stages.common.entry import UserError


@dataclass(frozen=True)
class Digit:
    """A test image that exactly one of two models misclassifies."""

    index: int
    label: str
    predicted: str  # by the model that is wrong
    image: np.ndarray  # uint8 (height, width), light on dark


def load(test_data: str, folder: Path = Path(TEST_DATA)) -> np.ndarray:
    """The test images, uint8 (images, height, width), memory-mapped.

    Raises `UserError` if they are missing, or do not have the checksum `test_data`.
    """
    if not (folder / "images.npy").is_file():
        raise UserError(f"No pictures: {folder} is not here (`dvc pull`, or `dvc repro`, brings it)")
    if checksum(folder) != test_data:
        raise UserError(f"No pictures: {folder} does not hold the images that were scored (`dvc checkout`)")
    images: np.ndarray = np.load(folder / "images.npy", mmap_mode="r")
    return images


def checksum(folder: Path) -> str:
    """The checksum of a folder in dvc.lock: the MD5 of the list of its files with theirs."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listed = [{"md5": md5(files[name].read_bytes()), "relpath": name} for name in sorted(files)]
    return md5(json.dumps(listed).encode()) + ".dir"


def digits(
    indices: Sequence[int],
    labels: Mapping[int, int],
    predictions: Mapping[int, int],
    classes: Sequence[str],
    images: np.ndarray,
) -> tuple[Digit, ...]:
    """The digits at `indices`; `labels` and `predictions` are by index, `classes` are their names."""

    def named(label: int | None) -> str:
        return "?" if label is None else clean(classes[label]) if 0 <= label < len(classes) else str(label)

    return tuple(
        Digit(index, named(labels.get(index)), named(predictions.get(index)), images[index])
        for index in indices
        if 0 <= index < len(images)
    )

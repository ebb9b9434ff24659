"""Reading what `download` left in data/raw, with a clear refusal where no table can be made of it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stages.common.entry import UserError
from stages.common.idx import read_idx

SPLITS = {"train": "train", "test": "t10k"}  # the set's name, the first part of its files' names


class Split(NamedTuple):
    """Images uint8 [N, size, size], labels uint8 [N], and `series`, `writer` [N] where known."""

    images: np.ndarray
    labels: np.ndarray
    writers: pd.DataFrame | None


def read_about(folder: Path) -> dict[str, Any]:
    """What `dataset.json` says the data are. Raises `UserError` where it is missing or broken."""
    path = folder / "dataset.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the download stage first (dvc repro download)") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}): run the download stage again (dvc repro -f download)") from None
    if missing := {"name", "title", "classes", "writers"} - set(about):
        raise UserError(
            f"{path} lacks {', '.join(sorted(missing))}: run the download stage again (dvc repro -f download)"
        )
    return about


def read_split(folder: Path, name: str, image_size: int, writers: bool) -> Split:
    """The split whose files start with `name`.

    Raises `UserError` where a file is missing or no valid IDX, there are no images, images, labels
    and writers differ in number, or the images are not `image_size` pixels a side.
    """
    path = folder / f"{name}-images-idx3-ubyte"
    try:
        images = read_idx(path, 3)
        labels = read_idx(folder / f"{name}-labels-idx1-ubyte", 1)
        known = pd.read_csv(folder / f"{name}-writers.csv") if writers else None
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: run the download stage again (dvc repro -f download)") from None
    if len(images) != len(labels):
        raise UserError(f"{name}: {len(images):,} images but {len(labels):,} labels in {folder}")
    if known is not None and len(known) != len(images):
        raise UserError(f"{name}: {len(images):,} images but {len(known):,} rows in {folder / f'{name}-writers.csv'}")
    if not len(images):
        raise UserError(f"{path}: holds no images")
    height, width = images.shape[1:]
    if (height, width) != (image_size, image_size):
        raise UserError(
            f"{path}: images are {width}x{height} pixels, expected {image_size}x{image_size} (expect.image_size)"
        )
    return Split(images, labels, known)

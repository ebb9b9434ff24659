"""Reading what `download` left in data/raw, with a clear refusal if no table can be made of it."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.common.entry import UserError
from stages.idx import images_name, read_idx, read_images

SPLITS = {"train": "train", "test": "t10k"}  # the set's name, the first part of its files' names
LINES = 65_536  # of a table of writers that are counted at a time


class Description(NamedTuple):
    """The name of the data set, its entry in datasets.yaml; the SHA-256 of each file; what was done to the images."""

    name: str
    files: dict[str, str]
    done: list[str]


class Split(NamedTuple):
    """Images uint8 [N, size, size] or [N, size, size, 3], labels uint8 [N], and `series`, `writer` [N] if known."""

    images: np.ndarray
    labels: np.ndarray
    writers: pd.DataFrame | None


def read_description(folder: Path) -> Description:
    """What `download` recorded about its files. Raises `UserError` if `dataset.json` is missing or broken."""
    path = folder / "dataset.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        description = Description(values["name"], values["files"], values.get("done", []))
        if list(map(type, description)) != [str, dict, list]:
            raise TypeError
        return description
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the download stage first (dvc repro download)") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(f"{path} cannot be read: run the download stage again (dvc repro -f download)") from None


def read_split(folder: Path, name: str, image_size: int) -> Split:
    """The split whose files start with `name`. Raises `UserError` as `open_split` does."""
    writers = _writers(folder, name)
    return open_split(folder, name, image_size)._replace(writers=pd.read_csv(writers) if writers.exists() else None)


def open_split(folder: Path, name: str, image_size: int) -> Split:
    """The split whose files start with `name`, as memory maps and without its writers, which `writers_in_step` reads.

    Raises `UserError` if a file is missing or not valid IDX, if there are no images, if the numbers of images, labels
    and writers differ, or if the images are not `image_size` pixels a side.
    """
    try:
        images = read_images(folder, name)
        labels = read_idx(folder / f"{name}-labels-idx1-ubyte", 1)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: run the download stage again (dvc repro -f download)") from None
    if len(images) != len(labels):
        raise UserError(f"{name}: {len(images):,} images but {len(labels):,} labels in {folder}")
    writers = _writers(folder, name)
    if writers.exists():
        try:
            with pd.read_csv(writers, chunksize=LINES) as chunks:
                known = sum(map(len, chunks))
        except ValueError as error:  # of pandas, or not UTF-8
            raise UserError(f"{writers}: not a table ({error}): run `dvc repro -f download`") from None
        if known != len(images):
            raise UserError(f"{name}: {len(images):,} images but {known:,} rows in {writers}")
    if not len(images):
        raise UserError(f"{folder / images_name(name, images.ndim)}: holds no images")
    height, width = images.shape[1:3]
    if (height, width) != (image_size, image_size):
        path = folder / images_name(name, images.ndim)
        raise UserError(
            f"{path}: images are {width}x{height} pixels, expected {image_size}x{image_size} (expect.image_size)"
        )
    return Split(images, labels, None)


def writer_columns(folder: Path, name: str) -> list[str]:
    """The columns of the table of writers; none if there is no such table."""
    path = _writers(folder, name)
    return list(pd.read_csv(path, nrows=0).columns) if path.exists() else []


def writers_in_step(folder: Path, name: str, columns: list[str], sizes: Iterable[int]) -> Iterator[pd.DataFrame]:
    """The next rows of the table of writers, as many as each of `sizes` says; unknown in `columns` that it lacks."""
    path = _writers(folder, name)
    if not path.exists():
        yield from (pd.DataFrame(index=range(size), columns=columns, dtype=float) for size in sizes)
        return
    with pd.read_csv(path, iterator=True) as table:
        for size in sizes:
            yield table.get_chunk(size).reindex(columns=columns)


def _writers(folder: Path, name: str) -> Path:
    return folder / f"{name}-writers.csv"

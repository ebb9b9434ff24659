"""The raw parts: what is known of each image, in memory, and the images, of which a range at a time is."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages import arrays, corrections
from stages.common.entry import UserError
from stages.corrections import Relabelled
from stages.idx import read_idx, read_images
from stages.preprocess.images import no_digit, some_to_network_size
from stages.preprocess.params import Prepare
from stages.ranges import in_order, ranges

BLOCK = 1024  # images whose pixels are in memory at a time
# Of a table of writers: the array that a column becomes, and its dtype.
COLUMNS: dict[str, tuple[str, Any]] = {"writer": ("writers", np.uint16), "series": ("series", np.uint8)}


class Form(NamedTuple):
    """What the network takes, and how images are brought to that."""

    size: int
    channels: int
    prepare: Prepare

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image."""
        return (self.size, self.size, 3) if self.channels == 3 else (self.size, self.size)


class Target(NamedTuple):
    """Which images of a raw part, `chosen` bool (N,), are the rows of the array at `path` from `row` on."""

    path: Path
    chosen: np.ndarray
    row: int = 0


def read_known(folder: Path, prefix: str, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """What is known of each image of a raw part: `labels` uint8 (N,), a memory map, and those of the `columns` that its
    table of writers has: `writers` uint16 (N,), `series` uint8 (N,).

    Raises `UserError` if one of these is no such number, or if there is not an image for each label.
    """
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte", dimensions=1)
    images = read_images(folder, prefix)
    if len(images) != len(labels) or not images.size:
        size = "×".join(map(str, images.shape[1:]))
        raise UserError(f"{folder}: {prefix} has {len(images):,} images of {size} pixels and {len(labels):,} labels")
    known = {"labels": labels}
    table = folder / f"{prefix}-writers.csv"
    if not table.exists():
        return known
    with table.open(newline="", encoding="utf-8") as rows:
        names = next(csv.reader(rows), [])
        if not COLUMNS.keys() & set(names):
            raise UserError(f"{table}: no column {' or '.join(COLUMNS)}: run `dvc repro -f download`")
        for column in (column for column in columns if column in names):
            name, dtype = COLUMNS[column]
            rows.seek(0)
            try:
                known[name] = np.loadtxt(rows, dtype, delimiter=",", skiprows=1, usecols=names.index(column), ndmin=1)
            except ValueError as error:
                raise UserError(f"{table}: {error}: a {column} is 0 to {np.iinfo(dtype).max:,}") from None
    return known


def correct(
    folder: Path, prefix: str, labels: np.ndarray, relabelled: list[Relabelled]
) -> tuple[np.ndarray, np.ndarray, set[str]]:
    """As `corrections.applied`, for the images of a raw part, which have these `labels`."""
    spans = ranges(len(labels)) if relabelled else []
    tasks = [(folder, prefix, start, labels[start:stop], relabelled) for start, stop in spans]
    found = list(in_order(correct_range, tasks, len(tasks), "corrections"))
    if not found:
        return labels, np.full(len(labels), True), set()
    right, kept, seen = zip(*found, strict=True)
    return np.concatenate(right), np.concatenate(kept), set().union(*seen)


def correct_range(
    folder: Path, prefix: str, start: int, labels: np.ndarray, relabelled: list[Relabelled]
) -> tuple[np.ndarray, np.ndarray, set[str]]:
    """As `corrections.applied`, for the images from `start` on, which have these `labels`."""
    images = np.asarray(read_images(folder, prefix)[start : start + len(labels)])
    return corrections.applied(relabelled, images, labels)


def write_known(values: np.ndarray, targets: list[Target]) -> None:
    """Write what is known of the images of a raw part, `values` (N,), into the files of the `targets`."""
    spans = ranges(len(values))
    for (start, stop), own in zip(spans, cut(targets, spans), strict=True):
        _write_rows(values[start:stop], own)


def write_images(folder: Path, prefix: str, targets: list[Target], form: Form) -> None:
    """Write the images of a raw part in the network's `form` into the files of the `targets`.

    Raises `UserError` if they cannot be brought to that form.
    """
    count = len(read_images(folder, prefix))
    spans = ranges(count)
    tasks = ((folder, prefix, *span, own, form) for span, own in zip(spans, cut(targets, spans), strict=True))
    without = np.concatenate(list(in_order(write_range, tasks, len(spans), f"preprocess {prefix}")))
    if len(without):
        raise no_digit(without, count)


def write_range(folder: Path, prefix: str, start: int, stop: int, targets: list[Target], form: Form) -> np.ndarray:
    """Write the images from `start` to before `stop`, to which the `targets` refer; the indices of those that should
    show a digit and do not."""
    blocks = [(first, min(first + BLOCK, stop)) for first in range(start, stop, BLOCK)]
    without = []
    own = cut(targets, [(first - start, last - start) for first, last in blocks])
    for (first, last), here in zip(blocks, own, strict=True):
        images, strange = some_to_network_size(np.array(read_images(folder, prefix)[first:last]), *form)
        without.append(first + strange)
        _write_rows(images, here)
    return np.concatenate(without)


def cut(targets: list[Target], spans: list[tuple[int, int]]) -> Iterator[list[Target]]:
    """The `targets` of the images of each of the `spans`, which follow one another from 0 on."""
    for start, stop in spans:
        own = [target._replace(chosen=target.chosen[start:stop]) for target in targets]
        yield own
        targets = [whole._replace(row=whole.row + int(some.chosen.sum())) for whole, some in zip(targets, own)]


def _write_rows(values: np.ndarray, targets: list[Target]) -> None:
    for path, chosen, row in targets:
        if chosen.any():
            arrays.write(path, row, values[chosen])

"""A range of images looked at by itself, so that many processes can share the work, and ranges put together."""

from collections.abc import Iterable, Iterator
from itertools import islice, starmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stages.idx import read_idx, read_images
from stages.ranges import in_order, ranges
from stages.validate import raw
from stages.validate.by_class import ByClass, none, of_block
from stages.validate.suite import Check, Found, look
from stages.validate.table import BLOCK, Tally, Values, columns, put_together, tally, with_more, with_writers

FEW = 2  # ranges, which are done here before another process has imported Great Expectations


class Part(NamedTuple):
    """What some consecutive images of a split come to."""

    found: list[Found]  # for each check of images
    tally: Tally
    pixels: np.ndarray  # how many have each value: int64 [256]
    by_class: ByClass
    hashes: np.ndarray  # the first half of each image's fingerprint: uint64 [N]


def wholes(folder: Path, splits: dict[str, raw.Split], checks: list[Check], classes: int) -> dict[str, Part]:
    """What the images of each split in `folder` come to, of which one range after the other is looked at."""
    counts = {key: len(ranges(len(split.images))) for key, split in splits.items()}
    count, tasks = sum(counts.values()), _tasks(folder, splits, checks, classes)
    parts = in_order(look_at, tasks, count, "validate") if count > FEW else starmap(look_at, tasks)
    return {key: together(islice(parts, counts[key]), len(split.images)) for key, split in splits.items()}


def _tasks(folder: Path, splits: dict[str, raw.Split], checks: list[Check], classes: int) -> Iterator[tuple[Any, ...]]:
    """What `look_at` is called with for each range."""
    columns = dict.fromkeys(column for name in raw.SPLITS.values() for column in raw.writer_columns(folder, name))
    for key, split in splits.items():
        name, spans = raw.SPLITS[key], ranges(len(split.images))
        writers = raw.writers_in_step(folder, name, list(columns), [stop - start for start, stop in spans])
        for (start, stop), rows in zip(spans, writers, strict=True):
            yield folder, name, start, stop, rows, checks, classes


def look_at(
    folder: Path, name: str, start: int, stop: int, writers: pd.DataFrame, checks: list[Check], classes: int
) -> Part:
    """The images from `start` to before `stop` of the split whose files in `folder` start with `name`.

    `writers` has a row for each. Labels from `classes` on belong to no class.
    """
    blocks, pixels = [], np.zeros(256, np.int64)
    by_class = none(classes, read_images(folder, name).shape[1:])
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        images = np.array(read_images(folder, name)[first:last])
        labels = np.array(read_idx(folder / f"{name}-labels-idx1-ubyte", 1)[first:last])
        block, counts = columns(images, labels)
        blocks.append(block)
        pixels += counts
        by_class = by_class.plus(of_block(images, labels, block, classes))
    table = pd.DataFrame({column: np.concatenate([block[column] for block in blocks]) for column in blocks[0]})
    found = look(with_writers(table, writers), checks, start)
    return Part(found, tally(table), pixels, by_class, table["hash"].to_numpy())


def together(parts: Iterable[Part], count: int) -> Part:
    """The `parts` of a split of `count` images, in order."""
    hashes, start = np.empty(count, np.uint64), 0
    values: dict[str, list[Values]] = {}
    whole: Part | None = None
    for part in parts:
        hashes[start : start + len(part.hashes)] = part.hashes
        start += len(part.hashes)
        values = {column: with_more(values.get(column, []), more) for column, more in part.tally.values.items()}
        whole = part if whole is None else _plus(whole, part)
    if whole is None:
        raise ValueError("no parts")
    counted = whole.tally._replace(values={column: put_together(each) for column, each in values.items()})
    return whole._replace(tally=counted, hashes=hashes)


def _plus(whole: Part, part: Part) -> Part:
    """`whole` with what can be added up of `part`: neither the values nor the hashes."""
    return whole._replace(
        found=[before + found for before, found in zip(whole.found, part.found, strict=True)],
        tally=whole.tally._replace(
            labels=whole.tally.labels + part.tally.labels, largest=max(whole.tally.largest, part.tally.largest)
        ),
        pixels=whole.pixels + part.pixels,
        by_class=whole.by_class.plus(part.by_class),
    )

"""What lies at a path: the values of an entry's `source`, and lines that tell a person."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.common import parameters
from stages.common.entry import UserError
from stages.common.parameters import Block
from stages.datasets import Name
from stages.download import pictures
from stages.download.contents import GZIP_MAGIC, LARGEST_FILE_BYTES, MirrorError, blocks_of
from stages.download.mirrors import from_folder
from stages.download.params import IDX_FILES, WHOLE_FOLDER
from stages.download.readers import ZIP_MAGIC, arrow, bounded, npz_shapes

LABELS = ("label", "labels", "class", "target", "y", "digit")  # usual names of a column of labels
GROUPS = ("person", "writer", "author", "user", "group")  # and of one that says who made a picture
TEST_FRACTION = 0.2
LARGEST_SIDE, MANY = 128, 20_000  # pixels a side that pictures are brought to; half of it if there are more than MANY
ROWS, LEAST_PIXELS = 1_000, 16  # of a CSV: rows that are looked at, columns below which they are no images
SURVEY = 2_000  # pictures that are looked at
COLOURED = 40  # grey levels between the channels of a pixel from which on it has a colour


@dataclass
class Found:
    """The values of `source` without its mirrors, the names of the classes if they are known, lines for a person."""

    source: dict[str, Any]
    classes: list[str] | None = None
    lines: list[str] = field(default_factory=list)


class Labels(Block):
    """The names of classes as a source has them."""

    label: list[Name]


def named(labels: list[str], path: Path) -> None:
    """Raise `UserError` if a class has one of `labels`, and that cannot be shown on a page or in a terminal."""
    parameters.check("source", {"label": labels}, Labels, path)


def look(path: Path, group: str | None) -> Found:
    """What lies at `path`. Raises `UserError` if it is none of the kinds that are known."""
    folder = path if path.is_dir() else path.parent
    inside = [each.relative_to(folder) for each in path.rglob("*") if each.is_file()] or [Path(path.name)]
    names = sorted(each.as_posix() for each in inside if not any(part.startswith((".", "__")) for part in each.parts))
    tables = [name for name in names if re.search(r"\.csv(\.gz|\.zip)?$", name.lower()) and name != pictures.TABLE]
    archives = [name for name in names if name.lower().endswith(".npz")]
    drawn = {*pictures.files_of(path)} if path.is_dir() else set()
    if path.is_dir() and (idx := idx_files(path)):
        return Found({"kind": "idx", "files": idx}, lines=["four IDX files, as MNIST has them"])
    if parquet := [name for name in names if name.lower().endswith(".parquet")]:
        return of_parquet(folder, parquet)
    if drawn - {pictures.TABLE} and (pictures.TABLE in drawn or any("/" in name for name in drawn)):
        return of_pictures(path, group)
    if len(archives) == 1:
        return of_npz(folder, archives[0])
    if tables:
        return of_csv(folder, tables)
    if drawn:
        return of_pictures(path, group)  # it tells what is missing
    raise UserError(
        f"{path}: nothing that is known here: a folder with a folder of pictures for each class (or a labels.csv), "
        "four IDX files, one .npz file, or files of .csv or .parquet"
    )


def checksum(path: Path) -> str:
    """The checksum of a file as an entry states it: of the decompressed content if it is compressed with gzip."""
    whole = hashlib.sha256()
    for block in blocks_of(path, LARGEST_FILE_BYTES):
        whole.update(block)
    return f"sha256:{whole.hexdigest()}"


def idx_files(folder: Path) -> dict[str, str] | None:
    """The checksums of the four IDX files in `folder`; None if one is missing."""
    try:
        paths = {name: from_folder(folder, name) for name in IDX_FILES}
    except MirrorError:
        return None
    return {name: checksum(path) for name, path in paths.items()}


def part_of(name: str) -> str:
    """The part that a name tells: test, validation or train."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    if {"test", "t10k"} & {*words}:
        return "test"
    return "validation" if {"val", "valid", "validation"} & {*words} else "train"


def parted(names: list[str]) -> dict[str, Any]:
    """Files as `train` and `test`, told by their names; else all as `train`, with a share for a test.

    A pipeline splits off its own validation images, so those of the source count as training images.
    """
    test = [name for name in names if part_of(name) == "test"]
    train = [name for name in names if name not in test]
    return {"train": train, "test": test} if train and test else {"train": names, "test_fraction": TEST_FRACTION}


def with_sums(folder: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """`parts` and the checksums of their files."""
    names = [*parts["train"], *parts.get("test", [])]
    return {"files": {name: checksum(folder / name) for name in names}, **parts}


def of_npz(folder: Path, name: str) -> Found:
    """Pairs of an array of images and one of labels, told by their shapes; the test pair by its name or its size."""
    bounded(str(folder / name), folder / name, LARGEST_FILE_BYTES)
    shapes = npz_shapes(folder / name)
    pairs = []
    for key in (key for key, shape in shapes.items() if len(shape) > 2):
        answers = [other for other, shape in shapes.items() if len(shape) < 3 and math.prod(shape) == shapes[key][0]]
        if not answers:
            raise UserError(f"{folder / name}: no array of labels belongs to {key}: there are {', '.join(shapes)}")
        named = [other for other in answers if {*re.split(r"[^a-z]+", other.lower())} & {*LABELS}] or answers
        alike = sorted(named, key=lambda other: SequenceMatcher(None, key, other).ratio())
        if len(named) > 1 and named is answers:
            raise UserError(f"{folder / name}: {' or '.join(answers)} may be the labels of {key}: call them labels")
        pairs.append([key, alike[-1]])
    if not pairs:
        raise UserError(f"{folder / name}: no array of images (N, height, width): there are {', '.join(shapes)}")
    test = next((pair for pair in pairs if part_of(pair[0]) == "test"), None)
    train = max((pair for pair in pairs if pair != test), key=lambda pair: shapes[pair[0]][0], default=None)
    if train is None:
        train, test = pairs[0], None
    elif test is None and len(pairs) == 2:
        test = next(pair for pair in pairs if pair != train)
    source: dict[str, Any] = {"kind": "npz", "files": {name: checksum(folder / name)}, "train": train}
    source |= {"test": test} if test else {"test_fraction": TEST_FRACTION}
    used = [key for pair in (train, test) if pair for key in pair]
    lines = [f"arrays of NumPy: {', '.join(f'{key} {shapes[key]}' for key in used)}"]
    lines += [f"{key} is left out" for pair in pairs for key in pair if key not in used]
    return Found(source, lines=lines)


def of_csv(folder: Path, names: list[str]) -> Found:
    """Tables with a pixel in each column; those without labels, as Kaggle's test part, are left out."""
    labels: dict[str, str | int] = {}
    others = []
    for name in names:
        with (folder / name).open("rb") as file:
            magic = file.read(4)
        bounded(str(folder / name), folder / name, LARGEST_FILE_BYTES)
        packed: Any = "zip" if magic == ZIP_MAGIC else "gzip" if magic.startswith(GZIP_MAGIC) else None
        head = pd.read_csv(folder / name, header=None, nrows=ROWS, compression=packed, dtype=str)
        column = next((text for text in head.iloc[0] if str(text).lower() in LABELS), None)
        if head.shape[1] <= LEAST_PIXELS:
            others.append(f"{name} has {head.shape[1]} columns, no pixels, and is left out")
        elif head.iloc[0].str.fullmatch(r"-?[\d.]+").all():  # no header
            last = head.iloc[:, 0].nunique() == 1 < head.iloc[:, -1].nunique()  # else first, as everywhere
            labels[name] = head.shape[1] - 1 if last else 0
        elif column:
            labels[name] = column
        else:
            others.append(f"{name} has no labels and is left out")
    if not labels:
        raise UserError(f"{folder / names[0]}: no column is named {', '.join(LABELS[:-1])} or {LABELS[-1]}")
    if len({*labels.values()}) > 1:
        columns = ", ".join(f"{column!r} in {name}" for name, column in labels.items())
        raise UserError(f"{folder}: the labels are in different columns: {columns}")
    column = next(iter(labels.values()))
    source = {"kind": "csv", **with_sums(folder, parted(list(labels))), "label": column}
    header = f"no header, labels in column {column + 1}" if isinstance(column, int) else f"labels in column {column}"
    return Found(source, lines=[f"tables with a pixel in each column; {header}", *others])


def of_parquet(folder: Path, names: list[str]) -> Found:
    """Tables with a column of pictures; those of the Hugging Face hub name the classes in their metadata."""
    pa, pq = arrow()
    schema = pq.read_schema(folder / names[0])
    holders = [each.name for each in schema if pa.types.is_binary(each.type) or pa.types.is_struct(each.type)]
    answers = [column for column in schema.names if column.lower() in LABELS]
    if not holders or not answers:
        columns = ", ".join(schema.names)
        raise UserError(f"{folder / names[0]}: needs a column of pictures and one named {LABELS[0]}; it has {columns}")
    [image, *_], [label, *_] = holders, answers
    parts = with_sums(folder, parted(names))
    cells = [row for name in parts["files"] for row in pq.read_table(folder / name)[image].to_pylist()]
    hub = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    classes = hub.get("info", {}).get("features", {}).get(label, {}).get("names")
    found = Found({"kind": "parquet", **parts, "label": label, "image": image}, classes, ["Parquet with pictures"])
    return surveyed(found, [(row.get("bytes") if isinstance(row, dict) else row) or b"" for row in cells])


def of_pictures(folder: Path, group: str | None) -> Found:
    """A folder of pictures, labelled by the names of their folders or by a table."""
    table = folder / pictures.TABLE
    if group is None and table.is_file():
        columns = pd.read_csv(table, nrows=0).columns
        group = next((column for column in columns if column.lower() in GROUPS), None)
    rows = pictures.described(folder, group)
    named(sorted({row["label"] for row in rows}), folder)
    without = len(pictures.files_of(folder)) - len(rows) - table.is_file()
    source: dict[str, Any] = {"kind": "folder", "files": {WHOLE_FOLDER: f"sha256:{pictures.checksum(folder)}"}}
    if not any(row["part"] == "test" for row in rows):
        source["test_fraction"] = TEST_FRACTION
    found = Found(source, lines=[f"{len(rows):,} pictures, labelled by {table.name if table.is_file() else 'folder'}"])
    if without:
        found.lines.append(f"{without:,} pictures are not in {table.name} and are left out")
    if group:
        source["group"] = group
        found.lines.append(f"{len({row['group'] for row in rows}):,} groups ({group})")
    return surveyed(found, [folder / row["file"] for row in rows])


def surveyed(found: Found, files: Sequence[Path | bytes]) -> Found:
    """`found` with size and channels of the pictures in `files`, and a line about them.

    Every size is read; SURVEY of the pictures, evenly spread, are searched for colour.
    """
    chosen = {*np.linspace(0, len(files) - 1, min(len(files), SURVEY)).astype(int).tolist()}
    sizes, coloured = [], 0
    for number, file in enumerate(files):
        name = f"picture {number}" if isinstance(file, bytes) else str(file)
        with BytesIO(file) if isinstance(file, bytes) else file.open("rb") as content:
            sizes.append(pictures.size_of(content, name))
            if number in chosen:
                image = pictures.opened(content, name, size=32, channels=3)
                coloured += bool((np.ptp(image.astype(int), axis=2) > COLOURED).mean() > 0.02)
    low, high = min(sizes, key=math.prod), max(sizes, key=math.prod)
    if len(set(sizes)) > 1 or low[0] != low[1]:
        found.source["size"] = min(LARGEST_SIDE // (2 if len(sizes) > MANY else 1), max(map(max, sizes)))
    if coloured > len(chosen) / 2:
        found.source["channels"] = 3
    span = " to ".join(dict.fromkeys(f"{width}×{height}" for width, height in (low, high)))
    found.lines.append(f"{span} pixels; {coloured:,} of {len(chosen):,} pictures in colour")
    return found

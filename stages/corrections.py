"""The table corrections.csv: what people decided about labels, and digits of their own that they labelled.

A row says `dataset`, then either `image` (the BLAKE2b hash of an image of that data set, its pixels as download left
them), its label `from` and the right one `to`, empty if the image is to be left out; or `pixels` (a PNG file of 28×28
grey pixels in base64) and its label `to`: an image for training.
"""

import base64
import binascii
import codecs
import csv
import hashlib
import io
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from stages.common.entry import UserError

FILE = Path("corrections.csv")
COLUMNS = ["dataset", "image", "from", "to", "pixels"]
CONFLICT = ("<<<<<<<", "=======", ">>>>>>>")  # how Git marks one
SIDE = 28  # pixels of an image that people added


class Relabelled(NamedTuple):
    """An image that is labelled otherwise, class number `to`, or left out if that is None."""

    line: int
    image: str
    before: int
    to: int | None


class Added(NamedTuple):
    """An image uint8 (28, 28) for training, of the class number `label`."""

    line: int
    image: np.ndarray
    label: int


class Corrections(NamedTuple):
    """The rows about one data set."""

    relabelled: list[Relabelled]
    added: list[Added]


def fingerprint(image: np.ndarray) -> str:
    """What names an image: 32 hexadecimal digits that follow from its pixels."""
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).hexdigest()


def read(dataset: str, classes: list[str], path: Path = FILE) -> Corrections:
    """The corrections of `dataset`, which has `classes`; none if the file is missing.

    Raises `UserError` that names the line which cannot be used.
    """
    found = Corrections([], [])
    for line, row in rows(path):
        if row["dataset"] != dataset:
            continue
        before, to = (class_number(row[key], classes, f"{path} line {line}: {key}") for key in ("from", "to"))
        if row["pixels"]:
            if to is None:
                raise UserError(f"{path} line {line}: to is empty: an added image needs a label")
            image = pixels(row["pixels"], f"{path} line {line}")
            if any(np.array_equal(each.image, image) for each in found.added):
                raise UserError(f"{path} line {line}: this image is added already: keep one of the rows")
            found.added.append(Added(line, image, to))
        elif not re.fullmatch("[0-9a-f]{32}", row["image"]):
            raise UserError(f"{path} line {line}: image is {row['image']!r}, must be 32 hexadecimal digits")
        elif before is None:
            raise UserError(f"{path} line {line}: from is empty: it must be the label that the image has")
        elif any(each.image == row["image"] for each in found.relabelled):
            raise UserError(f"{path} line {line}: this image has a row already: keep one")
        else:
            found.relabelled.append(Relabelled(line, row["image"], before, to))
    return found


def rows(path: Path = FILE) -> list[tuple[int, dict[str, str]]]:
    """Number and values of each line. Raises `UserError` if the table lacks a column."""
    if not path.exists():
        return []
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: is in UTF-16: save it as CSV in UTF-8")
    try:
        table = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        found = [(table.line_num, row) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a table in UTF-8 ({error})") from None
    if broken := [number for number, row in found if any("\n" in str(value) for value in row.values())]:
        raise UserError(f"{path} line {broken[0]}: a value has a line break: take it out")
    lines = [(number, {key: (row.get(key) or "").strip() for key in COLUMNS}) for number, row in found]
    columns = list(table.fieldnames or [])
    if len(columns) == 1 and (split := {";", "\t"} & {*columns[0]}):
        raise UserError(f"{path}: its columns are divided by {split.pop()!r}: save it with commas")
    if missing := [column for column in COLUMNS if column not in columns]:
        raise UserError(f"{path}: no column {', '.join(missing)}")
    if unsettled := [number for number, row in lines if row["dataset"].startswith(CONFLICT)]:
        raise UserError(f"{path} line {unsettled[0]}: a conflict of a merge: keep the right rows and delete the marks")
    return lines


def strange(known: Collection[str], path: Path = FILE) -> list[str]:
    """A line for each row whose data set is none of the `known` ones, so that no stage uses it."""
    return [
        f"{path} line {line}: dataset is {row['dataset']!r}, which is no entry of datasets.yaml: this row is not used"
        for line, row in rows(path)
        if row["dataset"] not in known
    ]


def class_number(label: str, classes: list[str], where: str) -> int | None:
    """The number of the class `label`, None if that is empty. Raises `UserError`, which begins with `where`."""
    if not label:
        return None
    if label not in classes:
        raise UserError(f"{where} is {label!r}, must be one of {', '.join(classes)}")
    return classes.index(label)


def pixels(text: str, where: str) -> np.ndarray:
    """The image in `text`, a PNG file in base64: uint8 (28, 28). Raises `UserError`, which begins with `where`."""
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"])
        image = np.asarray(picture.convert("L")) if picture.size == (SIDE, SIDE) else None
    except (binascii.Error, UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        image = None
    if image is None:
        raise UserError(f"{where}: pixels are no PNG file of {SIDE}×{SIDE} pixels in base64")
    if blank(image):
        raise UserError(f"{where}: pixels have a single grey level, so nothing to learn from: take the line out")
    return image


def blank(image: np.ndarray) -> bool:
    """Whether nothing is in `image`."""
    return bool((image == image.flat[0]).all())


def applied(
    corrections: list[Relabelled], images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, set[str]]:
    """The right `labels` (N,) of `images`, which of these stay, bool (N,), and the fingerprints that were found.

    Raises `UserError` if an image has another label than the correction was made for.
    """
    right, kept, seen = labels.copy(), np.full(len(labels), True), set()
    if not corrections:
        return right, kept, set()
    wanted = {each.image: each for each in corrections}
    for index, image in enumerate(images):
        if (correction := wanted.get(fingerprint(image))) is None:
            continue
        seen.add(correction.image)
        if labels[index] != correction.before:
            raise UserError(f"{FILE} line {correction.line}: this image is labelled otherwise now: take the line out")
        if correction.to is None:
            kept[index] = False
        else:
            right[index] = correction.to
    return right, kept, seen

"""`make correct`: write what people decided about labels into corrections.csv, which the pipeline applies.

    make correct                                   what people corrected on the page of `make serve`
    make correct PART=train INDEX=1234 LABEL=7     an image of data/prepared, as the report lists the suspects
    make correct PART=train INDEX=1234 LABEL=      leave it out

Who changes their mind calls it again: the line about the image is replaced, or taken out if the label was right.
Then run `dvc repro`: the data report shows the corrections, and `make compare` what they did to the model.
"""

import argparse
import base64
import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from serving import log
from stages import corrections, datasets
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import replacing
from stages.corrections import COLUMNS, FILE, SIDE, Added, Relabelled, fingerprint
from stages.datasets import Choice
from stages.idx import read_idx, read_images
from stages.preprocess.images import to_network_size
from stages.preprocess.params import Preprocess, Preprocessed

RAW, PREPARED = Path("data/raw"), Path("data/prepared")
PREFIXES = {"train": "train", "validation": "train", "test": "t10k"}


class Change(NamedTuple):
    """Rows for the end of the table, rows in place of lines by their number (None takes the line out), and what this
    means, in words."""

    rows: list[list[str]]
    lines: dict[int, list[str] | None]
    said: str


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m tools.correct", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--part", choices=PREFIXES, help="the part of data/prepared that has the image")
    options.add_argument("--index", type=int, help="its place there, from 0")
    options.add_argument("--label", help="its right label; empty: leave it out")
    options.add_argument("--log", type=Path, default=Path("logs/requests.sqlite"), help="what `make serve` logged")
    chosen = options.parse_args()

    if chosen.index is None and (chosen.part or chosen.label is not None):
        raise UserError("INDEX is missing: the report lists part and number of each suspect")
    dataset = parameters.read("download", Choice).dataset
    classes = datasets.chosen(Preprocessed).classes
    before = corrections.read(dataset, classes)  # nothing is added to a table that cannot be read
    if chosen.index is None:
        change = of_the_page(dataset, classes, before.added, chosen.log)
    elif chosen.label is None:
        raise UserError("LABEL is missing: give the right one, or an empty one to leave the image out")
    else:
        change = of_one_image(dataset, classes, before.relabelled, chosen.part or "train", chosen.index, chosen.label)
    print(f"correct: {FILE}: {change.said}")
    if change.rows or change.lines:
        write(change)
        print("next:    dvc repro && make compare")
    if chosen.part == "test":
        print("correct: test labels change the measure: results before and after cannot be compared image by image")


def of_the_page(dataset: str, classes: list[str], added: list[Added], path: Path) -> Change:
    """What the corrections logged at `path` change, of which some are `added` already."""
    known = {fingerprint(each.image): each for each in added}
    rows: list[list[str]] = []
    lines: dict[int, list[str] | None] = {}
    for image, label in from_the_page(path, classes):
        row = [dataset, "", "", label, as_png(image)]
        if (before := known.get(fingerprint(image))) is None:
            rows.append(row)
        elif classes[before.label] != label:
            lines[before.line] = row
    said = f"{len(rows):,} new of those made on the page"
    return Change(rows, lines, said + (f", {len(lines):,} with another label than before" if lines else ""))


def of_one_image(
    dataset: str, classes: list[str], relabelled: list[Relabelled], part: str, index: int, to: str
) -> Change:
    """What it changes that image number `index` of `part` has the label `to`, or is left out if that is empty.

    Raises `UserError` if there is no such image or class, or if nothing would change.
    """
    corrections.class_number(to, classes, "LABEL")
    image, label = existing(dataset, part, index, classes)
    row = [dataset, fingerprint(image), label, to, ""]
    decided = next((each for each in relabelled if each.image == row[1]), None)
    said = f"{label} → {to or 'left out'}"
    if decided is None:
        if label == to:
            raise UserError(f"{part} {index} is labelled {label} already")
        return Change([row], {}, said)
    if label == to:
        return Change([], {decided.line: None}, f"{label}, as the data have it: line {decided.line} is taken out")
    return Change([], {decided.line: row}, f"{said}, in place of what line {decided.line} said")


def from_the_page(path: Path, classes: list[str]) -> list[tuple[np.ndarray, str]]:
    """Image, uint8 (28, 28), and label of each correction in the log; of several about one image, the last. Blank
    images, of which nothing can be learnt, are left out.

    Raises `UserError` if the log is missing.
    """
    found = log.corrections(path)
    if strange := [each for each in found if not 0 <= each.label < len(classes) or each.image.size != SIDE**2]:
        raise UserError(f"{path}: a correction of {strange[0].request} is of another model: name the log of this one")
    last = {each.image.tobytes(): (each.image.reshape(SIDE, SIDE), each.label) for each in found}
    return [(image, classes[label]) for image, label in last.values() if not corrections.blank(image)]


def existing(dataset: str, part: str, index: int, classes: list[str]) -> tuple[np.ndarray, str]:
    """The image of data/raw that is number `index` of a prepared `part`, and the label that data/raw gives it.

    It is found by its pixels, whatever the split and earlier corrections did to its place. Raises `UserError` if there
    is none, or if data/raw holds another data set.
    """
    try:
        prepared = np.load(PREPARED / part / "images.npy", mmap_mode="r")
        described = json.loads((RAW / "dataset.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: make it with `dvc repro`") from None
    if described["name"] != dataset:
        raise UserError(f"{RAW} holds {described['name']}, params.yaml names {dataset}: `dvc repro` first")
    if not 0 <= index < len(prepared):
        raise UserError(f"INDEX={index}: {part} has images 0 to {len(prepared) - 1}")
    p, prepare = parameters.read("preprocess", Preprocess), datasets.chosen(Preprocessed).prepare
    prefix = PREFIXES[part]
    raw = read_images(RAW, prefix)
    same = to_network_size(raw, p.image_size, p.channels, prepare) == prepared[index]
    found = np.flatnonzero(same.reshape(len(raw), -1).all(axis=1))
    if not len(found):
        raise UserError(f"{part} {index} was added by hand: change its line in {FILE}")
    label = read_idx(RAW / f"{prefix}-labels-idx1-ubyte", dimensions=1)[found[0]]
    return raw[found[0]], classes[label]


def as_png(image: np.ndarray) -> str:
    """`image`, uint8 (height, width), as a PNG file in base64."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def write(change: Change) -> None:
    """Write the `change`. All other lines, columns that others added, and the kind of line ends stay as they are."""
    before = FILE.read_bytes().decode() if FILE.exists() else ",".join(COLUMNS) + "\n"
    lines = io.StringIO(before, newline="").readlines()
    end = "\r\n" if lines[0].endswith("\r\n") else "\n"
    columns = next(csv.reader([lines[0].lstrip("\ufeff")]))

    def as_line(row: list[str], line: str = "") -> str:
        others = next(csv.DictReader([line], columns), {})
        text = io.StringIO(newline="")
        csv.DictWriter(text, columns, restval="", lineterminator=end).writerow(others | dict(zip(COLUMNS, row)))
        return text.getvalue()

    for number, row in change.lines.items():
        lines[number - 1] = "" if row is None else as_line(row, lines[number - 1])
    kept = "".join(lines)
    kept += "" if kept.endswith(("\n", "\r")) else end
    with replacing(FILE) as path:
        path.write_bytes((kept + "".join(map(as_line, change.rows))).encode())


if __name__ == "__main__":
    run("correct", main)

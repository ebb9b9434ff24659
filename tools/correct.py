"""`make correct`: write what people decided about labels into corrections.csv, which the pipeline applies.

    make correct                                   what people corrected on the page of `make serve`
    make correct PART=train INDEX=1234 LABEL=7     an image of data/prepared, as the report lists the suspects
    make correct PART=train INDEX=1234 LABEL=      leave it out

Then run `dvc repro`: the data report shows the corrections, and `make compare` what they did to the model.
"""

import argparse
import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from serving import log
from stages import corrections, datasets
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import replacing
from stages.corrections import COLUMNS, FILE, SIDE, fingerprint
from stages.datasets import Choice
from stages.idx import read_idx, read_images
from stages.preprocess.images import to_network_size
from stages.preprocess.params import Preprocess, Preprocessed

RAW, PREPARED = Path("data/raw"), Path("data/prepared")
PREFIXES = {"train": "train", "validation": "train", "test": "t10k"}


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
        known = {fingerprint(each.image) for each in before.added}
        new = [each for each in from_the_page(chosen.log, classes) if fingerprint(each[0]) not in known]
        rows = [[dataset, "", "", label, as_png(image)] for image, label in new]
        said = f"{len(rows):,} new of those made on the page"
    else:
        if chosen.label is None:
            raise UserError("LABEL is missing: give the right one, or an empty one to leave the image out")
        corrections.class_number(chosen.label, classes, "LABEL")
        image, label = existing(dataset, chosen.part or "train", chosen.index, classes)
        if any(each.image == fingerprint(image) for each in before.relabelled):
            raise UserError(f"{FILE} has a line about this image already: change it there")
        if label == chosen.label:
            raise UserError(f"{chosen.part or 'train'} {chosen.index} is labelled {label} already")
        rows = [[dataset, fingerprint(image), label, chosen.label, ""]]
        said = f"{label} → {chosen.label or 'left out'}"
    if rows:
        append(rows)
    print(f"correct: {FILE}: {said}")
    if rows:
        print("next:    dvc repro && make compare")
    if chosen.part == "test":
        print("correct: test labels change the measure: results before and after cannot be compared image by image")


def from_the_page(path: Path, classes: list[str]) -> list[tuple[np.ndarray, str]]:
    """Image, uint8 (28, 28), and label of each correction in the log; of several about one image, the last.

    Raises `UserError` if the log is missing.
    """
    found = log.corrections(path)
    if strange := [each for each in found if not 0 <= each.label < len(classes) or each.image.size != SIDE**2]:
        raise UserError(f"{path}: a correction of {strange[0].request} is of another model: name the log of this one")
    last = {each.image.tobytes(): (each.image.reshape(SIDE, SIDE), each.label) for each in found}
    return [(image, classes[label]) for image, label in last.values()]


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


def append(rows: list[list[str]]) -> None:
    """Write `rows` at the end of the table, whose lines stay as they are."""
    before = FILE.read_text(encoding="utf-8") if FILE.exists() else ",".join(COLUMNS) + "\n"
    columns = next(csv.reader([before.lstrip("\ufeff").splitlines()[0]]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writerows(dict(zip(COLUMNS, row)) for row in rows)
    with replacing(FILE) as path:
        path.write_text(before.rstrip("\n") + "\n" + text.getvalue(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    run("correct", main)

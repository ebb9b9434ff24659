"""`make grow IMAGES=6000000`: a large data set to try the pipeline on, made of the MNIST in data/raw.

Each image is one of MNIST's, a little deformed: train of train, test of test, with its label and its writer. The files
are written to grown/IMAGES, and their entry is added to datasets.yaml.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from catalog import grown
from catalog.entries import add
from record.parameters import Dataset
from stages import datasets, ranges
from stages.checksums import digest
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.download.contents import LARGEST_FILE_BYTES
from stages.download.folders import replacing_folder
from stages.download.threads import side_by_side
from stages.idx import read_images

RAW, FOLDER, OF = Path("data/raw"), Path("grown"), "mnist"
LEAST = 7  # images: one for the test part
# Of `expect`, where deformed images have other values than MNIST's.
WIDER = {
    "ink_fraction": [0.005, 0.5],
    "border_intensity": 40,
    "centre_of_mass": [11.5, 16.5],
    "box_size": [12, 28],
    "centroid_accuracy": 0.7,
}


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tools.grow", description=__doc__)
    options.add_argument("images", help="how many, train and test together")
    text = options.parse_args(arguments).images
    if not text.isdecimal() or int(text) < LEAST:
        raise UserError(f"IMAGES is {text!r}, must be a whole number from {LEAST}: make grow IMAGES=6000000")
    images = int(text)
    counts = {"train": images * 6 // 7, "t10k": images - images * 6 // 7}
    sides = {prefix: side(prefix) for prefix in counts}
    name, place = f"{OF}_{images}", FOLDER / str(images)

    with replacing_folder(place) as folder:
        for prefix, count in counts.items():
            grown.create(folder, prefix, count, sides[prefix])
        tasks = [(RAW, folder, prefix, *each) for prefix, count in counts.items() for each in ranges.ranges(count)]
        for _ in ranges.in_order(grown.write_range, tasks, len(tasks), "grow"):
            pass
        tables = [grown.write_writers(RAW, folder, prefix, count) for prefix, count in counts.items()]
        paths = sorted(folder.iterdir())
        sums = dict(zip([path.name for path in paths], side_by_side(digest, paths), strict=True))
        largest = max(path.stat().st_size for path in paths)
        entry = entry_of(place, counts, sums, [table for table in tables if table], largest)
        there = parameters.load(datasets.FILE).get(name)
        if there and there["source"]["files"] != entry["source"]["files"]:
            raise UserError(f"{datasets.FILE} has an entry {name} of other data: delete it and run this again")
    if not there:
        add(name, entry)
    print(
        f"grow: {place} holds {images:,} images, {counts['train']:,} of them for training; in {datasets.FILE}: {name}"
    )
    print(f"next: dvc exp run -S download.dataset={name}")


def side(prefix: str) -> int:
    """The height and width of MNIST's images. Raises `UserError` if data/raw holds something else."""
    try:
        holds = json.loads((RAW / "dataset.json").read_text(encoding="utf-8"))["name"]
        if holds == OF:
            return int(read_images(RAW, prefix).shape[1])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        holds = "no data set"
    raise UserError(
        f"{RAW} holds {holds}, and this needs {OF}: set download.dataset to {OF} in {parameters.FILE},"
        " then run `dvc repro download`"
    )


def entry_of(
    place: Path, counts: dict[str, int], sums: dict[str, str], tables: Sequence[str], largest: int
) -> dict[str, Any]:
    """The entry of the files in `place`, whose checksums are `sums`: MNIST's with what differs."""
    entry: dict[str, Any] = parameters.load(datasets.FILE)[OF]
    checksums = {name: f"sha256:{checksum}" for name, checksum in sums.items()}
    mirrors: dict[str, Any] = {"mirrors": [place.as_posix()], "mirror_variable": "GROWN_MIRROR"}
    source = mirrors | {"files": {name: each for name, each in checksums.items() if name not in tables}}
    if largest > LARGEST_FILE_BYTES:
        source["largest_file_bytes"] = largest
    if tables:
        source["writers"] = mirrors | {"files": {name: checksums[name] for name in tables}}
    entry["about"]["title"] += f", {sum(counts.values()):,} by small deformations"
    entry["expect"] |= {"train_images": counts["train"], "test_images": counts["t10k"], **WIDER}
    entry |= {"disputed": [], "source": source}
    parameters.check(f"{OF}_{sum(counts.values())}", entry, Dataset, datasets.FILE)
    return entry


if __name__ == "__main__":
    run("grow", partial(main, sys.argv[1:]))

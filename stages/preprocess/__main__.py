"""Split the checked images into train, validation and test, as uint8 arrays of one size."""

import csv
import json
from pathlib import Path

import numpy as np

from stages.common import parameters
from stages.common.entry import UserError, no_arguments, run
from stages.common.files import replacing, write_json
from stages.idx import read_idx
from stages.preprocess.images import to_standard_size
from stages.preprocess.params import Preprocess
from stages.preprocess.split import split_by_writer, split_stratified

RAW, PREPARED, VERDICT = Path("data/raw"), Path("data/prepared"), Path("data/verdict.json")


def main() -> None:
    p = parameters.read("preprocess", Preprocess)
    if not json.loads(VERDICT.read_text(encoding="utf-8"))["success"]:
        raise UserError(f"{VERDICT} says that the data failed its checks: nothing is prepared from it")
    train, test = read_part("train"), read_part("t10k")

    by_writer = p.split_by_writer and "writers" in train
    if by_writer:
        held_out = split_by_writer(train["writers"], p.validation_fraction, p.seed)
    else:
        held_out = split_stratified(train["labels"], p.validation_fraction, p.seed)
    parts = {
        "train": {name: values[~held_out] for name, values in train.items() if name != "series"},
        "validation": {name: values[held_out] for name, values in train.items() if name != "series"},
        "test": test,
    }
    for part, arrays in parts.items():
        for name, values in arrays.items():
            with replacing(PREPARED / part / f"{name}.npy") as path:
                np.save(path, values)
    counts = {part: len(arrays["labels"]) for part, arrays in parts.items()}
    split = "by writer" if by_writer else "stratified"
    write_json(PREPARED / "dataset.json", {"images": counts, "split": split})
    print(
        f"preprocess: {counts['train']:,} train, {counts['validation']:,} validation ({split}), "
        f"{counts['test']:,} test images of 28×28"
    )


def read_part(prefix: str) -> dict[str, np.ndarray]:
    """`images` (N, 28, 28), `labels` (N,) and, if they are known, `writers` and `series` (N,) of a raw part."""
    part = {
        "images": to_standard_size(read_idx(RAW / f"{prefix}-images-idx3-ubyte", dimensions=3)),
        "labels": read_idx(RAW / f"{prefix}-labels-idx1-ubyte", dimensions=1),
    }
    writers = RAW / f"{prefix}-writers.csv"
    if writers.exists():
        with writers.open(newline="") as rows:
            known = [(int(row["series"]), int(row["writer"])) for row in csv.DictReader(rows)]
        part["series"] = np.array([series for series, _ in known], np.uint8)
        part["writers"] = np.array([writer for _, writer in known], np.uint16)
    return part


if __name__ == "__main__":
    no_arguments(__doc__)
    run("preprocess", main)

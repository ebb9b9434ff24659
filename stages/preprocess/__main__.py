"""Split the checked images into train, validation and test, as uint8 arrays of the network's size."""

import csv
import json
from pathlib import Path

import numpy as np

from stages import datasets
from stages.common import parameters
from stages.common.entry import UserError, no_arguments, run
from stages.common.files import replacing, write_json
from stages.idx import read_idx, read_images
from stages.preprocess.images import to_network_size
from stages.preprocess.params import Preprocess, Preprocessed
from stages.preprocess.split import split_by_writer, split_stratified

RAW, PREPARED, VERDICT = Path("data/raw"), Path("data/prepared"), Path("data/verdict.json")


def main() -> None:
    p = parameters.read("preprocess", Preprocess)
    if not json.loads(VERDICT.read_text(encoding="utf-8"))["success"]:
        raise UserError(f"{VERDICT} says that the data failed its checks: nothing is prepared from it")
    prepare = datasets.chosen(Preprocessed).prepare
    train, test = (read_part(prefix, p, prepare) for prefix in ("train", "t10k"))

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
    done = {} if prepare == "as is" else {"prepare": prepare}
    write_json(PREPARED / "dataset.json", {"images": counts, "split": split} | done)
    print(
        f"preprocess: {counts['train']:,} train, {counts['validation']:,} validation ({split}), "
        f"{counts['test']:,} test images of {'×'.join(map(str, test['images'].shape[1:]))}"
    )


def read_part(prefix: str, p: Preprocess, prepare: str) -> dict[str, np.ndarray]:
    """The arrays of a raw part: `images` uint8 (N, size, size) or (N, size, size, 3), `labels` uint8 (N,) and, if they
    are known, `writers` uint16 and `series` uint8 (N,)."""
    part = {
        "images": to_network_size(read_images(RAW, prefix), p.image_size, p.channels, prepare),
        "labels": read_idx(RAW / f"{prefix}-labels-idx1-ubyte", dimensions=1),
    }
    writers = RAW / f"{prefix}-writers.csv"
    if writers.exists():
        with writers.open(newline="") as rows:
            known = list(csv.DictReader(rows))
        part["writers"] = np.array([int(row["writer"]) for row in known], np.uint16)
        if "series" in known[0]:
            part["series"] = np.array([int(row["series"]) for row in known], np.uint8)
    return part


if __name__ == "__main__":
    no_arguments(__doc__)
    run("preprocess", main)

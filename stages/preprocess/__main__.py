"""Split the checked images into train, validation and test, as uint8 arrays of the network's size."""

import csv
import json
from pathlib import Path

import numpy as np

from stages import corrections, datasets
from stages.common import parameters
from stages.common.entry import UserError, no_arguments, run
from stages.common.files import replacing, write_json
from stages.corrections import Added, Relabelled
from stages.datasets import Choice
from stages.idx import read_idx, read_images
from stages.preprocess.images import to_network_size
from stages.preprocess.params import Preprocess, Preprocessed
from stages.preprocess.split import split_by_writer, split_stratified

RAW, PREPARED, VERDICT = Path("data/raw"), Path("data/prepared"), Path("data/verdict.json")


def main() -> None:
    p = parameters.read("preprocess", Preprocess)
    if not json.loads(VERDICT.read_text(encoding="utf-8"))["success"]:
        raise UserError(f"{VERDICT} says that the data failed its checks: nothing is prepared from it")
    chosen = datasets.chosen(Preprocessed)
    corrected = corrections.read(parameters.read("download", Choice).dataset, chosen.classes)
    train, test = (read_part(prefix, p, chosen.prepare) for prefix in ("train", "t10k"))

    by_writer = p.split_by_writer and "writers" in train
    if by_writer:
        held_out = split_by_writer(train["writers"], p.validation_fraction, p.seed)
    else:
        held_out = split_stratified(train["labels"], p.validation_fraction, p.seed)
    # After the split, so that a correction moves no other image.
    train_kept, test_kept = with_right_labels({"train": train, "t10k": test}, corrected.relabelled)
    parts = {
        "train": {name: values[train_kept & ~held_out] for name, values in train.items() if name != "series"},
        "validation": {name: values[train_kept & held_out] for name, values in train.items() if name != "series"},
        "test": {name: values[test_kept] for name, values in test.items()},
    }
    if corrected.added:
        parts["train"] = with_added(parts["train"], corrected.added)
    for part, arrays in parts.items():
        for name, values in arrays.items():
            with replacing(PREPARED / part / f"{name}.npy") as path:
                np.save(path, values)
    counts = {part: len(arrays["labels"]) for part, arrays in parts.items()}
    split = "by writer" if by_writer else "stratified"
    done = {} if chosen.prepare == "as is" else {"prepare": chosen.prepare}
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


def with_right_labels(parts: dict[str, dict[str, np.ndarray]], corrected: list[Relabelled]) -> list[np.ndarray]:
    """Correct the `labels` of `parts`, by the prefix of their raw files; which images of each stay, bool (N,).

    Raises `UserError` if a corrected image is in no part.
    """
    kept, seen = [], set()
    for prefix, part in parts.items():
        part["labels"], stays, found = corrections.applied(corrected, read_images(RAW, prefix), part["labels"])
        kept.append(stays)
        seen |= found
    if strange := [each for each in corrected if each.image not in seen]:
        raise UserError(f"{corrections.FILE} line {strange[0].line}: no image has this fingerprint: take the line out")
    return kept


def with_added(part: dict[str, np.ndarray], added: list[Added]) -> dict[str, np.ndarray]:
    """The arrays of `part`, and after them the images that people added, as if one more writer had written them all.

    Raises `UserError` if the network takes other images.
    """
    images = np.stack([each.image for each in added])
    if part["images"].shape[1:] != images.shape[1:]:
        raise UserError(f"{corrections.FILE}: its images are 28×28 and grey, those of the network are not")
    longer = part | {
        "images": np.concatenate([part["images"], images]),
        "labels": np.concatenate([part["labels"], np.array([each.label for each in added], np.uint8)]),
    }
    if "writers" in part:
        one_more = np.full(len(added), part["writers"].max() + 1, part["writers"].dtype)
        longer["writers"] = np.concatenate([part["writers"], one_more])
    return longer


if __name__ == "__main__":
    no_arguments(__doc__)
    run("preprocess", main)

"""Split the checked images into train, validation and test, as uint8 arrays of the network's size."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from stages import arrays, checksums, corrections, datasets
from stages.common import parameters
from stages.common.entry import UserError, no_arguments, run
from stages.common.files import replacing, write_json
from stages.corrections import Added, Relabelled
from stages.datasets import Choice
from stages.preprocess import parts
from stages.preprocess.params import Preprocess, Preprocessed
from stages.preprocess.parts import Form, Target
from stages.preprocess.split import split_by_writer, split_stratified

RAW, PREPARED, VERDICT = Path("data/raw"), Path("data/prepared"), Path("data/verdict.json")
PARTS = ("train", "validation", "test")


def main() -> None:
    p = parameters.read("preprocess", Preprocess)
    if not passed(VERDICT):
        raise UserError(f"{VERDICT} says that the data failed its checks: nothing is prepared from it")
    chosen = datasets.chosen(Preprocessed)
    form = Form(p.image_size, p.channels, chosen.prepare)
    corrected = corrections.read(parameters.read("download", Choice).dataset, chosen.classes)
    known = {
        "train": parts.read_known(RAW, "train", ("writer",)),
        "t10k": parts.read_known(RAW, "t10k", ("writer", "series")),
    }

    by_writer = p.split_by_writer and "writers" in known["train"]
    if by_writer:
        held_out = split_by_writer(known["train"]["writers"], p.validation_fraction, p.seed)
    else:
        held_out = split_stratified(known["train"]["labels"], p.validation_fraction, p.seed)
    # After the split, so that a correction moves no other image.
    train, test = with_right_labels(known, corrected.relabelled)
    held_out &= train
    train &= ~held_out
    chosen_of = {"train": {"train": train, "validation": held_out}, "t10k": {"test": test}}
    last = added_rows(corrected.added, known["train"].get("writers"), train, form)

    for killed in PREPARED.rglob(".*.[0-9]*.*"):
        killed.unlink()
    with ExitStack() as stack:
        for prefix, masks in chosen_of.items():
            while known[prefix]:  # each is forgotten when it is written, which halves the memory
                name, values = known[prefix].popitem()
                parts.write_known(values, create(stack, name, masks, last, (), values.dtype))
            parts.write_images(RAW, prefix, create(stack, "images", masks, last, form.shape, np.uint8), form)
    for part in PARTS:
        checksums.write(PREPARED / f"{part}.sha256", (PREPARED / part).glob("*.npy"))
    counts = {part: int(mask.sum()) for masks in chosen_of.values() for part, mask in masks.items()}
    counts["train"] += len(corrected.added)
    split = "by writer" if by_writer else "stratified"
    done = {} if chosen.prepare == "as is" else {"prepare": chosen.prepare}
    write_json(PREPARED / "dataset.json", {"images": counts, "split": split} | done)
    print(
        f"preprocess: {counts['train']:,} train, {counts['validation']:,} validation ({split}), "
        f"{counts['test']:,} test images of {'×'.join(map(str, form.shape))}"
    )


def passed(verdict: Path) -> bool:
    """What the file `verdict` says about the data. Raises `UserError` if it is missing or says nothing."""
    try:
        success = json.loads(verdict.read_text(encoding="utf-8"))["success"]
        if isinstance(success, bool):
            return success
    except (ValueError, TypeError, KeyError, RecursionError, FileNotFoundError):
        pass
    raise UserError(f"{verdict} is missing or says nothing: make it with `dvc repro -f validate`")


def with_right_labels(known: dict[str, dict[str, np.ndarray]], corrected: list[Relabelled]) -> list[np.ndarray]:
    """Correct the `labels` of the raw parts, by their prefix; which images of each stay, bool (N,).

    Raises `UserError` if a corrected image is in no part.
    """
    kept, seen = [], set()
    for prefix, columns in known.items():
        columns["labels"], stays, found = parts.correct(RAW, prefix, columns["labels"], corrected)
        kept.append(stays)
        seen |= found
    if strange := [each for each in corrected if each.image not in seen]:
        raise UserError(f"{corrections.FILE} line {strange[0].line}: no image has this fingerprint: take the line out")
    return kept


def create(
    stack: ExitStack,
    name: str,
    masks: dict[str, np.ndarray],
    last: dict[str, np.ndarray],
    shape: tuple[int, ...],
    dtype: Any,
) -> list[Target]:
    """Make the array `name` of each part that `masks` names, of rows of the `shape`: room for the chosen images, and in
    train the `last` rows after them. The files get their names when the `stack` is left."""
    targets = []
    for part, mask in masks.items():
        path = stack.enter_context(replacing(PREPARED / part / f"{name}.npy"))
        count, more = int(mask.sum()), last.get(name) if part == "train" else None
        arrays.create(path, (count if more is None else count + len(more), *shape), dtype)
        if more is not None:
            arrays.write(path, count, more)
        targets.append(Target(path, mask))
    return targets


def added_rows(added: list[Added], writers: np.ndarray | None, train: np.ndarray, form: Form) -> dict[str, np.ndarray]:
    """The last rows of the arrays of the part train: the images that people added, as if one more writer than `writers`
    of the images in `train`, bool (N,), had written them all. Nothing if there are none.

    Raises `UserError` if the network takes other images.
    """
    if not added:
        return {}
    images = np.stack([each.image for each in added])
    if images.shape[1:] != form.shape:
        raise UserError(f"{corrections.FILE}: its images are 28×28 and grey, those of the network are not")
    rows = {"images": images, "labels": np.array([each.label for each in added], np.uint8)}
    if writers is not None:
        free = np.setdiff1d(np.arange(np.iinfo(writers.dtype).max + 1), writers[train])
        following = np.searchsorted(free, writers[train].max()) % len(free)
        rows["writers"] = np.full(len(added), free[following], writers.dtype)
    return rows


if __name__ == "__main__":
    no_arguments(__doc__)
    run("preprocess", main)

"""The scores of a model, as a commit or the working tree records them."""

import csv
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from record import lock
from record.git import WORKING_TREE, Read, on_disk, side
from record.lock import Lock
from stages.common.entry import UserError

NUMBERS, MISTAKES, NOISE = "metrics/evaluate.json", "metrics/mistakes.csv", "metrics/noise.json"
TEST_DATA = "data/prepared/test"
TRAINED_ON = ("stages/train", "data/prepared/train", "data/prepared/validation")  # beside the parameters
LARGEST = sys.float_info.max / 2  # so that a difference is finite too
ROUNDING = 1e-5  # of a fraction in metrics/evaluate.json
NEEDED = ("accuracy", "accuracy_low", "accuracy_high", "mistakes", "images")
NEEDED_OF_NOISE = ("accuracy_mean", "accuracy_sd", "accuracy_low", "accuracy_high", "seeds")
Number = int | float


@dataclass(frozen=True)
class Results:
    """The scores of one commit's model, or of the model in the working tree."""

    name: str  # of the commit, for people
    numbers: Mapping[str, Number]  # metrics/evaluate.json
    wrong: Mapping[int, int]  # index of each misclassified test image: its true class
    test_data: str  # the checksum of the test images and labels that were scored
    noise: Mapping[str, Any] | None = None  # metrics/noise.json, if measured for this recipe and these test images
    misfit: str = ""  # why the noise does not count, such as `with another recipe`


def at(revision: str) -> Results:
    """The results in the commit `revision`. Raises `UserError` if there is no such commit or they cannot be read."""
    return _read(*side(revision))


def in_working_tree() -> Results:
    """The results in the files of the current folder. Raises `UserError` if they cannot be read."""
    return _read(WORKING_TREE, on_disk)


def _read(name: str, read: Read) -> Results:
    read = cache(read)  # what is asked for here, `parse` reads again, and each time is a Git process
    for path in (NUMBERS, MISTAKES, lock.FILE):
        needed(name, read, path)
    return parse(name, read, lock.parse(f"{lock.FILE} in {name}", needed(name, read, lock.FILE)))


def parse(name: str, read: Read, locked: Lock) -> Results:
    """The results that the files of `read` hold; `locked` is the lock beside them.

    Raises `UserError` if a file or a key is missing, or if numbers and mistakes are not what the lock records, since
    then nothing says which data they are about.
    """
    texts = {path: needed(name, read, path) for path in (NUMBERS, MISTAKES)}
    numbers = _numbers(f"{NUMBERS} in {name}", texts[NUMBERS], NEEDED)
    wrong = _wrong(f"{MISTAKES} in {name}", texts[MISTAKES])
    test_data, written = scored(f"{lock.FILE} in {name}", locked)
    for path, text in texts.items():
        if written.get(path) != md5(text):
            raise UserError(f"{path} in {name} is not what {lock.FILE} records: run `dvc repro` there and commit both")
    _check(name, numbers, wrong)
    measured = read(NOISE)
    noise = None if measured is None else _numbers(f"{NOISE} in {name}", measured, NEEDED_OF_NOISE)
    misfit = ""
    if noise and noise.get("test_data", test_data) != test_data:
        misfit = "on other test images"
    elif noise and noise.get("recipe") != locked_recipe(locked):
        misfit = "with another recipe"
    return Results(name, numbers, wrong, test_data, None if misfit else noise, misfit)


def needed(name: str, read: Read, path: str) -> bytes:
    """The content of `path`. Raises `UserError` if there is none."""
    if (text := read(path)) is None:
        raise UserError(f"{path} is missing in {name}: nothing to compare; run `dvc repro` there and commit it")
    return text


def scored(where: str, locked: Lock) -> tuple[str, Mapping[str, str]]:
    """The checksum of the test data, and path: checksum of the outputs, of the stage evaluate. Raises `UserError`."""
    if (stage := locked.stages.get("evaluate")) is None:
        raise UserError(f"{where}: no record of the evaluate stage: run `dvc repro` there")
    if not (test_data := stage.deps.get(TEST_DATA)):
        raise UserError(f"{where} does not say which {TEST_DATA} was scored: run `dvc repro` there")
    return test_data, stage.outs


def json_object(where: str, text: bytes) -> dict[str, Any]:
    """The JSON object in `text`. Raises `UserError`, with a message that begins with `where`, if there is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: not a JSON object")
    return values


def is_number(value: Any) -> bool:
    """Whether `value` is a number to compute with. JSON may also hold booleans, NaN, infinite and huge numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def locked_recipe(locked: Lock) -> str | None:
    """The `recipe` of the model that the lock records; None if it records no training."""
    try:
        stage = locked.stages["train"]
        return recipe(stage.params["params.yaml"]["train"], *(stage.deps[path] for path in TRAINED_ON))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def recipe(block: Mapping[str, Any], *checksums: str) -> str:
    """A short hash of what determines a training, except the seed: the `block` of parameters and the `checksums` of
    TRAINED_ON."""
    text = json.dumps([{key: value for key, value in block.items() if key != "seed"}, *checksums], sort_keys=True)
    return md5(text.encode())[:16]


def md5(content: bytes) -> str:
    """The MD5 checksum, which DVC uses to identify a file."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _numbers(where: str, text: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    values = json_object(where, text)

    def fits(key: str) -> bool:  # seeds: how many, or which
        value = values.get(key)
        return isinstance(value, int | list) if key == "seeds" else is_number(value)

    if missing := [key for key in keys if not fits(key)]:
        raise UserError(f"{where} has no number for {', '.join(missing)}: make it again and commit it")
    return values


def _wrong(where: str, text: bytes) -> dict[int, int]:
    try:
        return {int(row["index"]): int(row["label"]) for row in csv.DictReader(text.decode().splitlines())}
    except (csv.Error, KeyError, TypeError, ValueError):
        raise UserError(f"{where}: not a table with whole numbers as index and label") from None


def _check(name: str, numbers: Mapping[str, Number], wrong: Mapping[int, int]) -> None:
    """Raise `UserError` if the numbers contradict the mistakes."""
    if len(wrong) != numbers["mistakes"]:
        raise UserError(f"{name}: {numbers['mistakes']} mistakes in {NUMBERS}, {len(wrong)} in {MISTAKES}")
    images = numbers["images"]
    if images < 1 or abs(1 - len(wrong) / images - numbers["accuracy"]) > ROUNDING:
        raise UserError(
            f"{NUMBERS} in {name}: the accuracy {numbers['accuracy']:g} is not {len(wrong)} mistakes in {images:g}"
        )
    if outside := [index for index in wrong if not 0 <= index < images]:
        raise UserError(f"{MISTAKES} in {name}: there is no image {outside[0]}, {NUMBERS} has {images:g}")

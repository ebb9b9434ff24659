"""What a commit says about its model, read from Git alone: DVC's cache is not needed, nor a checkout."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.common.entry import UserError

NUMBERS, MISTAKES, LOCK, NOISE = "metrics/evaluate.json", "metrics/mistakes.csv", "dvc.lock", "metrics/noise.json"
TEST_DATA = "data/prepared/test"
TRAINED_ON = ("stages/train", "data/prepared/train", "data/prepared/validation")  # beside the parameters
LARGEST = sys.float_info.max / 2  # so that a difference is a number too
ROUNDING = 1e-5  # of a fraction in metrics/evaluate.json
WORKING_TREE = "the working tree"
NEEDED = ("accuracy", "accuracy_low", "accuracy_high", "mistakes", "images")
NEEDED_OF_NOISE = ("accuracy_mean", "accuracy_sd", "accuracy_low", "accuracy_high", "seeds")
KINDS = {"seeds": int | list}  # how many, or which; all else is a number


@dataclass(frozen=True)
class Results:
    """The scores of one commit's model, or of the working tree's."""

    name: str  # of the commit, for people
    numbers: Mapping[str, float]  # metrics/evaluate.json
    wrong: Mapping[int, int]  # index of each misclassified test image: its true class
    test_data: str  # the checksum of the test images and labels that were scored
    noise: Mapping[str, Any] | None = None  # metrics/noise.json, where it is of this recipe and these test images
    misfit: str = ""  # how it was measured where it is of others


def at(revision: str) -> Results:
    """The results in the commit that `revision` names. Raises `UserError` where it or they cannot be read."""
    commit = resolve(revision)
    return parse(named(revision, commit), {path: content(commit, path) for path in (NUMBERS, MISTAKES, LOCK, NOISE)})


def in_working_tree() -> Results:
    """The results in the files of the current folder. Raises `UserError` where they cannot be read."""
    return parse(WORKING_TREE, {path: on_disk(path) for path in (NUMBERS, MISTAKES, LOCK, NOISE)})


def on_disk(path: str) -> bytes | None:
    """The bytes of `path`, from the current folder; None where there is no such file."""
    return Path(path).read_bytes() if Path(path).is_file() else None


def parse(name: str, files: Mapping[str, bytes | None]) -> Results:
    """The results that `files` (path: content, None where there is none) hold.

    Raises `UserError` where a file or a key is missing, or where numbers and mistakes are not those
    that dvc.lock records, since then nothing says which data they are about.
    """
    for path in (NUMBERS, MISTAKES, LOCK):
        if files[path] is None:
            raise UserError(f"{path} is missing in {name}: nothing to compare; run `dvc repro` there and commit it")
    numbers = _numbers(f"{NUMBERS} in {name}", files[NUMBERS], NEEDED)
    wrong = _wrong(f"{MISTAKES} in {name}", files[MISTAKES])
    sums = recorded(f"{LOCK} in {name}", files[LOCK])
    for path in (NUMBERS, MISTAKES):
        if sums.get(path) != hashlib.md5(files[path], usedforsecurity=False).hexdigest():
            raise UserError(f"{path} in {name} is not what {LOCK} records: run `dvc repro` there and commit both")
    if len(wrong) != numbers["mistakes"]:
        raise UserError(f"{name}: {numbers['mistakes']} mistakes in {NUMBERS}, {len(wrong)} in {MISTAKES}")
    images = numbers["images"]
    if images < 1 or abs(1 - len(wrong) / images - numbers["accuracy"]) > ROUNDING:
        raise UserError(
            f"{NUMBERS} in {name}: the accuracy {numbers['accuracy']:g} is not {len(wrong)} mistakes in {images:g}"
        )
    if strangers := [index for index in wrong if not 0 <= index < images]:
        raise UserError(f"{MISTAKES} in {name}: there is no image {strangers[0]}, {NUMBERS} has {images:g}")
    noise = None if files[NOISE] is None else _numbers(f"{NOISE} in {name}", files[NOISE], NEEDED_OF_NOISE)
    misfit = ""
    if noise and noise.get("test_data", sums[TEST_DATA]) != sums[TEST_DATA]:
        misfit = "on other test images"
    elif noise and noise.get("recipe") != recorded_recipe(files[LOCK]):
        misfit = "with another recipe"
    return Results(name, numbers, wrong, sums[TEST_DATA], None if misfit else noise, misfit)


def _numbers(where: str, text: bytes, needed: tuple[str, ...]) -> dict[str, Any]:
    values = json_object(where, text)
    if missing := [key for key in needed if not _is_a(values.get(key), KINDS.get(key, int | float))]:
        raise UserError(f"{where} has no number for {', '.join(missing)}: make it again and commit it")
    return values


def json_object(where: str, text: bytes) -> dict[str, Any]:
    """The JSON object in `text`. Raises `UserError` that begins with `where` if there is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: not a JSON object")
    return values


def is_number(value: Any) -> bool:
    """Whether `value` is one to reckon with: neither a truth value nor NaN, infinite or huge, which JSON may hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_a(value: Any, kind: Any) -> bool:
    return is_number(value) if kind == int | float else isinstance(value, kind)


def _wrong(where: str, text: bytes) -> dict[int, int]:
    try:
        return {int(row["index"]): int(row["label"]) for row in csv.DictReader(text.decode().splitlines())}
    except (csv.Error, KeyError, TypeError, ValueError):
        raise UserError(f"{where}: not a table with whole numbers as index and label") from None


def recorded(where: str, text: bytes) -> dict[str, str]:
    """Path: checksum of what the evaluate stage read and wrote, by dvc.lock."""
    try:
        stage = yaml.safe_load(text)["stages"]["evaluate"]
        sums = {entry["path"]: str(entry["md5"]) for entry in [*stage["deps"], *stage["outs"]]}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
        raise UserError(f"{where}: no record of the evaluate stage that can be read: run `dvc repro` there") from None
    if TEST_DATA not in sums:
        raise UserError(f"{where} does not say which {TEST_DATA} was scored: run `dvc repro` there")
    return sums


def recorded_recipe(lock: bytes) -> str | None:
    """The `recipe` of the model that `lock`, a dvc.lock, is of; None where it records no training."""
    try:
        stage = yaml.safe_load(lock)["stages"]["train"]
        sums = {entry["path"]: entry["md5"] for entry in stage["deps"]}
        return recipe(stage["params"]["params.yaml"]["train"], *(sums[path] for path in TRAINED_ON))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


def recipe(block: Mapping[str, Any], *sums: str) -> str:
    """A short hash of what a model is trained with: its `block` of parameters, the seed apart, and the checksums
    of TRAINED_ON."""
    text = json.dumps([{key: value for key, value in block.items() if key != "seed"}, *sums], sort_keys=True)
    # Without quotes, since dvc.lock has 0.00001 as 1e-05, which PyYAML takes for a word.
    return hashlib.md5(text.replace('"', "").encode(), usedforsecurity=False).hexdigest()[:16]


def resolve(revision: str) -> str:
    """The full hash of the commit that `revision` names.

    Raises `UserError` where there is none, saying whether the repository, its history or only the name is missing.
    """
    found = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.decode().strip()
    shallow = _git("rev-parse", "--is-shallow-repository")
    if b"not a git repository" in shallow.stderr:
        raise UserError(f"{Path.cwd().name}/ is not in a Git repository: run it in a clone")
    if shallow.returncode != 0:
        raise UserError(_reason(shallow.stderr))
    if shallow.stdout.strip() == b"true":
        raise UserError(
            f"unknown revision {revision}, and this clone is shallow: get the whole history with"
            " `git fetch --unshallow` (actions/checkout: `fetch-depth: 0`)"
        )
    raise UserError(f"unknown revision {revision}: `git log --all` lists the commits, `git fetch` gets newer ones")


def named(revision: str, commit: str) -> str:
    """What people call `commit`, which `revision` names: `main (1234567)`."""
    return commit[:7] if commit.startswith(revision) else f"{revision} ({commit[:7]})"


def default_branch(*places: str) -> str | None:
    """The branch that others are merged into: origin/HEAD's where that is known, else main or master; None where
    there is none of these.

    `places` are tried in their order: `origin/` for that of the remote, nothing for one's own.
    """
    head = _git("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD").stdout.decode().strip()
    names = [head.removeprefix("refs/remotes/origin/"), "main", "master"]
    found = (place + name for name in names if name for place in places)
    return next((name for name in found if _git("rev-parse", "--verify", "--quiet", name).returncode == 0), None)


def merge_base(base: str, head: str) -> str:
    """The full hash of the commit at which `head` left `base`; both are revisions.

    Raises `UserError` where one of them is unknown, or where they have no commit in common.
    """
    found = _git("merge-base", resolve(base), resolve(head))
    if found.returncode == 0:
        return found.stdout.decode().strip()
    shallow = _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
    cure = (
        "this clone is shallow, get the whole history with `git fetch --unshallow` (actions/checkout: `fetch-depth: 0`)"
        if shallow
        else "they are not branches of one history"
    )
    raise UserError(f"{base} and {head} have no commit in common: {cure}")


def content(commit: str, path: str) -> bytes | None:
    """The bytes of `path`, from the current folder, in `commit`; None where it has no such file."""
    shown = _git("show", f"{commit}:./{path}")
    if shown.returncode == 0:
        return shown.stdout
    if b"does not exist" in shown.stderr or b"but not in" in shown.stderr:
        return None
    raise UserError(f"{path} in {commit[:7]}: {_reason(shown.stderr)}")


def git(*arguments: str, text: bytes = b"") -> bytes:
    """What Git prints, given `text` to read. Raises `UserError` with its reason where it fails."""
    ended = _git(*arguments, text=text)
    if ended.returncode:
        raise UserError(_reason(ended.stderr))
    return ended.stdout


def _git(*arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *arguments], input=text, capture_output=True, env=os.environ | {"LC_ALL": "C"})
    except FileNotFoundError:
        raise UserError("Git is not installed, or not on PATH") from None


def _reason(text: bytes) -> str:
    """The line in which Git says why it failed: advice may follow it."""
    lines = text.decode(errors="replace").strip().splitlines() or ["git failed"]
    return next((line for line in lines if line.startswith("fatal:")), lines[-1])

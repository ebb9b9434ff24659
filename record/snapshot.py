"""All that a review reads of one commit, or of the working tree; what cannot be read is kept as a sentence."""

import csv
import hashlib
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, TypeVar

import yaml

from review import results
from review.results import LOCK, MISTAKES, NOISE, NUMBERS, Results
from stages.common.entry import UserError

PIPELINE, PARAMETERS = "dvc.yaml", "params.yaml"
TRAINING, VALIDATION = "metrics/train.json", "data/prepared/validation"
ABSENT = object()
UNREADABLE = (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError)

Read = Callable[[str], bytes | None]  # the content of a path, None where there is no such file
Number = int | float
T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """What one side of a pull request says about its model."""

    name: str  # of the commit, for people
    read: Read
    metrics: Mapping[str, Mapping[str, Number]]  # file: key: value
    parameters: Mapping[str, str]  # dotted key: value as params.yaml has it
    classes: tuple[str, ...]  # names, by label
    stages: Mapping[str, Mapping[str, Any]]  # the entries of dvc.lock
    results: Results | None
    problems: Mapping[str, str]  # a sentence for each file that is missing or cannot be read

    def has(self, path: str) -> bool:
        return inside(self.read, path) is not None


EMPTY = Snapshot("nothing", lambda path: None, {}, {}, (), {}, None, {})


def take(name: str, read: Read, gated: Collection[str]) -> Snapshot:
    """What `read` gives of the commit `name`; its metrics are those that dvc.yaml declares and the files `gated`."""
    problems: dict[str, str] = {}

    def parsed(path: str, parse: Callable[[str, bytes], T], otherwise: T) -> T:
        try:
            if (text := inside(read, path)) is None:
                raise UserError(f"{path} is missing in {name}")
            return parse(f"{path} in {name}", text)
        except UserError as error:
            problems[path] = str(error)
            return otherwise

    known = parsed(PIPELINE, stage_names, None)
    declared = parsed(PIPELINE, metric_files, ())
    parameters, classes = parsed(PARAMETERS, flat_parameters, ({}, ()))
    stages = parsed(LOCK, partial(lock_entries, known), {})
    written = outputs(stages) | outputs(living(stages, known))

    def recorded_numbers(where: str, text: bytes) -> dict[str, Number]:
        path = where.removesuffix(f" in {name}")
        md5 = hashlib.md5(text, usedforsecurity=False).hexdigest()
        if stages and written.get(path, "" if path in gated else md5) != md5:
            raise UserError(f"{where} is not what {LOCK} records: run `dvc repro` there and commit both")
        return numbers(where, text)

    needed = {*gated, NUMBERS}
    files = sorted(needed | {path for path in declared if inside(read, path) is not None})
    metrics = {path: parsed(path, recorded_numbers, {}) for path in files}
    scored = None
    if NUMBERS not in problems and LOCK not in problems:
        try:
            scored = results.parse(name, {path: read(path) for path in (NUMBERS, MISTAKES, LOCK, NOISE)})
        except UserError as error:
            problems[MISTAKES] = str(error)
    return Snapshot(name, read, metrics, parameters, classes, stages, scored, problems)


def inside(read: Read, path: str) -> bytes | None:
    """`read`, but within the project only: paths may come from the files under review."""
    outside = PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
    return None if outside or not path.isprintable() else read(path)


def stage_names(where: str, text: bytes) -> frozenset[str]:
    """The stages of a dvc.yaml. Raises `UserError`."""
    try:
        return frozenset(map(str, yaml.safe_load(text)["stages"]))
    except UNREADABLE as error:
        raise UserError(f"{where}: not a pipeline that can be read{_line(error)}") from None


def metric_files(where: str, text: bytes) -> tuple[str, ...]:
    """The JSON files that a dvc.yaml declares as metrics, at its top or of a stage. Raises `UserError`."""
    try:
        pipeline = yaml.safe_load(text)
        lists = [holder.get("metrics") or [] for holder in (pipeline, *pipeline["stages"].values())]
        # An entry is a path, or a mapping of one path to its options.
        named = [
            path for entries in lists for entry in entries for path in ([entry] if isinstance(entry, str) else entry)
        ]
        return tuple(path for path in named if path.endswith(".json"))
    except UNREADABLE as error:
        raise UserError(f"{where}: not a pipeline that can be read{_line(error)}") from None


def flat_parameters(where: str, text: bytes) -> tuple[dict[str, str], tuple[str, ...]]:
    """Dotted key: value as YAML; and the names of the classes of the chosen data set. Raises `UserError`."""
    try:
        values = yaml.safe_load(text)
        flat = {key: _yaml(value) for key, value in _leaves(values)}
    except UNREADABLE as error:
        raise UserError(f"{where}: no parameters that can be read{_line(error)}") from None
    try:
        return flat, tuple(map(str, values["datasets"][values["download"]["dataset"]]["about"]["classes"]))
    except (KeyError, TypeError):
        return flat, ()


def lock_entries(known: Collection[str] | None, where: str, text: bytes) -> dict[str, dict[str, Any]]:
    """The entries of a dvc.lock by stage.

    Raises `UserError` where it cannot be read, or where one of the stages `known` read something else than another
    one wrote: a run that was broken off leaves that, beside the numbers of the run before.
    """
    try:
        stages = {str(name): dict(entry) for name, entry in yaml.safe_load(text)["stages"].items()}
        read = {name: checksums(entry, "deps") for name, entry in living(stages, known).items()}
        written = outputs(stages) | outputs(living(stages, known))
    except UNREADABLE as error:
        raise UserError(f"{where}: no lock that can be read{_line(error)}: run `dvc repro` there") from None
    for stage, sums in read.items():
        if stale := [path for path, md5 in sums.items() if written.get(path, md5) != md5]:
            raise UserError(f"{where}: {stage} did not read the {stale[0]} that was written: run `dvc repro` there")
    return stages


def living(stages: Mapping[str, T], known: Collection[str] | None) -> dict[str, T]:
    """Those of the entries that belong to stages `known`, all where that is None: DVC keeps the others of the past."""
    return {name: entry for name, entry in stages.items() if known is None or name.partition("@")[0] in known}


def outputs(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Path: checksum of all that the entries of a dvc.lock say was written."""
    return {path: md5 for entry in stages.values() for path, md5 in checksums(entry, "outs").items()}


def checksums(entry: Mapping[str, Any], side: str) -> dict[str, str]:
    """Path: checksum of the `deps` or the `outs` of a stage's entry in dvc.lock."""
    return {str(item["path"]): str(item.get("md5")) for item in entry.get(side) or []}


def parameter_differences(snapshot: Snapshot) -> dict[str, list[str]]:
    """What of params.yaml is not what dvc.lock recorded, by stage; nothing where a file cannot be read.

    DVC reads both: to PyYAML, the 1e-05 that DVC writes is text. Raises `UserError` where only PyYAML can read them.
    """
    from dvc.exceptions import DvcException
    from dvc.utils.serialize import parse_yaml

    if not snapshot.stages or snapshot.problems.keys() & {PIPELINE, PARAMETERS}:
        return {}
    texts = {path: snapshot.read(path) for path in (PIPELINE, PARAMETERS, LOCK)}
    try:
        pipeline, now, lock = (parse_yaml(text, f"{path} in {snapshot.name}") for path, text in texts.items())
        recorded = {
            stage: (entry.get("params") or {}).get(PARAMETERS) or {}
            for stage, entry in living(lock["stages"], pipeline["stages"]).items()
        }
        found = {
            stage: [each for key, value in values.items() for each in unlike(key, value, _at(now, key))]
            for stage, values in recorded.items()
        }
    except (DvcException, *UNREADABLE) as error:
        raise UserError(f"{PARAMETERS} or {LOCK} in {snapshot.name} cannot be read by DVC ({error})") from None
    return {stage: leaves for stage, leaves in found.items() if leaves}


def stage_differences(snapshot: Snapshot) -> dict[str, list[str]]:
    """The stages of dvc.yaml that dvc.lock lacks, and those gone from it whose numbers nothing writes any more.

    What else DVC keeps of the past does no harm. Nothing where a file cannot be read.
    """
    if not snapshot.stages or PIPELINE in snapshot.problems:
        return {}
    known, held = stage_names(PIPELINE, snapshot.read(PIPELINE)), {name.partition("@")[0] for name in snapshot.stages}
    alive = living(snapshot.stages, known)
    orphans = snapshot.metrics.keys() - outputs(alive).keys()
    gone = {
        name: [
            f"it is no longer in {PIPELINE} and wrote {path}"
            for path in sorted(orphans & outputs({name: entry}).keys())
        ]
        for name, entry in snapshot.stages.items()
        if name not in alive
    }
    return gone | {name: [f"it is not in {LOCK}"] for name in sorted(known - held)}


def value(snapshot: Snapshot, path: str, key: str) -> Any:
    """What the JSON file `path` has at the dotted `key`, a number or not; ABSENT where it has none or null."""
    try:
        found = dict(_leaves(results.json_object(path, inside(snapshot.read, path) or b""))).get(key)
    except UserError:
        return ABSENT
    return ABSENT if found is None else found


def measure(snapshot: Snapshot, path: str, key: str) -> tuple[str, str | None]:
    """What the metric `key` of the file `path` is measured with, beside the test data, and its value or checksum.

    Where a change of the parameters moves it, the metric means something else. An empty name where there is no such
    thing.
    """
    if path == TRAINING:
        return VALIDATION, checksums(snapshot.stages.get("train", {}), "deps").get(VALIDATION)
    names = {
        "calibration_error": "evaluate.reliability_bins",
        "accuracy_corrupted": "evaluate.robustness_images",
        "accuracy_corrupted_worst": "evaluate.robustness_images",
        "accuracy_undisputed": f"datasets.{snapshot.parameters.get('download.dataset')}.about.disputed",
    }
    name = names.get(key, "") if path == NUMBERS else ""
    return name, snapshot.parameters.get(name)


def unlike(key: str, locked: Any, now: Any) -> list[str]:
    """Each leaf below `key` that differs, as `train.epochs is 5, locked 14`."""
    if isinstance(locked, dict) and isinstance(now, dict):
        names = dict.fromkeys([*locked, *now])
        return [
            leaf for name in names for leaf in unlike(f"{key}.{name}", locked.get(name, ABSENT), now.get(name, ABSENT))
        ]
    if now is ABSENT:
        return [f"{key} is missing"]
    if locked is ABSENT:
        return [f"{key} is not in the lock"]
    return [] if locked == now else [f"{key} is {now!r}, locked {locked!r}"]


def numbers(where: str, text: bytes) -> dict[str, Number]:
    """Dotted key: value of each finite number of a JSON file. Raises `UserError` where it holds no object."""
    values = results.json_object(where, text)
    return {key: value for key, value in _leaves(values) if results.is_number(value)}


def table(snapshot: Snapshot, path: str) -> list[dict[str, str]]:
    """The rows of a CSV file, values as text; none where it is missing or not a table."""
    try:
        text = (snapshot.read(path) or b"").decode()
        return [row for row in csv.DictReader(io.StringIO(text)) if None not in row and None not in row.values()]
    except (csv.Error, UserError, ValueError):
        return []


def _leaves(values: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _at(values: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        values = values.get(key, ABSENT) if isinstance(values, dict) else ABSENT
    return values


def _yaml(value: Any) -> str:
    """A value on one line, as params.yaml would have it: `0.003`, `'1'`, `[a, b]`, `null`."""
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1})" if mark else ""

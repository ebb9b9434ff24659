"""All that a review reads of one commit, or of the working tree; what cannot be read is kept as a sentence."""

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

from record import lock, results
from record.documents import UNREADABLE, dump, line_of
from record.git import Read, inside
from record.lock import ABSENT, Lock
from record.results import MISTAKES, NUMBERS, Number, Results
from stages.common.entry import UserError
from stages.common.parameters import parse

PIPELINE, PARAMETERS, DATASETS = "dvc.yaml", "params.yaml", "datasets.yaml"
TRAINING, VALIDATION = "metrics/train.json", "data/prepared/validation"
Pipeline = tuple[frozenset[str] | None, tuple[str, ...]]  # the names of the stages, the JSON files of metrics
UNKNOWN: Pipeline = None, ()
T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """One side of a pull request: its parameters, lock, metrics and results."""

    name: str  # of the commit, for people
    read: Read
    known: frozenset[str] | None  # the stages of dvc.yaml; None if it cannot be read
    metrics: Mapping[str, Mapping[str, Number]]  # file: key: value
    values: Mapping[str, Any]  # of params.yaml and of datasets.yaml, by file
    lock: Lock
    results: Results | None
    problems: Mapping[str, str]  # file: why it is missing or cannot be read, a sentence

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        return inside(self.read, path) is not None

    def parameters(self, files: Collection[str] = (PARAMETERS, DATASETS)) -> dict[str, str]:
        """Dotted key: value as YAML, in `files`; before a key of datasets.yaml stands the name of the file."""
        prefixes = {PARAMETERS: "", DATASETS: f"{DATASETS} "}
        return {
            prefixes[file] + key: _yaml(value)
            for file, values in self.values.items()
            for key, value in leaves(values)
            if file in files
        }

    @property
    def dataset(self) -> str | None:
        """The name of the chosen data set; None if that is not known."""
        name = _at(self.values.get(PARAMETERS), "download.dataset")
        return name if isinstance(name, str) else None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label; empty if they are not known."""
        names = _at(self.values.get(DATASETS), f"{self.dataset}.classes")
        return tuple(map(str, names)) if isinstance(names, list) else ()


EMPTY = Snapshot("nothing", lambda path: None, None, {}, {}, lock.EMPTY, None, {})


def take(name: str, read: Read, gated: Collection[str]) -> Snapshot:
    """The snapshot of the side `name`, whose files `read` gives; metrics are what dvc.yaml declares, and `gated`."""
    read = cache(read)  # several parts look at one file, and each look is a Git process
    problems: dict[str, str] = {}

    def parsed(path: str, parse: Callable[[str, bytes], T], otherwise: T) -> T:
        try:
            if (text := inside(read, path)) is None:
                raise UserError(f"{path} is missing in {name}")
            return parse(f"{path} in {name}", text)
        except UserError as error:
            problems[path] = str(error)
            return otherwise

    nothing: dict[str, Any] = {}
    known, declared = parsed(PIPELINE, pipeline, UNKNOWN)
    values = {path: parsed(path, parameters, nothing) for path in (PARAMETERS, DATASETS)}
    locked = parsed(lock.FILE, partial(_checked_lock, known), lock.EMPTY)
    written = locked.outputs(known)

    def recorded(path: str, where: str, text: bytes) -> dict[str, Number]:
        md5 = results.md5(text)
        if locked.stages and written.get(path, "" if path in gated else md5) != md5:
            raise UserError(f"{where} is not what {lock.FILE} records: run `dvc repro` there and commit both")
        return numbers(where, text)

    files = sorted({*gated, NUMBERS} | {path for path in declared if inside(read, path) is not None})
    metrics = {path: parsed(path, partial(recorded, path), nothing) for path in files}
    scored = None
    if NUMBERS not in problems and lock.FILE not in problems:
        try:
            scored = results.parse(name, read, locked)
        except UserError as error:
            problems[MISTAKES] = str(error)
    return Snapshot(name, read, known, metrics, values, locked, scored, problems)


def pipeline(where: str, text: bytes) -> Pipeline:
    """The stages of a dvc.yaml, and the JSON files that it declares as metrics. Raises `UserError`."""
    try:
        values = parse(text)
        lists = [holder.get("metrics") or [] for holder in (values, *values["stages"].values())]
        # An entry is a path, or a mapping of one path to its options.
        named = [
            path for entries in lists for entry in entries for path in ([entry] if isinstance(entry, str) else entry)
        ]
        return frozenset(map(str, values["stages"])), tuple(path for path in named if path.endswith(".json"))
    except UNREADABLE as error:
        raise UserError(f"{where}: cannot be read as a pipeline{line_of(error)}") from None


def parameters(where: str, text: bytes) -> dict[str, Any]:
    """The values of a file of parameters. Raises `UserError`."""
    try:
        values = parse(text)
        dict(leaves(values))  # fails if an anchor holds itself
        return dict(values)
    except UNREADABLE as error:
        raise UserError(f"{where}: cannot be read as parameters{line_of(error)}") from None


def _checked_lock(known: Collection[str] | None, where: str, text: bytes) -> Lock:
    locked = lock.parse(where, text)
    locked.check(where, known)
    return locked


def parameter_differences(snapshot: Snapshot) -> dict[str, list[str]]:
    """Which parameters differ from those in dvc.lock, by stage; empty if a file cannot be read."""
    if snapshot.problems.keys() & {PIPELINE, PARAMETERS, DATASETS}:
        return {}
    found = {
        stage: [
            f"{file} {each}"
            for file in (PARAMETERS, DATASETS)
            for key, value in entry.params.get(file, {}).items()
            for each in lock.differences(key, value, _at(snapshot.values[file], key))
        ]
        for stage, entry in snapshot.lock.current(snapshot.known).items()
    }
    return {stage: leaves for stage, leaves in found.items() if leaves}


def stage_differences(snapshot: Snapshot) -> dict[str, list[str]]:
    """The stages that dvc.lock lacks, and removed stages whose metrics files no stage writes any more.

    Other entries of removed stages do no harm. Empty if a file cannot be read.
    """
    if not snapshot.lock.stages or snapshot.known is None:
        return {}
    held = {name.partition("@")[0] for name in snapshot.lock.stages}
    current = snapshot.lock.current(snapshot.known)
    orphans = snapshot.metrics.keys() - {path for stage in current.values() for path in stage.outs}
    gone = {
        name: [f"it is no longer in {PIPELINE} and wrote {path}" for path in sorted(orphans & stage.outs.keys())]
        for name, stage in snapshot.lock.stages.items()
        if name not in current
    }
    return gone | {name: [f"it is not in {lock.FILE}"] for name in sorted(snapshot.known - held)}


def value(snapshot: Snapshot, path: str, key: str) -> Any:
    """What the JSON file `path` has at the dotted `key`, a number or not; ABSENT if it has none or null."""
    try:
        found = dict(leaves(results.json_object(path, inside(snapshot.read, path) or b""))).get(key)
    except UserError:
        return ABSENT
    return ABSENT if found is None else found


def definition(snapshot: Snapshot, path: str, key: str) -> tuple[str, Any]:
    """The parameter or data that define the metric `key` of the file `path`: a name, and its value or checksum.

    If that changes, the metric has another definition. The test data are not considered here. The name is empty if
    nothing else defines the metric.
    """
    if path == TRAINING:
        stage = snapshot.lock.stages.get("train")
        return VALIDATION, stage and stage.deps.get(VALIDATION)
    names = {
        "calibration_error": "evaluate.reliability_bins",
        "accuracy_corrupted": "evaluate.robustness_images",
        "accuracy_corrupted_worst": "evaluate.robustness_images",
        "accuracy_undisputed": f"{DATASETS} {snapshot.dataset}.disputed",
    }
    name = names.get(key, "") if path == NUMBERS else ""
    return name, snapshot.parameters().get(name) if name else None


def numbers(where: str, text: bytes) -> dict[str, Number]:
    """Dotted key: value of each finite number of a JSON file. Raises `UserError` if it holds no object."""
    values = results.json_object(where, text)
    return {key: value for key, value in leaves(values) if results.is_number(value)}


def table(snapshot: Snapshot, path: str) -> list[dict[str, str]]:
    """The rows of a CSV file, values as text; empty if it is missing or not a table."""
    try:
        text = (snapshot.read(path) or b"").decode()
        return [row for row in csv.DictReader(io.StringIO(text)) if None not in row and None not in row.values()]
    except (csv.Error, UserError, ValueError):
        return []


def leaves(values: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of each leaf of nested tables."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _at(values: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        values = values.get(key, ABSENT) if isinstance(values, dict) else ABSENT
    return values


def _yaml(value: Any) -> str:
    """A value on one line, as in params.yaml: `0.003`, `'1'`, `[a, b]`, `null`."""
    return dump(value, one_line=True).removesuffix("...\n").strip()

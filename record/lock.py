"""dvc.lock: what each stage read and wrote when it last ran."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from record.documents import UNREADABLE, line_of
from stages.common import parameters
from stages.common.entry import UserError

FILE = "dvc.lock"
ABSENT = object()


@dataclass(frozen=True)
class Stage:
    """The entry of one stage."""

    command: Any
    deps: Mapping[str, str]  # path: checksum of what it read; empty if the lock has none
    outs: Mapping[str, str]  # path: checksum of what it wrote
    params: Mapping[str, Mapping[str, Any]]  # file: dotted key: value


@dataclass(frozen=True)
class Lock:
    """A dvc.lock, parsed."""

    stages: Mapping[str, Stage]

    def current(self, known: Collection[str] | None) -> dict[str, Stage]:
        """The entries of the stages `known` (all if it is None). DVC also keeps entries of removed stages."""
        return {name: stage for name, stage in self.stages.items() if known is None or name.partition("@")[0] in known}

    def outputs(self, known: Collection[str] | None = None) -> dict[str, str]:
        """Path: checksum of all outputs; the stages `known` take precedence over removed stages."""
        stages = [*self.stages.values(), *self.current(known).values()]
        return {path: md5 for stage in stages for path, md5 in stage.outs.items()}

    def check(self, where: str, known: Collection[str] | None) -> None:
        """Raise `UserError` if one of the stages `known` read something other than what another stage wrote.

        An interrupted run leaves such a lock, next to the metrics of the run before.
        """
        written = self.outputs(known)
        for name, stage in self.current(known).items():
            if stale := [path for path, md5 in stage.deps.items() if written.get(path, md5) != md5]:
                raise UserError(f"{where}: {name} did not read the {stale[0]} that was written: run `dvc repro` there")


EMPTY = Lock({})


def parse(where: str, text: bytes) -> Lock:
    """The lock in `text`. Raises `UserError`, with a message that begins with `where`, if it cannot be read."""
    try:
        entries = parameters.parse(text)["stages"]
        return Lock({str(name): _stage(entry) for name, entry in entries.items()})
    except UNREADABLE as error:
        raise UserError(f"{where}: {_damage(where.split()[0], text, line_of(error))}") from None


def _damage(file: str, text: bytes, line: str) -> str:
    """What is wrong with the `text` of a lock that cannot be read, and what to do."""
    problem = f"cannot be read as a lock{line}"
    if b"\n<<<<<<< " in b"\n" + text:
        return f"{problem}, it has the marks of a merge conflict: `make resolve` settles it"
    empty = "" if text.strip() else ", it is empty"
    return f"{problem}{empty}: `git restore {file}`, or delete it and run the pipeline again"


def differences(key: str, locked: Any, now: Any) -> list[str]:
    """Each leaf below `key` that differs, such as `train.epochs is 5, locked 14`."""
    if isinstance(locked, dict) and isinstance(now, dict):
        names = dict.fromkeys([*locked, *now])
        return [
            leaf
            for name in names
            for leaf in differences(f"{key}.{name}", locked.get(name, ABSENT), now.get(name, ABSENT))
        ]
    if now is ABSENT:
        return [f"{key} is missing"]
    if locked is ABSENT:
        return [f"{key} is not in the lock"]
    return [] if locked == now else [f"{key} is {now!r}, locked {locked!r}"]


def _stage(entry: Any) -> Stage:
    deps, outs = (
        {str(item["path"]): str(item.get("md5", "")) for item in entry.get(kind) or []} for kind in ("deps", "outs")
    )
    params = {str(file): dict(values) for file, values in (entry.get("params") or {}).items()}
    return Stage(entry.get("cmd"), deps, outs, params)

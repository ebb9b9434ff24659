"""dvc.lock: what each stage read and wrote when it last ran."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from stages.common.entry import UserError

FILE = "dvc.lock"
DEEPEST = 100  # levels of nested YAML
ABSENT = object()
UNREADABLE = (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError)  # of a file's content


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as DVC reads it, version 1.2: 1e-05 is a number, `yes` and `12:30` are text, no key is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(problem=f"{twice[0]} is there twice", problem_mark=node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


# PyYAML's own rules for these types follow YAML 1.1.
Loader.yaml_implicit_resolvers = {
    letter: [(tag, rule) for tag, rule in rules if tag.rpartition(":")[2] not in ("bool", "float", "int")]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _type, _rule, _letters in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9]\d*)", "-+0123456789"),
    ("float", r"[-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.inf)|\.nan", "-+.0123456789"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_type}", re.compile(rf"(?:{_rule})\Z"), list(_letters))


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
        entries = load(text)["stages"]
        return Lock({str(name): _stage(entry) for name, entry in entries.items()})
    except UNREADABLE as error:
        raise UserError(f"{where}: cannot be read as a lock{line_of(error)}: run `dvc repro` there") from None


def load(text: bytes) -> Any:
    """The values in the YAML `text`, as DVC reads them. Raises one of `UNREADABLE`."""
    depth = 0
    for event in yaml.parse(text, Loader):  # unlike loading, this does not recurse: C code would overflow the stack
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
    return yaml.load(text, Loader)


def line_of(error: Exception) -> str:
    """Where a YAML file is wrong, such as ` (line 3)`; empty if that is not known."""
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1})" if mark else ""


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

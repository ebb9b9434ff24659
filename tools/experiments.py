"""`make experiments`: the working tree, the current commit and each experiment on it: accuracy, and what was changed.

The interval of the accuracy is the 95 % interval of metrics/evaluate.json. Parameters are those that differ from the
commit. `dvc exp show` has every metric and parameter.
"""

import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from ruamel.yaml.error import YAMLError

from record import git, lock, logs, readable
from record.results import NEEDED, NUMBERS, is_number
from record.snapshot import PARAMETERS, leaves
from stages.common.entry import UserError, no_arguments, printable, run

ENDLESS = 10_000  # characters of a line where no terminal ends it
TITLES = ("name", "when", "accuracy", "95 % interval", "mistakes", "differs from the commit")


@dataclass(frozen=True)
class Row:
    """The working tree, a commit or an experiment."""

    name: str
    when: str  # empty for the working tree
    numbers: Mapping[str, Any]  # metrics/evaluate.json
    parameters: Mapping[str, Any]  # params.yaml
    problem: str  # why there are no numbers, as far as DVC knows


def main() -> None:
    readable.check()
    git.resolve("HEAD")
    logs.handled_by(logging.NullHandler())
    try:
        with Repo() as repo:
            states = [state.dumpd() for state in repo.experiments.show()]
    except (DvcException, YAMLError) as error:
        raise UserError(" ".join(str(error).split())) from None
    rows = [row for state in states for row in flat(state)]
    print(table(rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else ENDLESS))
    if len(rows) == len(states):
        print("No experiment on this commit yet: dvc exp run -n NAME -S train.epochs=20")


def flat(state: Mapping[str, Any]) -> Iterator[Row]:
    """A row for what `Repo.experiments.show` says of a commit, and one for each experiment on it."""
    yield row(state)
    for experiment in state.get("experiments") or []:
        status = (experiment.get("executor") or {}).get("state", "")
        yield row(experiment["revs"][0], experiment.get("name") or "", status)


def row(state: Mapping[str, Any], name: str = "", status: str = "") -> Row:
    data, here = state.get("data") or {}, state["rev"] == "workspace"
    made = data.get("timestamp")
    return Row(
        "the working tree" if here else printable(name or state.get("name") or state["rev"][:7]),
        "" if here or made is None else datetime.fromisoformat(str(made)).strftime("%Y-%m-%d %H:%M"),
        content(data, "metrics", NUMBERS),
        content(data, "params", PARAMETERS),
        "no numbers" if status in ("", "Success") else status.lower(),
    )


def content(data: Mapping[str, Any], kind: str, file: str) -> Mapping[str, Any]:
    """The values of a file; empty if DVC could not read it."""
    found = (data.get(kind) or {}).get(file, {}).get("data")
    return found if isinstance(found, dict) else {}


def table(rows: list[Row], width: int) -> str:
    """A line for each row, cut to `width` characters; the first rows are the working tree and the commit."""
    commit = rows[1] if len(rows) > 1 else rows[0]
    cells = [TITLES, *((each.name, each.when, *score(each), changes(commit, each)) for each in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    sides = [str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.ljust]
    lines = ["  ".join(side(cell, size) for side, cell, size in zip(sides, line, widths)).rstrip() for line in cells]
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in lines)


def score(each: Row) -> tuple[str, str, str]:
    """Accuracy, interval and mistakes in words."""
    values = each.numbers
    if not all(is_number(values.get(key)) for key in NEEDED):
        return each.problem, "", ""
    interval = f"{values['accuracy_low']:.2%} to {values['accuracy_high']:.2%}"
    return f"{values['accuracy']:.2%}", interval, f"{values['mistakes']:,} of {values['images']:,}"


def changes(commit: Row, each: Row) -> str:
    """The parameters of `each` that are not those of the commit, as `dvc exp run -S` takes them."""
    if not each.parameters:
        return ""
    old, new = dict(leaves(commit.parameters)), dict(leaves(each.parameters))
    found = [f"{key}={value}" for key, value in new.items() if old.get(key, lock.ABSENT) != value]
    return ", ".join([*found, *(f"~{key}" for key in old if key not in new)])


if __name__ == "__main__":
    no_arguments(__doc__)
    run("experiments", main)

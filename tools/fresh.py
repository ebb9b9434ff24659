"""`make fresh`: does dvc.lock fit this code and these parameters? It needs neither data nor cache.

The pipeline in comparison/ trains many models, which takes long. If its lock does not fit, a line says so; that is a
failure only with `--all` (`make fresh ALL=1`).
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from record import comparison, lock, readable
from record.freshness import GONE, by_stage, pipeline
from stages.common import parameters
from stages.common.entry import UserError, run

COMPARISON = comparison.LOCK
COMMANDS = {lock.FILE: "dvc repro", COMPARISON: "make comparison"}


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tools.fresh", description=__doc__)
    options.add_argument("--all", action="store_true", help="fail if the lock of the comparison is stale too")
    every = options.parse_args(arguments).all

    readable.check()
    compared = any(Path(file).exists() for file in (pipeline(COMPARISON), COMPARISON))
    needed = [lock.FILE, COMPARISON] if every and compared else [lock.FILE]
    for file in needed:
        if not Path(file).exists():
            raise UserError(f"{file} is missing: run `{COMMANDS[file]}` and commit it")
    with comparison.visible():
        stages = by_stage([file for file in (lock.FILE, COMPARISON) if Path(file).exists()])
    judged = {name: found for name, found in stages.items() if every or not name.startswith(pipeline(COMPARISON))}
    if elsewhere := (None if every else other_data()):
        print(f"fresh: {COMPARISON} is about {elsewhere}, another data set: it is not judged (`make fresh ALL=1` does)")
    elif stale := sum(bool(found) for name, found in stages.items() if name not in judged):
        print(
            f"fresh: stale stages of {COMPARISON}: {stale}. The pipeline does not read them, so this is no failure;"
            " `make comparison` runs them, `make fresh ALL=1` names them"
        )
    if lines := complaints(judged):
        raise UserError("\n".join(lines))
    fit = "fit" if len(needed) > 1 else "fits"
    print(f"fresh: {' and '.join(needed)} {fit} this code and these parameters ({len(judged)} stages)")


def other_data() -> str | None:
    """The data set that the comparison was trained on, if params.yaml names another one; None otherwise."""
    chosen = parameters.load().get("download")
    if not isinstance(chosen, dict) or not Path(COMPARISON).exists():
        return None
    locked = lock.parse(COMPARISON, Path(COMPARISON).read_bytes()).stages.values()
    trained = {stage.params.get(parameters.FILE.name, {}).get("download.dataset") for stage in locked} - {None}
    return ", ".join(sorted(map(str, trained))) if trained and chosen.get("dataset") not in trained else None


def complaints(stages: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each stale stage, and what to do; empty if there is none."""
    stale = {name: problems for name, problems in stages.items() if problems}
    lines = [f"{name} is stale: {'; '.join(problems)}" for name, problems in stale.items()]
    rerun = [name for name, problems in stale.items() if not any(GONE in problem for problem in problems)]
    if files := {COMPARISON if name.startswith(pipeline(COMPARISON)) else lock.FILE for name in rerun}:
        commands = " and ".join(f"`{command}`" for file, command in COMMANDS.items() if file in files)
        lines.append(f"run {commands}, then commit the lock and the metrics")
    return lines


if __name__ == "__main__":
    run("fresh", partial(main, sys.argv[1:]))

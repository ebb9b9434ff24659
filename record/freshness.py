"""`make fresh`: is dvc.lock the lock of this code and these parameters? It needs neither data nor cache.

`dvc status` answers that only where the data are: in a fresh clone it calls everything deleted. Here what
is in Git is compared with dvc.lock, and what is not in Git (data, models) only within dvc.lock: the
hash that a stage wrote must be the hash that the next stage read.

The pipeline in comparison/ trains many models, which takes long: where its lock does not fit, a line says so and
nothing fails, unless `--all` is given (`make fresh ALL=1`).
"""

import argparse
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import Stage
from dvc_data.hashfile.tree import Tree

from review.snapshot import ABSENT, unlike
from stages.common.entry import UserError, run

GONE = "in the lock and no longer in dvc.yaml"  # a problem with this says itself what to do


COMPARISON = "comparison/dvc.lock"

Problems = Mapping[str, Sequence[str]]  # of each stage; none where it is fresh


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tools.fresh", description=__doc__)
    options.add_argument("--all", action="store_true", help="fail for the lock of the comparison too")
    every = options.parse_args(arguments).all

    compared = any(Path(file).exists() for file in (pipeline(COMPARISON), COMPARISON))
    needed = ["dvc.lock", COMPARISON] if every and compared else ["dvc.lock"]
    for lock in needed:
        if not Path(lock).exists():
            raise UserError(f"{lock} is missing: run `dvc repro {pipeline(lock)}` and commit it")
    stages = by_stage([lock for lock in ("dvc.lock", COMPARISON) if Path(lock).exists()])
    judged = {name: found for name, found in stages.items() if every or not name.startswith(pipeline(COMPARISON))}
    if stale := sum(bool(found) for name, found in stages.items() if name not in judged):
        print(
            f"fresh: stale stages of {COMPARISON}: {stale}. That is no failure, the pipeline reads nothing of it;"
            " `make compare` runs them, `make fresh ALL=1` names them"
        )
    if lines := complaints(judged):
        raise UserError("\n".join(lines))
    fit = "fit" if len(needed) > 1 else "fits"
    print(f"fresh: {' and '.join(needed)} {fit} this code and these parameters ({len(judged)} stages)")


def complaints(stages: Problems) -> list[str]:
    """A line for each stage that is stale, and what to do; no lines where none is."""
    stale = {name: problems for name, problems in stages.items() if problems}
    lines = [f"{name} is stale: {'; '.join(problems)}" for name, problems in stale.items()]
    rerun = [name for name, problems in stale.items() if not any(GONE in problem for problem in problems)]
    if files := sorted({name.rpartition(":")[0] or "dvc.yaml" for name in rerun}):
        lines.append(f"run `dvc repro {' '.join(files)}`, then commit the lock and the metrics")
    return lines


def by_stage(locks: Collection[str]) -> dict[str, list[str]]:
    """What is not as `locks` say, for each stage that they hold or should hold.

    Raises `UserError` where DVC cannot read something.
    """
    found = {}
    try:
        with Repo() as repo:
            every = {out.fs_path: out for stage in repo.index.stages for out in stage.outs}
            for lock in locks:
                held = entries(lock)
                for stage in repo.index.stages:
                    if relative(stage.path) == pipeline(lock):
                        problems = differences(stage, every)
                        found[stage.addressing] = problems or leftovers(stage, held.get(stage.name, {}))
                        held.pop(stage.name, None)
                prefix = "" if lock == "dvc.lock" else f"{pipeline(lock)}:"
                found |= {prefix + name: [f"it is {GONE}: delete its entry there"] for name in held}
    except (DvcException, yaml.YAMLError) as error:
        raise UserError(" ".join(str(error).split())) from None
    return found


def pipeline(lock: str) -> str:
    return lock.replace(".lock", ".yaml")


def entries(lock: str) -> dict[str, Any]:
    """The entries of `lock` by stage, those included that DVC passes over since dvc.yaml lacks their stage."""
    return (yaml.safe_load(Path(lock).read_text(encoding="utf-8")) or {}).get("stages") or {}


def leftovers(stage: Stage, entry: dict[str, Any]) -> list[str]:
    """What the lock's `entry` has and the `stage` no longer: DVC does not look for it, and `dvc repro` leaves it."""
    declared = {item.def_path for item in [*stage.deps, *stage.outs]}
    gone = [item["path"] for kind in ("deps", "outs") for item in entry.get(kind, []) if item["path"] not in declared]
    known = {(item.def_path, key) for item in stage.params for key in item.params}
    locked = [(file, key) for file, values in entry.get("params", {}).items() for key in values]
    gone += [f"{file} {key}" for file, key in locked if (file, key) not in known]
    return [f"{name} is {GONE}: run `dvc repro -f -s {stage.addressing}`" for name in gone]


def differences(stage: Stage, every: dict[str, Output]) -> list[str]:
    """What of `stage` is not as dvc.lock says; `every` output of every stage by its path."""
    if not any(item.hash_info for item in [*stage.deps, *stage.outs]):
        return ["it is not in the lock"]
    problems = ["its command in dvc.yaml changed"] if stage.cmd_changed else []
    for item in stage.deps:
        if isinstance(item, ParamsDependency):
            problems += parameter_differences(item)
        elif problem := dependency_difference(item, every):
            problems.append(f"{relative(item.fs_path)} {problem}")
    for item in stage.outs:
        if not item.hash_info:
            problems.append(f"{relative(item.fs_path)} is not in the lock")
        elif not item.use_cache and (problem := workspace_difference(item)):
            problems.append(f"{relative(item.fs_path)} {problem}")
    return problems


def dependency_difference(item: Output, every: dict[str, Output]) -> str:
    """Why the locked hash of `item` does not hold; empty where it does, or where only the data could tell."""
    if not item.hash_info:
        return "is not in the lock"
    if item.fs_path in every:
        same = item.hash_info == every[item.fs_path].hash_info
        return "" if same else "is not what the lock says the stage before wrote"
    inside = [out for out in every.values() if Path(item.fs_path) in Path(out.fs_path).parents]
    if any(out.use_cache for out in inside):
        if all(out.hash_info and not out.hash_info.isdir for out in inside):
            same = item.hash_info == folder_of(inside, item.fs_path).hash_info
            return "" if same else "is not what the lock says the stages before wrote"
        # Which files the folders in it hold is not in the lock.
        written = [(out.meta.nfiles or 1, out.meta.size or 0) for out in inside]
        same = (item.meta.nfiles, item.meta.size) == tuple(map(sum, zip(*written)))
        return "" if same else "is not what the lock says the stages before wrote"
    return workspace_difference(item)


def folder_of(files: list[Output], path: str) -> Tree:
    """The folder `path` as DVC would hash it if it held `files`, with the hashes that the lock has of them."""
    tree = Tree()
    for file in files:
        tree.add(Path(file.fs_path).relative_to(path).parts, file.meta, file.hash_info)
    tree.digest()
    return tree


def workspace_difference(item: Output) -> str:
    """Why the file or folder in the working tree is not the locked one; DVC hashes it, so .dvcignore holds."""
    if not item.exists:
        return "is missing"
    return "" if item.get_hash() == item.hash_info else "changed"


def parameter_differences(item: ParamsDependency) -> list[str]:
    now, locked = item.read_params(), item.hash_info.value if item.hash_info else {}
    keys = [key for name in item.params for key in unlike(name, locked.get(name, ABSENT), now.get(name, ABSENT))]
    return [f"{relative(item.fs_path)} {key}" for key in keys]


def relative(path: str) -> str:
    return Path(os.path.relpath(path)).as_posix()


if __name__ == "__main__":
    run("fresh", partial(main, sys.argv[1:]))

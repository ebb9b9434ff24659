"""`make fresh`: is dvc.lock the lock of this code and these parameters? It needs neither data nor cache.

`dvc status` answers that only where the data are: in a fresh clone it calls everything deleted. Here what
is in Git is compared with dvc.lock, and what is not in Git (data, models) only within dvc.lock: the
hash that a stage wrote must be the hash that the next stage read.
"""

from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import Stage

from stages.common.entry import UserError, run

ABSENT = object()


def main() -> None:
    try:
        with Repo() as repo:
            locks = [lock for lock in ("dvc.lock", "comparison/dvc.lock") if Path(lock).exists()]
            if "dvc.lock" not in locks:
                raise UserError("dvc.lock is missing: run `dvc repro` and commit it")
            every = {out.fs_path: out for stage in repo.index.stages for out in stage.outs}
            locked = [stage for stage in repo.index.stages if relative(stage.path.replace(".yaml", ".lock")) in locks]
            stale = {stage.addressing: problems for stage in locked if (problems := differences(stage, every))}
    except DvcException as error:
        raise UserError(" ".join(str(error).split())) from None
    if stale:
        files = " and ".join(sorted({name.rpartition(":")[0] or "dvc.yaml" for name in stale}))
        lines = [f"{name} is stale: {'; '.join(problems)}" for name, problems in stale.items()]
        raise UserError("\nfresh: ".join([*lines, f"run `dvc repro {files}`, then commit the lock and the metrics"]))
    print(f"fresh: {' and '.join(locks)} fit this code and these parameters ({len(locked)} stages)")


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
        written = [(out.meta.nfiles or 1, out.meta.size or 0) for out in inside]
        same = (item.meta.nfiles, item.meta.size) == tuple(map(sum, zip(*written)))
        return "" if same else "is not what the lock says the stages before wrote"
    return workspace_difference(item)


def workspace_difference(item: Output) -> str:
    """Why the file or folder in the working tree is not the locked one; DVC hashes it, so .dvcignore holds."""
    if not item.exists:
        return "is missing"
    return "" if item.get_hash() == item.hash_info else "changed"


def parameter_differences(item: ParamsDependency) -> list[str]:
    now, locked = item.read_params(), item.hash_info.value if item.hash_info else {}
    keys = [key for name in item.params for key in unlike(name, locked.get(name, ABSENT), now.get(name, ABSENT))]
    return [f"{relative(item.fs_path)} {key}" for key in keys]


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


def relative(path: str) -> str:
    return Path(path).relative_to(Path.cwd()).as_posix()


if __name__ == "__main__":
    run("fresh", main)

"""Whether a lock fits the code and the parameters, as DVC understands them; neither data nor cache is needed.

`dvc status` answers that only if the data are there: in a fresh clone it calls everything deleted. Here, files in Git
are compared with the lock. Files that are not in Git (data, models) are compared only within the lock: the checksum
that one stage wrote must be the checksum that the next stage read.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from dvc.dependency import ParamsDependency
from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import Stage
from dvc_data.hashfile.tree import Tree
from ruamel.yaml.error import YAMLError

from record import lock
from record.git import strays
from record.lock import ABSENT
from stages.common.entry import UserError

GONE = "in the lock and no longer in dvc.yaml"  # a problem with these words already says what to do


def by_stage(locks: Collection[str]) -> dict[str, list[str]]:
    """Why each stage of `locks` and of their dvc.yaml is stale, by its name; an empty list if it is fresh.

    Raises `UserError` if DVC cannot read something.
    """
    found: dict[str, list[str]] = {}
    try:
        with Repo() as repo:
            outputs = {out.fs_path: out for stage in repo.index.stages for out in stage.outs}
            for file in locks:
                held = dict(lock.parse(file, Path(file).read_bytes()).stages)
                for stage in repo.index.stages:
                    if relative(stage.path) == pipeline(file):
                        entry = held.pop(stage.name, None)
                        problems = differences(stage, outputs)
                        found[stage.addressing] = problems or (leftovers(stage, entry) if entry else [])
                prefix = "" if file == lock.FILE else f"{pipeline(file)}:"
                found |= {prefix + name: [f"it is {GONE}: delete its entry there"] for name in held}
    except (DvcException, YAMLError) as error:
        raise UserError(" ".join(str(error).split())) from None
    return found


def checksum(stage: str, path: str) -> str:
    """The checksum, as `dvc repro` would record it, of what `stage` reads or writes at `path` now."""
    try:
        with Repo() as repo:
            [entry] = [entry for entry in repo.index.stages if entry.addressing == stage]
            [item] = [item for item in [*entry.deps, *entry.outs] if item.fs_path == str(Path(path).resolve())]
            return str(item.get_hash().value)
    except DvcException as error:
        raise UserError(" ".join(str(error).split())) from None


def pipeline(file: str) -> str:
    """The dvc.yaml of the lock `file`."""
    return file.replace(".lock", ".yaml")


def relative(path: str) -> str:
    return Path(os.path.relpath(path)).as_posix()


def leftovers(stage: Stage, entry: lock.Stage) -> list[str]:
    """What the lock's `entry` has and the `stage` no longer declares: DVC ignores it, and `dvc repro` leaves it."""
    declared = {item.def_path for item in [*stage.deps, *stage.outs]}
    gone = [path for path in [*entry.deps, *entry.outs] if path not in declared]
    known = {(item.def_path, key) for item in stage.params for key in item.params}
    locked = [(file, key) for file, values in entry.params.items() for key in values]
    gone += [f"{file} {key}" for file, key in locked if (file, key) not in known]
    return [f"{name} is {GONE}: run `dvc repro -f -s {stage.addressing}`" for name in gone]


def differences(stage: Stage, outputs: Mapping[str, Output]) -> list[str]:
    """How `stage` differs from its entry in the lock; `outputs` holds the outputs of all stages, by path."""
    if not any(item.hash_info for item in [*stage.deps, *stage.outs]):
        return ["it is not in the lock"]
    problems = ["its command in dvc.yaml changed"] if stage.cmd_changed else []
    for item in stage.deps:
        if isinstance(item, ParamsDependency):
            problems += parameter_differences(item)
        elif problem := dependency_difference(item, outputs):
            problems.append(f"{relative(item.fs_path)} {problem}")
    for item in stage.outs:
        if not item.hash_info:
            problems.append(f"{relative(item.fs_path)} is not in the lock")
        elif not item.use_cache and (problem := file_difference(item)):
            problems.append(f"{relative(item.fs_path)} {problem}")
    return problems


def dependency_difference(item: Output, outputs: Mapping[str, Output]) -> str:
    """Why the locked checksum of `item` is wrong; empty if it is right, or if only the data could tell."""
    if not item.hash_info:
        return "is not in the lock"
    if item.fs_path in outputs:
        same = item.hash_info == outputs[item.fs_path].hash_info
        return "" if same else "is not what the lock says the stage before wrote"
    if any(out.use_cache and Path(out.fs_path) in Path(item.fs_path).parents for out in outputs.values()):
        return ""  # a file in a folder that a stage writes: the lock has only the checksum of the folder
    inside = [out for out in outputs.values() if Path(item.fs_path) in Path(out.fs_path).parents]
    if any(out.use_cache for out in inside):
        if all(out.hash_info and not out.hash_info.isdir for out in inside):
            same = item.hash_info == folder_of(inside, item.fs_path).hash_info
            return "" if same else "is not what the lock says the stages before wrote"
        # The lock does not list the files of the folders in it.
        written = [(out.meta.nfiles or 1, out.meta.size or 0) for out in inside]
        same = (item.meta.nfiles, item.meta.size) == tuple(map(sum, zip(*written)))
        return "" if same else "is not what the lock says the stages before wrote"
    return file_difference(item)


def folder_of(files: list[Output], path: str) -> Tree:
    """The folder `path` as DVC would hash it if it held `files`, with their checksums in the lock."""
    tree = Tree()
    for file in files:
        tree.add(Path(file.fs_path).relative_to(path).parts, file.meta, file.hash_info)
    tree.digest()
    return tree


def file_difference(item: Output) -> str:
    """Why the file or folder in the working tree is not the locked one; DVC hashes it, so .dvcignore counts."""
    if not item.exists:
        return "is missing"
    if item.get_hash() == item.hash_info:
        return ""
    names = strays(relative(item.fs_path))
    return f"changed ({', '.join(names[:3])}: not in Git)" if names else "changed"


def parameter_differences(item: ParamsDependency) -> list[str]:
    now, locked = item.read_params(), item.hash_info.value if item.hash_info else {}
    return [
        f"{relative(item.fs_path)} {key}"
        for name in item.params
        for key in lock.differences(name, locked.get(name, ABSENT), now.get(name, ABSENT))
    ]

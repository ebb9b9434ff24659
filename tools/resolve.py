"""`make resolve`: settle a merge that stopped with conflicts in dvc.lock and metrics/, by running the pipeline.

Neither side's numbers belong to the merged code and parameters, so there is nothing to choose. It starts from the lock
and the metrics of HEAD: `dvc repro` skips what fits, restores from its cache what has run before and runs the
rest. Call it in the middle of a merge, a rebase, a cherry-pick or a revert, from the repository's root.
"""

import argparse
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from record import git
from record.children import called
from record.comparison import visible
from record.results import NOISE
from stages.common.entry import UserError, run

# What a run of each pipeline writes into Git; metrics/noise.json is a measurement beside it.
WRITTEN = {
    "dvc.yaml": ("dvc.lock", "metrics/*"),
    "comparison/dvc.yaml": ("comparison/dvc.lock", "comparison/metrics/*", "comparison/summary.*"),
}
MARKER = re.compile(rb"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
CONTINUE = {  # by the file that Git keeps meanwhile; rebase first, since it may cherry-pick
    "rebase-merge": "git rebase --continue",
    "rebase-apply": "git rebase --continue",
    "MERGE_HEAD": "git merge --continue",
    "CHERRY_PICK_HEAD": "git cherry-pick --continue",
    "REVERT_HEAD": "git revert --continue",
}


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tools.resolve", description=__doc__)
    options.add_argument("--pull", action="store_true", help="restore from the DVC remote what has run elsewhere")
    pull = options.parse_args(arguments).pull

    git.resolve("HEAD")  # raises a readable error outside a repository
    conflicts = listed("diff", "--relative", "--name-only", "--diff-filter=U")
    if not conflicts:
        print("resolve: no file is in conflict; `make fresh` tells whether the locks fit")
        return
    unfinished = listed("diff", "--relative", "--name-only") - {NOISE} | marked()
    if by_hand := sorted(path for path in unfinished if not pipeline_of(path)):
        raise UserError(f"{', '.join(by_hand)}: no stage writes these; finish and `git add` them, then run this again")
    if generated := conflicts - {NOISE}:
        with visible():
            rerun(generated, pull)

    going_on = next((command for name, command in CONTINUE.items() if git_path(name).exists()), "git commit")
    if NOISE in conflicts:
        raise UserError(
            f"{NOISE} is in conflict and no stage writes it: measure it anew with `make noise`, or keep a side"
            f" (`git checkout --ours {NOISE}`); then `git add {NOISE}` and `{going_on}`"
        )
    print(f"resolve: next, `{going_on}`")


def rerun(generated: Collection[str], pull: bool) -> None:
    """Run the pipelines that write the files `generated`, and stage what they wrote. Raises `UserError` if one fails.

    The main pipeline runs in any case: the comparison reads its data.
    """
    in_conflict = {pipeline_of(path) for path in generated}
    written = start_from_head(in_conflict, generated)
    pipelines = [file for file in WRITTEN if file == "dvc.yaml" or file in in_conflict]
    for file in pipelines:
        print(f"resolve: dvc repro {file}", flush=True)
        if called("dvc", "repro", *["--pull"] * pull, file):
            raise UserError("the pipeline stopped, the reason is above; mend it, `git add` it, and run this again")
    paths = sorted(path for path, file in written.items() if file in pipelines)
    git.git("add", "--", *paths)
    print(f"resolve: staged what the run wrote: {' '.join(paths)}")
    if "comparison/dvc.yaml" not in pipelines and Path("comparison/dvc.lock").exists():
        print("resolve: the comparison was not in conflict and not run; `make fresh` tells whether it still fits")


def pipeline_of(path: str) -> str | None:
    """The dvc.yaml whose run writes `path`, judged by its name; None if no stage writes it."""
    if path == NOISE:
        return None
    return next((file for file, patterns in WRITTEN.items() if any(fnmatch(path, each) for each in patterns)), None)


def start_from_head(pipelines: Collection[str | None], conflicts: Iterable[str]) -> dict[str, str]:
    """Restore the locks and metrics of `pipelines` from HEAD: they are of one run and have no conflict markers.

    Returns each lock, metric and other output in Git, with its dvc.yaml. Raises `UserError` if DVC cannot read the
    merged dvc.yaml, or if a file in `conflicts` is not one of its outputs. Git still has the conflicts afterwards.
    """
    locks = {file.replace(".yaml", ".lock"): file for file in WRITTEN}
    for lock, file in locks.items():
        if file in pipelines:
            as_in_head(lock)
    try:
        with Repo() as repo:
            written = locks | {
                inside(repo, out.fs_path): inside(repo, out.stage.path) for out in repo.index.outs if not out.use_cache
            }
    except DvcException as error:
        raise UserError(" ".join(str(error).split())) from None
    if others := sorted(set(conflicts) - written.keys()):
        raise UserError(f"{', '.join(others)}: no stage writes these (any more); `git add` or `git rm` them first")
    for path, file in written.items():
        if file in pipelines:
            as_in_head(path)
    return written


def as_in_head(path: str) -> None:
    content = git.content("HEAD", path)
    if content is None:
        Path(path).unlink(missing_ok=True)
    else:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)


def inside(repo: Repo, path: str) -> str:
    return Path(path).relative_to(repo.root_dir).as_posix()


def marked() -> set[str]:
    """The files that were in conflict, are marked as resolved, and still have conflict markers."""
    resolved = {entry.split("\t")[1] for entry in listed("ls-files", "--resolve-undo")}
    return {path for path in resolved if Path(path).is_file() and MARKER.search(Path(path).read_bytes())}


def git_path(name: str) -> Path:
    return Path(decoded("rev-parse", "--git-path", name).strip())


def listed(*arguments: str) -> set[str]:
    return set(filter(None, decoded(*arguments, "-z").split("\0")))


def decoded(*arguments: str) -> str:
    """What Git prints, as text that can hold any file name."""
    return git.git(*arguments).decode(errors="surrogateescape")


if __name__ == "__main__":
    run("resolve", partial(main, sys.argv[1:]))

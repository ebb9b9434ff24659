"""`make base`: run the base of this branch here, if its numbers come from another kind of machine than the branch's.

From the same code, data and parameters, two kinds of processor make slightly different models. `make review` compares
with this run, left in reports/review/base, so that what it judges is the branch. A base that does not run here is not
the branch's fault: then nothing fails, and the review takes the numbers that are committed and says so.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from record import documents, environment, git, rerun
from record.children import called
from record.snapshot import PARAMETERS
from stages.common.entry import UserError, run
from stages.common.parameters import parse
from stages.train import processor


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tools.base", description=__doc__)
    options.add_argument("base", metavar="BASE", nargs="?", help="the branch to merge into; main by default")
    chosen = options.parse_args(arguments)

    if rerun.FOLDER.is_symlink():  # rmtree follows none, and what it points to is not ours
        rerun.FOLDER.unlink()
    shutil.rmtree(rerun.FOLDER, ignore_errors=True)
    try:
        commit = git.merge_base(chosen.base or git.default_branch("origin/", "") or "HEAD", "HEAD")
        head = environment.parse(*git.side(None))
    except UserError as error:  # a review of this will say so, too
        print(f"base: nothing to run: {error}")
        return
    base = git.side(commit)
    if (committed := environment.known(*base)) is None:
        print(f"base: nothing to run: what {commit[:7]} was made with is not known")
        return
    if committed.kind == head.kind:
        print(f"base: nothing to run: both sides were made with {head.kind}")
        return
    print(f"base: running {commit[:7]}, made with {committed.kind}", flush=True)
    problem = ""
    try:
        if (here := kind_here(base[1](PARAMETERS) or b"")) != head.kind:
            raise UserError(f"here it would be made with {here}, and this branch was made with {head.kind}")
        reproduce(commit, head.kind)
    except (UserError, OSError) as error:
        problem = " ".join(str(error).split())
        print(f"base: not run: {problem}; the review takes its committed numbers")
    rerun.FOLDER.mkdir(parents=True, exist_ok=True)
    (rerun.FOLDER / rerun.RUN).write_text(json.dumps({"commit": commit, "problem": problem}), encoding="utf-8")


def kind_here(parameters: bytes) -> str:
    """The kind that a training with these `parameters` would have on this machine. Raises `UserError`."""
    try:
        precision = processor.choose_precision(parse(parameters)["train"].get("precision", "auto"))
        return environment.Environment(precision, processor.kind(precision), "").kind
    except documents.UNREADABLE:
        raise UserError(f"its {PARAMETERS} names no precision that is known here") from None


def reproduce(commit: str, kind: str) -> None:
    """Run the pipeline of `commit` in a copy that shares this cache, and keep what it writes in `rerun.FOLDER`.

    DVC restores what ran before, on whatever machine. A training of another than this `kind` is made again. Raises
    `UserError` if a run fails.
    """
    root, inside = (git.git("rev-parse", f"--show-{what}").decode().strip() for what in ("toplevel", "prefix"))
    with TemporaryDirectory() as temporary:
        git.git("clone", "--quiet", "--shared", "--no-checkout", root, f"{temporary}/base")
        git.git("-C", f"{temporary}/base", "checkout", "--quiet", "--detach", commit)
        copy = Path(temporary) / "base" / inside
        cache = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True).stdout
        call(copy, "dvc", "cache", "dir", "--local", cache.strip())
        call(copy, "tools.reproduce")
        if made(copy) != kind:
            call(copy, "dvc", "repro", "--force", "--single-item", "train")
            call(copy, "dvc", "repro", "dvc.yaml")
        if (found := made(copy)) != kind:
            raise UserError(f"it was made with {found}, and this branch with {kind}")
        written = git.git("-C", str(copy), "ls-files", "-z", "--modified", "--others", "--exclude-standard")
        for name in filter(None, os.fsdecode(written).split("\0")):
            if (copy / name).is_file():
                (rerun.FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(copy / name, rerun.FOLDER / name)


def made(folder: Path) -> str:
    """The kind of machine that the training in `folder` records. Raises `UserError`."""
    return environment.parse("its run", lambda path: git.on_disk(str(folder / path))).kind


def call(folder: Path, *module: str) -> None:
    """Run a Python module in `folder`, its seconds counted nowhere. Raises `UserError` if it fails."""
    variables = {name: value for name, value in os.environ.items() if name != "STAGE_SECONDS"}
    if called(*module, cwd=folder, env=variables):
        raise UserError("its pipeline stopped here: the log of `make base` has the reason")


if __name__ == "__main__":
    run("base", partial(main, sys.argv[1:]))

"""`make reproduce`: run the pipeline as continuous integration does, without taking dvc.lock's word for anything.

A lock in Git may name outputs that are not those of its parameters: a merge settled by hand does that, and so may
a pull request. Where the cache or the remote has them, `dvc repro` would check them out and run nothing. So
the lock is put aside, and each stage is run, or restored from a run with the same code, data and parameters, which is
how DVC's cache of runs finds it. Neither is there a choice of data, as in `make run`.
"""

import os
import subprocess
import sys
from pathlib import Path

from review.results import LOCK
from stages.common.entry import UserError, no_arguments, run

SECONDS = Path("reports/review/seconds.jsonl")


def main() -> None:
    SECONDS.parent.mkdir(parents=True, exist_ok=True)
    SECONDS.write_text("", encoding="utf-8")  # empty: no stage ran, each was restored
    pull = ["--pull"] * remote_can_be_read()
    lock = Path(LOCK)
    before = lock.read_bytes() if lock.exists() else None
    lock.unlink(missing_ok=True)
    done = False
    try:
        environment = os.environ | {"STAGE_SECONDS": str(SECONDS)}
        done = dvc("repro", *pull, "dvc.yaml", env=environment).returncode == 0
    finally:
        if not done and before is not None:
            lock.write_bytes(before)
    if not done:
        raise UserError("the pipeline stopped: the reason is above")


def remote_can_be_read() -> bool:
    """Whether there is a default remote that answers; says so where it does not."""
    if not dvc("config", "core.remote", capture_output=True).stdout:
        return False
    answers = dvc("status", "--cloud", "dvc.yaml", capture_output=True).returncode == 0
    if not answers:
        print("The remote cannot be read: going on without it", file=sys.stderr, flush=True)
    return answers


def dvc(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], **options)


if __name__ == "__main__":
    no_arguments(__doc__)
    run("reproduce", main)

"""`make reproduce`: run the pipeline as continuous integration does: ignores dvc.lock, never switches data set.

A lock in Git may name outputs that belong to other parameters: after a merge settled by hand, or in a pull request. If
the cache or the remote had them, `dvc repro` would check them out and run nothing. So the lock is put aside. Each stage
then runs, or DVC restores it from its run cache, which finds runs by their code, data and parameters.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from record import lock
from record.children import called
from stages.common.entry import UserError, no_arguments, run

SECONDS = Path("reports/review/seconds.jsonl")


def main() -> None:
    SECONDS.parent.mkdir(parents=True, exist_ok=True)
    SECONDS.write_text("", encoding="utf-8")  # it stays empty if every stage is restored from the cache
    pull = ["--pull"] * remote_answers()
    locked = Path(lock.FILE)
    before = locked.read_bytes() if locked.exists() else None
    locked.unlink(missing_ok=True)
    done = False
    try:
        environment = os.environ | {"STAGE_SECONDS": str(SECONDS)}
        done = called("dvc", "repro", *pull, "dvc.yaml", env=environment) == 0
    finally:
        if not done and before is not None:
            locked.write_bytes(before)
    if not done:
        raise UserError("the pipeline stopped: the reason is above")


def remote_answers() -> bool:
    """Whether there is a default remote that answers; prints a line if there is one that does not."""
    if not dvc("config", "core.remote", capture_output=True).stdout:
        return False
    answers = dvc("status", "--cloud", "dvc.yaml", capture_output=True).returncode == 0
    if not answers:
        print("The remote cannot be read: going on without it", file=sys.stderr, flush=True)
    return answers


def dvc(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], **options)


if __name__ == "__main__":
    no_arguments(__doc__)
    run("reproduce", main)

"""A copy of the working tree in which the pipeline can run apart from this one."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from record.documents import dump
from record.git import git
from stages.common import parameters


def copy_repository(to: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Copy the files that Git does not ignore, except dvc.lock, to `to`, a new repository with an empty cache.

    `changes` are values of params.yaml, by block, that the copy gets in place of those here. Raises `UserError` if the
    working directory is not in a Git repository.
    """
    for name in filter(None, os.fsdecode(git("ls-files", "-z", "-co", "--exclude-standard")).split("\0")):
        if Path(name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, to / name)
    (to / "dvc.lock").unlink(missing_ok=True)  # with it, a stage whose outputs are in Git would look done
    if changes:
        values = parameters.load()
        for block, own in changes.items():
            values[block] |= own
        (to / parameters.FILE).write_text(dump(values), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=to, check=True)

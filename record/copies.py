"""A copy of the working tree in which the pipeline can run apart from this one."""

import os
import shutil
import subprocess
from pathlib import Path

from record.git import git


def copy_repository(to: Path) -> None:
    """Copy the files that Git does not ignore, except dvc.lock, to `to`, a new repository with an empty cache.

    Raises `UserError` if the working directory is not in a Git repository.
    """
    for name in filter(None, os.fsdecode(git("ls-files", "-z", "-co", "--exclude-standard")).split("\0")):
        if Path(name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, to / name)
    (to / "dvc.lock").unlink(missing_ok=True)  # with it, a stage whose outputs are in Git would look done
    subprocess.run(["git", "init", "--quiet"], cwd=to, check=True)

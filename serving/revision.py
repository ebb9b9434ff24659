"""Which commit a model is of, and the way back: the model of an earlier one, from DVC's cache or its remote."""

import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from record import git, lock, logs
from stages import checksums
from stages.common.entry import UserError
from stages.download.addresses import unspoken

FILES = ("models/model.tflite", "models/package.json", "models/reference.npz")


def described(models: Path) -> str | None:
    """The commit of the repository that the folder `models` lies in, short, and `-dirty` if its dvc.lock has changes
    that are not committed. None if it lies in no repository."""
    project = models.resolve().parent
    try:
        found = _git(project, "rev-parse", "--short", "HEAD")
        return found + "-dirty" * bool(_git(project, "status", "--porcelain", "--", lock.FILE)) if found else None
    except OSError:  # no Git
        return None


@contextmanager
def source(models: Path, revision: str | None) -> Iterator[tuple[Path, str | None]]:
    """The folder to serve from, and the commit that its model is of: `models`, unless a `revision` is named.

    Raises `UserError` as `brought` does.
    """
    if revision is None:
        yield models, described(models)
    else:
        with brought(revision) as found:
            yield found


@contextmanager
def brought(revision: str) -> Iterator[tuple[Path, str]]:
    """A temporary folder with what is served of `revision`, a commit or a tag, and the commit, short.

    Raises `UserError` if there is no such revision, if it has no such files, or if they are neither in DVC's cache nor
    in its remote.
    """
    commit = git.resolve(revision)
    name = git.named(revision, commit)
    text = git.content(commit, lock.FILE)
    locked = lock.parse(f"{lock.FILE} of {name}", text).outputs() if text else {}
    if lacking := [path for path in FILES if path not in locked]:
        raise UserError(
            f"{name} has no {lacking[0]}, it is from before the stage `package`: "
            f"`git log --oneline -- {lock.FILE}` lists the commits with other models"
        )
    with TemporaryDirectory(prefix="serving-") as folder:
        _copy({path: locked[path] for path in FILES}, name, commit[:7], Path(folder))
        yield Path(folder), commit[:7]


def _copy(checksums_of: dict[str, str], name: str, commit: str, folder: Path) -> None:
    """Put each path of `checksums_of`, MD5 in hexadecimal, into `folder`. The cache gets what only the remote has."""
    from dvc.config import NoRemoteError
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    logs.handled_by(logging.NullHandler())  # what is missing is said below, in one line
    reason = "the remote lacks it or cannot be reached"
    with Repo() as repo:
        stored = {path: Path(repo.cache.local.oid_to_path(md5)) for path, md5 in checksums_of.items()}
        missing = [path for path, place in stored.items() if not place.exists()]
        try:
            if missing:
                repo.cloud.pull([HashInfo("md5", checksums_of[path]) for path in missing])
        except NoRemoteError:
            reason = "no remote is set up"
        except Exception as error:  # each kind of storage has a library with exceptions of its own
            reason = unspoken(str(error) or repr(error))
    for path, place in stored.items():
        if not place.exists():
            raise UserError(
                f"{path} of {name} is not in DVC's cache ({reason}): `make push` on the machine that made it, "
                f"or `git checkout {commit}` and `dvc repro` to make it again"
            )
        if checksums.digest(place, "md5") != checksums_of[path]:
            raise UserError(f"{path} of {name} is damaged in DVC's cache: `make verify` says how to get it back")
        shutil.copyfile(place, folder / Path(path).name)


def _git(folder: Path, *arguments: str) -> str:
    """What Git prints in `folder`; empty if it fails."""
    ended = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    return ended.stdout.strip() if ended.returncode == 0 else ""

"""What a killed run left, put in order before the next one."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from record import cache, lock
from record.git import content, on_disk
from stages.common.entry import UserError
from stages.common.files import replacing


def restore_lock() -> None:
    """Put the committed dvc.lock in place of one that is cut off: DVC writes it in place, and may be killed then."""

    def restore() -> None:
        if not cut_off():
            return  # another command was writing it
        cache.put_aside(Path(lock.FILE), lock.FILE)
        then = "no commit has one, so every stage is run or looked up"
        if committed := content("HEAD", lock.FILE):
            then = "that of the last commit is restored"
            with replacing(Path(lock.FILE)) as path:
                path.write_bytes(committed)
        print(
            f"run: {lock.FILE} was cut off by an interrupted run (the rest is in {cache.ASIDE}): {then}",
            file=sys.stderr,
        )

    if cut_off():
        alone(restore)


def cut_off() -> bool:
    """Whether dvc.lock lacks its end, or cannot be read although it has no marks of a merge conflict."""
    text = on_disk(lock.FILE)
    if text is None or b"<<<<<<<" in text:
        return False
    with suppress(UserError):
        lock.parse(lock.FILE, text)
        return not text.endswith(b"\n")
    return True


def sweep() -> None:
    """Remove what interrupted writes left in the cache: after a full disk, that may be all the space there is."""

    def remove() -> None:
        if count := cache.sweep(cache.FOLDER):
            print(f"run: {count} unfinished files of an interrupted run removed from {cache.FOLDER}", file=sys.stderr)

    if cache.litter(cache.FOLDER):
        alone(remove)


def alone(act: Callable[[], None]) -> None:
    """Call `act` while no DVC command works here; if one does, the next run will do it."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    with suppress(DvcException), Repo() as repo, lock_repo(repo):
        act()

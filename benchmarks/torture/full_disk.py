"""A disk that is full: a run ends with a line that says so, and with more room the next one is whole."""

import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.torture.sandbox import (
    Ended,
    Found,
    copied,
    in_plain_words,
    made,
    recovered,
    run,
    surroundings,
    tree,
    two_at_a_time,
)
from record.parameters import STAGES

SAYS_SO = ("no space left", "file too large")
ROOM_MB = (0.02, 0.1, 0.3, 0.6, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7)  # in which not all of the run's files have room
LIMITS_KB = (1, 4, 16, 40, 80, 100, 200, 400, 600, 800, 900, 1000)  # of one file


def full_disk(base: Path) -> Found:
    """Each size of the disk and what went wrong on it. `base` is a copy of the repository with a finished run."""
    reference = tree(base)
    with TemporaryDirectory() as name:
        parent = Path(name)
        fresh = made(parent / "fresh")
        if mounts(parent / "try"):
            print("full_disk: on a tmpfs of each size", flush=True)
            whole = ("dvc", "repro", "--no-run-cache")
            tasks = [
                (f"{room} MB left", partial(small, fresh, reference, parent / f"{room}", room, *whole))
                for room in ROOM_MB
            ]
            tasks += [  # the outputs of the stage are there: it needs room for a second copy
                (f"{stage} alone", partial(small, base, reference, parent / stage, 0.004, f"stages.{stage}"))
                for stage in STAGES
            ]
        else:
            print("full_disk: no right to mount, so that the size of a file is limited instead", flush=True)
            tasks = [
                (f"files of {kb} KB", partial(limited, fresh, reference, parent / f"{kb}", kb)) for kb in LIMITS_KB
            ]
        yield from two_at_a_time(tasks)


def small(start: Path, reference: dict[str, str], disk: Path, room: float, *command: str) -> list[str]:
    """What goes wrong with `command` in a copy of `start` on a disk that has `room` MB left."""
    elsewhere = {"env": surroundings(disk) | {"TMPDIR": tempfile.gettempdir()}}
    with mounted(disk):
        folder = copied(start, disk / "clone", "__pycache__")
        size = shutil.disk_usage(disk).used + int(room * 2**20)
        subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
        ended = run(folder, *command, seconds=300, **elsewhere)
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
        for bytecode in folder.rglob("__pycache__"):
            shutil.rmtree(bytecode)  # Python 3.11 may leave half a file on a full disk: CONTRIBUTING.md
        return says_full(ended) + recovered(folder, reference, **elsewhere)


def limited(start: Path, reference: dict[str, str], folder: Path, kilobytes: int) -> list[str]:
    """What goes wrong in a run in a copy of `start` where no file may become larger than so many `kilobytes`."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, resource.RLIM_INFINITY))

    copied(start, folder)
    ended = run(folder, "dvc", "repro", "--no-run-cache", seconds=300, preexec_fn=limit)
    return says_full(ended) + recovered(folder, reference)


def says_full(ended: Ended) -> list[str]:
    """What is wrong with how a command ended on a full disk."""
    if ended.code and not any(words in ended.errors.lower() for words in SAYS_SO):
        last = " ".join(ended.errors.split())[-300:]
        return [*in_plain_words(ended), f"does not say that the disk is full: {last}"]
    return in_plain_words(ended)


def mounts(place: Path) -> bool:
    """Whether this user may mount a tmpfs."""
    try:
        with mounted(place):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def mounted(place: Path) -> Iterator[None]:
    """A tmpfs at `place`, a new folder."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)

"""Seeing what a stage opens; Linux only.

inotify, and not Python's audit hook: LiteRT opens the model in C++, past every hook, and a subprocess would too.
It tells of opening, not of asking whether a file exists; the run with only the declared files finds that.
"""

import ctypes
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

CLOSED_WRITABLE, CLOSED_UNWRITTEN, OPENED, IS_FOLDER, OVERFLOW = 0x8, 0x10, 0x20, 0x40000000, 0x4000
EVENT = struct.Struct("iIII")


@dataclass
class Seen:
    """Paths relative to the watched folder: files and folders that were there before and were read or listed, and
    files that came, went or changed."""

    read: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)


def watching(folder: Path, call) -> Seen:
    """What happens below `folder` while `call()` runs."""
    before = snapshot(folder)
    library = ctypes.CDLL(None, use_errno=True)
    queue = library.inotify_init1(os.O_NONBLOCK)
    assert queue >= 0, os.strerror(ctypes.get_errno())
    try:
        watched = {}
        for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            number = library.inotify_add_watch(queue, os.fsencode(place), CLOSED_WRITABLE | CLOSED_UNWRITTEN | OPENED)
            assert number >= 0, os.strerror(ctypes.get_errno())
            watched[number] = place.relative_to(folder)
        folders = {path.as_posix() for path in watched.values()}
        drain(queue)
        call()
        happened = [(watched[number] / name, mask) for number, mask, name in drain(queue) if number in watched]
    finally:
        os.close(queue)
    after = snapshot(folder)
    written = {path for path in {*before, *after} if before.get(path) != after.get(path)}

    def files(kind):
        return {path.as_posix() for path, mask in happened if mask & kind and not mask & IS_FOLDER} & before.keys()

    return Seen(
        # What could have been written and was not must have been opened to be read.
        files(CLOSED_UNWRITTEN) | files(CLOSED_WRITABLE) - written,
        {path.as_posix() for path, mask in happened if mask & OPENED and mask & IS_FOLDER} & folders,
        written,
    )


def drain(queue: int) -> list[tuple[int, int, str]]:
    """The events that wait in `queue`: number of the watch, mask, name in the watched folder."""
    events = []
    while True:
        try:
            content = os.read(queue, 1 << 16)
        except BlockingIOError:
            return events
        place = 0
        while place < len(content):
            number, mask, _, length = EVENT.unpack_from(content, place)
            assert not mask & OVERFLOW, "more happened than inotify keeps"
            name = content[place + EVENT.size : place + EVENT.size + length].rstrip(b"\0")
            events.append((number, mask, os.fsdecode(name)))
            place += EVENT.size + length


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Each file with what changes when it is written or replaced."""
    found = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (status.st_ino, status.st_size, status.st_mtime_ns) for name, status in found.items()}

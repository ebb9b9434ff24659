"""Getting files from mirrors: folders or URLs that hold `NAME.gz`, or plain `NAME` (see addresses.py)."""

import os
import queue
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from stages.common.files import found
from stages.download.addresses import address, is_url, masked
from stages.download.contents import (
    GZIP_MAGIC,
    LARGEST_COMPRESSED,
    LARGEST_DECOMPRESSED,
    MirrorError,
    check_size,
    verified,
)
from stages.download.transfers import fetch, offers

FIRST_PAUSE_SECONDS = 0.5


def in_order(mirrors: list[str], variable: str | None) -> list[str]:
    """The mirrors to try: the one in the environment variable `variable`, if it is set, then `mirrors`."""
    own = os.environ.get(variable, "").strip() if variable else ""
    return [own, *mirrors] if own else list(mirrors)


def collect(
    files: dict[str, str], mirrors: list[str], kept: Path, timeout_seconds: float, attempts: int
) -> dict[str, bytes]:
    """Every file of `files` (name: checksum), decompressed and verified, from the first mirrors that have it.

    A file that arrived is also kept in the folder `kept`, as it came: a later run starts from there. A
    broken transfer starts its file over, since two mirrors may compress the same content differently.
    Raises `MirrorError` that names every mirror and why it was given up.
    """
    contents: dict[str, bytes] = {}
    for name, checksum in files.items():
        with suppress(MirrorError):
            contents[name] = verified(from_folder(kept, name), checksum)
    failures = []
    for mirror in mirrors:
        for name in [name for name in files if name not in contents]:
            try:
                if is_url(mirror):
                    arrived, contents[name] = _from_url(address(mirror, name), files[name], timeout_seconds, attempts)
                    kept.mkdir(parents=True, exist_ok=True)
                    (kept / f"{name}.gz" if arrived.startswith(GZIP_MAGIC) else kept / name).write_bytes(arrived)
                else:
                    contents[name] = verified(from_folder(found(mirror), name), files[name])
            except MirrorError as error:
                failures.append(f"{masked(address(mirror, name))}: {error}")
                break
        if len(contents) == len(files):
            for failure in failures:
                print(f"download: gave up {failure}", file=sys.stderr)
            return contents
    raise MirrorError("; ".join(failures) or "no mirror is named")


def offering(mirrors: list[str], name: str, seconds: float) -> list[str]:
    """The mirrors that offer the file `name`, asked all at once and given `seconds`; nothing is kept."""
    replies: queue.Queue[tuple[str, bool]] = queue.Queue()

    def ask(mirror: str) -> None:
        replies.put((mirror, _offers(mirror, name, seconds)))

    for mirror in mirrors:
        # Daemons, because a folder may hang too, on a network drive, and must not hold the process back.
        threading.Thread(target=ask, args=(mirror,), daemon=True).start()
    offered_by, end = set(), time.monotonic() + seconds
    with suppress(queue.Empty):
        for _ in mirrors:
            mirror, offered = replies.get(timeout=max(0.01, end - time.monotonic()))
            if offered:
                offered_by.add(mirror)
    return [mirror for mirror in mirrors if mirror in offered_by]


def from_folder(folder: Path, name: str) -> bytes:
    """The bytes of `NAME.gz` or of plain `NAME` in `folder`. Raises `MirrorError` if neither can be read.

    MNIST's files go by a second name too, `train-images.idx3-ubyte`, and some archives put each into a folder of its
    name.
    """
    if not folder.is_dir():
        raise MirrorError("no such folder")
    for path in (folder / f"{name}.gz", *(folder / other for other in dict.fromkeys([name, *other_names(name)]))):
        if path.is_file():
            try:
                compressed = path.suffix == ".gz"
                largest = LARGEST_COMPRESSED if compressed else LARGEST_DECOMPRESSED
                check_size(path.stat().st_size, largest, "compressed" if compressed else "decompressed")
                return path.read_bytes()
            except OSError as error:
                raise MirrorError(f"unreadable ({error.strerror})") from None
    raise MirrorError(f"no such file, nor {name}")


def other_names(name: str) -> list[str]:
    """Other names under which the IDX file `name` is passed on."""
    dotted = name.replace("-idx", ".idx")
    return [dotted, f"{dotted}.gz", f"{name}/{name}", f"{dotted}/{dotted}"]


def _offers(mirror: str, name: str, seconds: float) -> bool:
    if is_url(mirror):
        return offers(address(mirror, name), seconds)
    with suppress(MirrorError):
        return bool(from_folder(found(mirror), name))
    return False


def _from_url(url: str, checksum: str, timeout_seconds: float, attempts: int) -> tuple[bytes, bytes]:
    """The file at `url` as it arrived and its verified content. Tries again, with growing pauses, if that may help."""
    for attempt in range(1, attempts + 1):
        try:
            arrived = fetch(url, timeout_seconds)
            return arrived, verified(arrived, checksum)
        except MirrorError as error:
            if not error.again:
                raise
            if attempt == attempts:
                raise MirrorError(f"{error}" + (f", {attempts} times" if attempts > 1 else "")) from None
            pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
            print(f"download: {masked(url)}: {error}; trying again in {pause:g} s", file=sys.stderr)
            time.sleep(pause)
    raise AssertionError("attempts is at least 1")

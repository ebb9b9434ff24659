"""Getting files from mirrors: folders or URLs that hold `NAME.gz`, or plain `NAME` (see addresses.py)."""

import os
import queue
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from stages.common.files import found
from stages.download.addresses import address, is_url, masked, stored
from stages.download.contents import MirrorError, verified
from stages.download.threads import side_by_side
from stages.download.transfers import fetch, offers, say

FIRST_PAUSE_SECONDS = 0.5


class Limits(NamedTuple):
    """What is borne of a mirror: seconds without a byte, tries for each file, the largest size of a file in bytes."""

    timeout_seconds: float
    attempts: int
    largest_file_bytes: int


def in_order(mirrors: list[str], variable: str | None) -> list[str]:
    """The mirrors to try: the one in the environment variable `variable`, if it is set, then `mirrors`."""
    own = os.environ.get(variable, "").strip() if variable else ""
    return [own, *mirrors] if own else list(mirrors)


def collect(files: dict[str, str], mirrors: list[str], kept: Path, folder: Path, limits: Limits) -> None:
    """Write every file of `files` (name: checksum), decompressed and verified, to `folder`, several at a time.

    Each comes from the first mirror that has it. A file that arrived is also kept in the folder `kept`, as it came: a
    later run starts from there. A broken transfer starts its file over, since two mirrors may compress the same content
    differently. Raises `MirrorError` that names every mirror and why it was given up.
    """
    reasons = _from_mirror(None, files, kept, folder, limits)
    failures = []
    for mirror in mirrors:
        missing = {name: files[name] for name in reasons}
        reasons = _from_mirror(mirror, missing, kept, folder, limits)
        failures += [f"{masked(address(mirror, name))}: {reason}" for name, reason in reasons.items() if reason][:1]
        if not reasons:
            break
    if reasons:
        raise MirrorError("; ".join(failures) or "no mirror is named")
    for failure in failures:
        print(f"download: gave up {failure}", file=sys.stderr)


def _from_mirror(mirror: str | None, files: dict[str, str], kept: Path, folder: Path, limits: Limits) -> dict[str, str]:
    """Bring `files` from `mirror`, or those that are kept; return why each that was not brought is missing.

    A mirror that failed for one file is not asked for others: their reason is empty.
    """
    given_up = threading.Event()

    def why_not(name: str) -> str | None:
        if given_up.is_set():
            return ""
        try:
            if mirror is not None and is_url(mirror):
                _from_url(address(mirror, name), name, files[name], kept, folder / name, limits)
            else:
                there = from_folder(kept if mirror is None else found(mirror), name)
                verified(there, files[name], folder / name, limits.largest_file_bytes)
        except MirrorError as error:
            if mirror is not None:
                given_up.set()
            return str(error)
        return None

    reasons = dict(zip(files, side_by_side(why_not, list(files)), strict=True))
    return {name: reason for name, reason in reasons.items() if reason is not None}


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


def from_folder(folder: Path, name: str) -> Path:
    """Where `NAME.gz` or plain `NAME` is in `folder`. Raises `MirrorError` if neither is there.

    MNIST's files go by a second name too, `train-images.idx3-ubyte`, and some archives put each into a folder of its
    name.
    """
    if not folder.is_dir():
        raise MirrorError("no such folder")
    for path in (folder / f"{name}.gz", *(folder / other for other in dict.fromkeys([name, *other_names(name)]))):
        if path.is_file():
            return path
    raise MirrorError(f"no such file, nor {name}")


def other_names(name: str) -> list[str]:
    """Other names under which the IDX file `name` is passed on."""
    dotted = name.replace("-idx", ".idx")
    return [dotted, f"{dotted}.gz", f"{name}/{name}", f"{dotted}/{dotted}"]


def _offers(mirror: str, name: str, seconds: float) -> bool:
    if is_url(mirror):
        return offers(address(mirror, name), seconds)
    with suppress(MirrorError, OSError), from_folder(found(mirror), name).open("rb") as file:
        return bool(file.read(1))
    return False


def _from_url(url: str, name: str, checksum: str, kept: Path, target: Path, limits: Limits) -> None:
    """Write the content of the file at `url` to `target`. Tries again, with growing pauses, if that may help."""
    arrived = kept / f"{stored(name)}.part"  # a killed run leaves it, and the next one writes over it
    arrived.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, limits.attempts + 1):
        try:
            fetch(url, name, arrived, limits.largest_file_bytes, limits.timeout_seconds)
            verified(arrived, checksum, target, limits.largest_file_bytes)
            arrived.replace(kept / stored(name))
            return
        except MirrorError as error:
            if not error.again:
                raise
            if attempt == limits.attempts:
                raise MirrorError(f"{error}" + (f", {attempt} times" if attempt > 1 else "")) from None
            pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
            say(f"{masked(url)}: {error}; trying again in {pause:g} s")
            time.sleep(pause)
        finally:
            arrived.unlink(missing_ok=True)

"""Getting files from mirrors: folders or URLs that hold `NAME.gz` (a folder may hold plain `NAME` instead)."""

import gzip
import hashlib
import io
import os
import queue
import sys
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pooch
import requests
import urllib3

GZIP_MAGIC = b"\x1f\x8b"
# Small, because a chunk counts only when it is whole: a slow line must not pass for a dead one.
CHUNK_BYTES = 1024
FIRST_PAUSE_SECONDS = 0.5
# A server that compresses on the fly would have the .gz unpacked on arrival, and its checksum with it.
HEADERS = {"Accept-Encoding": "identity"}


class MirrorError(Exception):
    """Why a mirror was given up; `again` says that another try may help."""

    def __init__(self, reason: str, again: bool = False):
        super().__init__(reason)
        self.again = again


def in_order(mirrors: list[str], variable: str | None) -> list[str]:
    """The mirrors to try: the one that the environment names, then those of the table."""
    own = os.environ.get(variable, "").strip() if variable else ""
    return [own, *mirrors] if own else list(mirrors)


def collect(
    files: dict[str, str], mirrors: list[str], kept: Path, timeout_seconds: float, attempts: int
) -> dict[str, bytes]:
    """Every file of `files` (name: checksum), decompressed and verified, from the first mirrors that have it.

    A file that arrived is also kept in the folder `kept`, as it came: a later run starts from there. A
    broken transfer starts its file over, since two mirrors may compress the same content differently.
    Raises `MirrorError` naming every mirror and why it was given up.
    """
    contents: dict[str, bytes] = {}
    for name, checksum in files.items():
        with suppress(MirrorError):
            contents[name] = verified(from_folder(kept, name), checksum)
    failures = []
    for mirror in mirrors:
        for name in [name for name in files if name not in contents]:
            try:
                arrived = _arrived(mirror, name, timeout_seconds, attempts)
                contents[name] = verified(arrived, files[name])
            except MirrorError as error:
                failures.append(f"{_address(mirror, name)}: {error}")
                break
            if is_url(mirror):
                kept.mkdir(parents=True, exist_ok=True)
                (kept / f"{name}.gz" if arrived.startswith(GZIP_MAGIC) else kept / name).write_bytes(arrived)
        if len(contents) == len(files):
            for failure in failures:
                print(f"download: gave up {failure}", file=sys.stderr)
            return contents
    raise MirrorError("; ".join(failures) or "no mirror is named")


def verified(arrived: bytes, checksum: str) -> bytes:
    """The decompressed content of `arrived` (gzip or plain). Raises `MirrorError` where it is not what was asked."""
    content = arrived
    if arrived.startswith(GZIP_MAGIC):
        try:
            content = gzip.decompress(arrived)
        except EOFError:
            raise MirrorError(f"cut short after {len(arrived)} bytes") from None
        except (OSError, zlib.error) as error:
            raise MirrorError(f"damaged gzip ({error})") from None
    elif arrived[:256].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise MirrorError("a web page (HTML), not the data")
    form, expected = checksum.split(":")
    algorithm, _, compressed = form.partition("-")
    found = hashlib.new(algorithm, arrived if compressed else content, usedforsecurity=False).hexdigest()
    if found != expected:
        what = f"{algorithm} of the .gz file" if compressed else algorithm
        raise MirrorError(f"wrong content ({what} {found[:12]}…, expected {expected[:12]}…)")
    return content


def is_url(mirror: str) -> bool:
    """Whether `mirror` is fetched from; anything but http(s) is a folder."""
    return mirror.lower().startswith(("http://", "https://"))


def from_folder(folder: Path, name: str) -> bytes:
    """The bytes of `NAME.gz` or of plain `NAME` in `folder`. Raises `MirrorError` where neither can be read."""
    if not folder.is_dir():
        raise MirrorError("no such folder")
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            try:
                return path.read_bytes()
            except OSError as error:
                raise MirrorError(f"unreadable ({error.strerror})") from None
    raise MirrorError(f"no such file, nor {name}")


def offering(mirrors: list[str], name: str, seconds: float) -> list[str]:
    """The mirrors that offer the file `name`, asked all at once and given `seconds`; nothing is kept."""
    replies: queue.Queue[tuple[str, bool]] = queue.Queue()
    for mirror in mirrors:
        # Daemons, because a name look-up cannot be cancelled and must not hold the process back.
        ask = threading.Thread(target=lambda mirror=mirror: replies.put((mirror, _offers(mirror, name, seconds))))
        ask.daemon = True
        ask.start()
    found, end = set(), time.monotonic() + seconds
    with suppress(queue.Empty):
        for _ in mirrors:
            mirror, offered = replies.get(timeout=max(0.01, end - time.monotonic()))
            if offered:
                found.add(mirror)
    return [mirror for mirror in mirrors if mirror in found]


def _offers(mirror: str, name: str, seconds: float) -> bool:
    if not is_url(mirror):
        with suppress(MirrorError):
            return bool(from_folder(Path(mirror).expanduser(), name))
        return False
    try:
        with requests.get(_address(mirror, name), headers=HEADERS, timeout=seconds, stream=True) as response:
            # Sign-in pages answer 200 for everything: the first two bytes tell data from a page.
            return response.ok and response.raw.read(2) == GZIP_MAGIC
    except (requests.RequestException, urllib3.exceptions.HTTPError):
        return False


def _arrived(mirror: str, name: str, timeout_seconds: float, attempts: int) -> bytes:
    if not is_url(mirror):
        return from_folder(Path(mirror).expanduser(), name)
    for attempt in range(1, attempts + 1):
        try:
            return _fetch(_address(mirror, name), timeout_seconds)
        except MirrorError as error:
            if not error.again:
                raise
            if attempt == attempts:
                raise MirrorError(f"{error}" + (f", {attempts} times" if attempts > 1 else "")) from None
            pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
            print(f"download: {_address(mirror, name)}: {error}; trying again in {pause:g} s", file=sys.stderr)
            time.sleep(pause)
    raise AssertionError("attempts is at least 1")


def _address(mirror: str, name: str) -> str:
    return f"{mirror.rstrip('/')}/{name}.gz"


def _fetch(url: str, timeout_seconds: float) -> bytes:
    """The body of `url`. Raises `MirrorError`, also after `timeout_seconds` without a byte.

    The clock is kept here because requests' own timeouts know nothing of name look-ups, and start over
    for each address of a host: behind a silent firewall a large host would cost minutes.
    """
    terminal = sys.stderr.isatty()
    print(f"download: {url}", file=sys.stderr)
    downloader = pooch.HTTPDownloader(terminal, CHUNK_BYTES, headers=HEADERS, timeout=timeout_seconds)
    body, failures = io.BytesIO(), []

    def transfer() -> None:
        try:
            downloader(url, body, None)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=transfer, daemon=True)
    thread.start()
    size, since = 0, time.monotonic()
    while thread.is_alive():
        thread.join(0.05)
        if body.tell() != size:
            size, since = body.tell(), time.monotonic()
        elif thread.is_alive() and time.monotonic() - since > timeout_seconds:
            failures.append(requests.Timeout())
            break
    if failures:
        raise _explained(failures[0], body.tell(), timeout_seconds)
    return body.getvalue()


def _explained(error: Exception, size: int, timeout_seconds: float) -> MirrorError:
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code
        return MirrorError(f"HTTP {status} {error.response.reason}", status >= 500 or status in (408, 429))
    # requests wraps urllib3's errors at different depths; the innermost says what happened.
    inner = error.args[0] if error.args else error
    inner = getattr(inner, "reason", inner)
    # First, because urllib3 counts a refused connection among its timeouts.
    if isinstance(inner, urllib3.exceptions.NameResolutionError):
        return MirrorError("host name not found")
    if isinstance(inner, urllib3.exceptions.NewConnectionError):
        return MirrorError((getattr(inner.__cause__, "strerror", None) or "no connection").lower())
    timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError)
    if isinstance(error, timeouts) or isinstance(inner, timeouts):
        if size:
            return MirrorError(f"stalled after {size} bytes ({timeout_seconds:g} s without a byte)", True)
        return MirrorError(f"no answer within {timeout_seconds:g} s")
    if isinstance(error, requests.exceptions.ProxyError):
        return MirrorError("the proxy refused")
    if isinstance(error, requests.exceptions.SSLError):
        return MirrorError("no trustworthy TLS certificate")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return MirrorError(f"cut short after {size} bytes", True)
    if isinstance(error, requests.ConnectionError):
        return MirrorError("connection broken off", True)
    return MirrorError(str(error))

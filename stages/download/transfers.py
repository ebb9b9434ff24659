"""The bytes behind one URL, by HTTP or through fsspec (`s3://`, `gs://`, `hf://`, …), never waiting for long."""

import os
import queue
import sys
import threading
import time
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from stages.common.entry import printable
from stages.download.addresses import masked
from stages.download.contents import MirrorError, check_size, is_page

HTTP_BLOCK_BYTES = 2**16  # at most: what has arrived counts at once, for a slow line must not pass for a dead one
# Whole ones, because each is a request of its own.
OBJECT_BLOCK_BYTES = 2**18
BLOCKS_AHEAD = 64  # that wait for the disk
LEAST_BYTES_PER_SECOND = 4096
# A server that compresses on the fly would send the .gz compressed twice, and its checksum would not fit.
HEADERS = {"Accept-Encoding": "identity"}

# Some bytes and, if the server says it, the size of the whole file in bytes.
Block = tuple[bytes, int | None]


def fetch(url: str, name: str, path: Path, largest: int, timeout_seconds: float) -> None:
    """Write the file at `url`, as it is stored there, to `path`; a bar on the terminal is called `name`.

    Raises `MirrorError` if no byte arrives for `timeout_seconds`, if fewer than `LEAST_BYTES_PER_SECOND` arrive on
    average over twice that time, if there are more bytes than `largest`, or if the transfer fails; `OSError` if
    it cannot be written.
    """
    say(masked(url))
    bar = tqdm(desc=name, unit="B", unit_scale=True, disable=not sys.stderr.isatty())
    with path.open("wb") as file, closing(_checked(url, largest, timeout_seconds)) as source, bar:
        for block, bar.total in source:
            file.write(block)
            bar.update(len(block))


def say(what: str) -> None:
    """Print a line about a transfer, above the bars of the others."""
    tqdm.write(f"download: {what}", file=sys.stderr)


def offers(url: str, timeout_seconds: float) -> bool:
    """Whether the server sends something for `url` that is not a web page. The caller keeps the clock."""
    try:
        with closing(_blocks(url, timeout_seconds)) as source:
            first = next(source, (b"", None))[0]
            return bool(first) and not is_page(first)  # sign-in pages answer 200 for everything
    except Exception:
        return False


def _checked(url: str, largest: int, timeout_seconds: float) -> Generator[Block, None, None]:
    """The blocks of the file at `url`, as long as all is well with them. Raises `MirrorError` as `fetch` does."""
    size, announced = 0, None
    window_start, window_size = 0.0, 0
    try:
        with closing(_punctual(url, timeout_seconds)) as source:
            for block, announced in source:
                now = time.monotonic()
                if not size:
                    window_start = now
                size += len(block)
                check_size(max(size, announced or 0), largest, "compressed")
                seconds, arrived = now - window_start, size - window_size
                if seconds > 2 * timeout_seconds:
                    if arrived < LEAST_BYTES_PER_SECOND * seconds:
                        raise MirrorError(f"too slow: {arrived} bytes in {seconds:.1f} s")
                    window_start, window_size = now, size
                yield block, announced
    except Exception as error:
        raise _explained(error, size, timeout_seconds) from None
    if announced is not None and size < announced:
        raise MirrorError(f"cut short after {size} bytes", again=True)


def _punctual(url: str, timeout_seconds: float) -> Generator[Block, None, None]:
    """The blocks of the file at `url`. Raises `TimeoutError` if the next one takes longer than `timeout_seconds`.

    They come from a thread, because requests' own timeouts do not cover name look-ups and start again for each
    address of a host: behind a silent firewall a large host would cost minutes. A name look-up cannot be cancelled,
    so the thread is a daemon, which does not keep the process alive.
    """
    arriving: queue.Queue[Block | Exception | None] = queue.Queue(BLOCKS_AHEAD)
    given_up = threading.Event()

    def transfer() -> None:
        try:
            with closing(_blocks(url, timeout_seconds)) as source:
                for block in source:
                    if given_up.is_set():
                        return
                    arriving.put(block)
            arriving.put(None)
        except Exception as error:
            arriving.put(error)

    threading.Thread(target=transfer, daemon=True).start()
    try:
        while (item := arriving.get(timeout=timeout_seconds)) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    except queue.Empty:
        raise TimeoutError from None
    finally:
        given_up.set()
        with suppress(queue.Empty):
            while True:  # the thread may wait for room
                arriving.get_nowait()


def _blocks(url: str, timeout_seconds: float) -> Generator[Block, None, None]:
    if url.lower().startswith(("http://", "https://")):
        return _over_http(url, timeout_seconds)
    return _through_fsspec(url)


def _over_http(url: str, timeout_seconds: float) -> Generator[Block, None, None]:
    with requests.get(url, headers=HEADERS, timeout=timeout_seconds, stream=True) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        while block := response.raw.read1(HTTP_BLOCK_BYTES, decode_content=False):
            yield block, total


def _through_fsspec(url: str) -> Generator[Block, None, None]:
    # Imported here: most mirrors are web servers or folders.
    import fsspec  # type: ignore[import-untyped]

    filesystem, path = fsspec.url_to_fs(url)
    with filesystem.open(path, "rb", block_size=OBJECT_BLOCK_BYTES) as file:
        total = getattr(file, "size", None)
        while block := file.read(OBJECT_BLOCK_BYTES):
            yield block, total


def _explained(error: Exception, size: int, timeout_seconds: float) -> MirrorError:
    """One line about `error`, raised after `size` bytes; without its text if that may repeat the URL's secrets."""
    if isinstance(error, MirrorError):
        return error
    if isinstance(error, ImportError):
        return MirrorError(f"needs a package that is not installed ({str(error).splitlines()[0]})")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        return MirrorError(printable(f"HTTP {status} {error.response.reason}"), status >= 500 or status in (408, 429))
    # requests wraps urllib3's errors at different depths; the innermost says what happened.
    inner = error.args[0] if error.args else error
    inner = getattr(inner, "reason", inner)
    # First, because urllib3 counts a refused connection among its timeouts.
    if isinstance(inner, urllib3.exceptions.NameResolutionError):
        return MirrorError("host name not found")
    if isinstance(inner, urllib3.exceptions.NewConnectionError):
        return MirrorError((getattr(inner.__cause__, "strerror", None) or "no connection").lower())
    timeouts = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)
    if isinstance(error, timeouts) or isinstance(inner, timeouts):
        if size:
            return MirrorError(f"stalled after {size} bytes ({timeout_seconds:g} s without a byte)", again=True)
        return MirrorError(f"no answer within {timeout_seconds:g} s")
    if isinstance(error, requests.exceptions.ProxyError):
        return MirrorError("the proxy refused")
    if isinstance(error, requests.exceptions.SSLError):
        return MirrorError("no trustworthy TLS certificate")
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return MirrorError(f"cut short after {size} bytes", again=True)
    if isinstance(error, requests.ConnectionError):
        return MirrorError("connection broken off", again=True)
    if isinstance(error, FileNotFoundError):
        return MirrorError("no such file")
    if isinstance(error, PermissionError):
        return MirrorError("no permission")
    if isinstance(error, OSError) and error.errno:
        return MirrorError(os.strerror(error.errno).lower(), again=True)
    if isinstance(error, ValueError):
        return MirrorError("not a valid URL, or its scheme is unknown")
    return MirrorError(type(error).__name__)

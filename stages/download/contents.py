"""What arrived from a mirror: decompressed and compared with its checksum, or refused. No file is ever in memory."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from stages.checksums import digest
from stages.common.files import replacing

GZIP_MAGIC = b"\x1f\x8b"
LARGEST_FILE_BYTES = 2**30  # unless the entry says otherwise: a broken mirror could fill the disk
BLOCK_BYTES = 2**20


class MirrorError(Exception):
    """Why a mirror was given up; `again` says that another try may help."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def is_page(start: bytes) -> bool:
    """Whether a file that begins with `start` is a web page."""
    return start[:256].lstrip().lower().startswith((b"<!doctype", b"<html"))


def verified(arrived: Path, checksum: str, target: Path, largest: int) -> None:
    """Write the content of the file `arrived` (gzip or plain) to `target`.

    Raises `MirrorError` if it is not what `checksum` says or has more than `largest` bytes; then `target` is untouched.
    """
    form, expected = checksum.split(":")
    algorithm, _, compressed = form.partition("-")
    of_content = hashlib.new(algorithm, usedforsecurity=False)
    with replacing(target) as temporary, temporary.open("wb") as file:
        for block in blocks_of(arrived, largest):
            if not compressed:
                of_content.update(block)
            file.write(block)
        found = digest(arrived, algorithm) if compressed else of_content.hexdigest()
        if found != expected:
            what = f"{algorithm} of the .gz file" if compressed else algorithm
            raise MirrorError(f"wrong content ({what} {found[:12]}…, expected {expected[:12]}…)")


def blocks_of(path: Path, largest: int) -> Iterator[bytes]:
    """The content of the file at `path`, as `blocks` gives it. Raises `MirrorError` if it cannot be read, too."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            check_size(path.stat().st_size, largest, "compressed" if packed else "decompressed")
            file.seek(0)
            yield from blocks(file, largest)
    except OSError as error:
        raise MirrorError(f"unreadable ({error.strerror})") from None


def blocks(file: IO[bytes], largest: int) -> Iterator[bytes]:
    """The content of `file`, decompressed if it is gzip, in blocks, so that a small file can fill no disk.

    Raises `MirrorError` if it is damaged, a web page, or has more than `largest` bytes.
    """
    start = file.read(256)
    file.seek(0)
    if is_page(start):
        raise MirrorError("a web page (HTML), not the data")
    size = 0
    try:
        stream: IO[bytes] = gzip.GzipFile(fileobj=file) if start.startswith(GZIP_MAGIC) else file  # type: ignore[assignment]
        while block := stream.read(BLOCK_BYTES):
            size += len(block)
            check_size(size, largest, "decompressed")
            yield block
    except EOFError:
        raise MirrorError(f"cut short after {file.seek(0, 2)} bytes", again=True) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise MirrorError(f"damaged gzip ({error})") from None


def check_size(size: int, largest: int, state: str) -> None:
    """Raise `MirrorError` if `size` bytes are more than a file may have that is, by `state`, compressed or not."""
    if size > largest:
        raise MirrorError(f"too large: more than {largest:,} bytes {state} (source.largest_file_bytes)")

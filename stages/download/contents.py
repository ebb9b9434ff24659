"""What arrived from a mirror: decompressed and compared with its checksum, or refused."""

import gzip
import hashlib
import io
import zlib

GZIP_MAGIC = b"\x1f\x8b"
# Room for the largest file of the catalog (EMNIST, 562 MB). Without a ceiling, a broken mirror could fill the memory.
LARGEST_COMPRESSED = 640 * 2**20
LARGEST_DECOMPRESSED = 2**30
BLOCK_BYTES = 2**20


class MirrorError(Exception):
    """Why a mirror was given up; `again` says that another try may help."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def is_page(start: bytes) -> bool:
    """Whether a file that begins with `start` is a web page."""
    return start[:256].lstrip().lower().startswith((b"<!doctype", b"<html"))


def verified(arrived: bytes, checksum: str) -> bytes:
    """The decompressed content of `arrived` (gzip or plain). Raises `MirrorError` if it is not what `checksum` says."""
    if arrived.startswith(GZIP_MAGIC):
        content = decompressed(arrived)
    elif is_page(arrived):
        raise MirrorError("a web page (HTML), not the data")
    else:
        content = arrived
    form, expected = checksum.split(":")
    algorithm, _, compressed = form.partition("-")
    found = hashlib.new(algorithm, arrived if compressed else content, usedforsecurity=False).hexdigest()
    if found != expected:
        what = f"{algorithm} of the .gz file" if compressed else algorithm
        raise MirrorError(f"wrong content ({what} {found[:12]}…, expected {expected[:12]}…)")
    return content


def decompressed(arrived: bytes) -> bytes:
    """The content of the gzip file `arrived`, read in blocks, so that a small file cannot fill the memory."""
    blocks: list[bytes] = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(arrived)) as stream:
            while block := stream.read(BLOCK_BYTES):
                blocks.append(block)
                size += len(block)
                check_size(size, LARGEST_DECOMPRESSED, "decompressed")
    except EOFError:
        raise MirrorError(f"cut short after {len(arrived)} bytes", again=True) from None
    except (OSError, zlib.error) as error:
        raise MirrorError(f"damaged gzip ({error})") from None
    return b"".join(blocks)


def check_size(size: int, largest: int, state: str) -> None:
    """Raise `MirrorError` if `size` bytes are more than a file may have that is, by `state`, compressed or not."""
    if size > largest:
        raise MirrorError(f"too large: more than {largest:,} bytes {state}")

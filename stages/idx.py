"""IDX, the format MNIST came in (http://yann.lecun.com/exdb/mnist/, bottom of the page)."""

import math
import struct
from pathlib import Path

import numpy as np

from stages.common.entry import UserError

UINT8 = 0x08


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array in the IDX file at `path`: a read-only memory map, uint8 with `dimensions` axes.

    Raises `UserError` if the magic number means something else than `dimensions`-dimensional uint8, or
    if the length of the file is not what its header announces.
    """
    with path.open("rb") as file:
        shape = _shape(file.read(_header(dimensions)), path.stat().st_size, str(path), dimensions)
    if not all(shape):
        return np.empty(shape, np.uint8)  # nothing cannot be mapped
    return np.memmap(path, np.uint8, "r", _header(dimensions), shape)


def parse_idx(content: bytes, name: str, dimensions: int) -> np.ndarray:
    """The array in the `content` of the IDX file `name`, as `read_idx` gives it, in memory."""
    shape = _shape(content, len(content), name, dimensions)
    return np.frombuffer(content, np.uint8, offset=_header(dimensions)).reshape(shape)


def _header(dimensions: int) -> int:
    """The length of the header in bytes."""
    return 4 + 4 * dimensions


def _shape(start: bytes, length: int, name: str, dimensions: int) -> tuple[int, ...]:
    """The shape that a file of `length` bytes announces in its header, with which it begins."""
    header = _header(dimensions)
    expected = bytes([0, 0, UINT8, dimensions])
    if start[:4] != expected:
        raise UserError(
            f"{name}: wrong magic number {start[:4].hex() or '(empty file)'}, expected {expected.hex()}"
            f" ({dimensions}-dimensional uint8 IDX)"
        )
    if length < header:
        raise UserError(f"{name}: cut short: {length} bytes, not even a whole header of {header}")
    shape = struct.unpack(f">{dimensions}I", start[4:header])
    announced = header + math.prod(shape)
    if length != announced:
        problem = "cut short" if length < announced else "too long"
        raise UserError(f"{name}: {problem}: {length} bytes, its header announces {announced}")
    return shape


def images_name(prefix: str, dimensions: int = 3) -> str:
    """The name of the images of the part whose files begin with `prefix`: grey ones have three dimensions."""
    return f"{prefix}-images-idx{dimensions}-ubyte"


def read_images(folder: Path, prefix: str) -> np.ndarray:
    """The images of a part: uint8 (N, height, width), or (N, height, width, 3) if they are in colour.

    Raises `FileNotFoundError` if there are none, `UserError` as `read_idx` does.
    """
    colour = folder / images_name(prefix, 4)
    return read_idx(colour, 4) if colour.exists() else read_idx(folder / images_name(prefix), 3)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 `array` of any shape as IDX. Raises `UserError` if it has another dtype."""
    if array.dtype != np.uint8:
        raise UserError(
            f"{path}: an array of {array.dtype}, shape {array.shape}: IDX holds uint8 here; convert it if every value "
            "is a whole number from 0 to 255"
        )
    path.write_bytes(header(array.shape) + array.tobytes())


def header(shape: tuple[int, ...]) -> bytes:
    """How the IDX file of a uint8 array of this `shape` begins."""
    return bytes([0, 0, UINT8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)

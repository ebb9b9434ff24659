"""IDX, the format MNIST came in (http://yann.lecun.com/exdb/mnist/, bottom of the page)."""

import struct
from pathlib import Path

import numpy as np

from stages.common.entry import UserError

UINT8 = 0x08


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array in the IDX file at `path`: read-only uint8 with `dimensions` axes.

    Raises `UserError` if the magic number means something else than `dimensions`-dimensional uint8, or
    if the length of the file is not what its header announces.
    """
    return parse_idx(path.read_bytes(), str(path), dimensions)


def parse_idx(content: bytes, name: str, dimensions: int) -> np.ndarray:
    """The array in the `content` of the IDX file `name`, as `read_idx` gives it."""
    header = 4 + 4 * dimensions
    expected = bytes([0, 0, UINT8, dimensions])
    if content[:4] != expected:
        raise UserError(
            f"{name}: wrong magic number {content[:4].hex() or '(empty file)'}, expected {expected.hex()}"
            f" ({dimensions}-dimensional uint8 IDX)"
        )
    if len(content) < header:
        raise UserError(f"{name}: cut short: {len(content)} bytes, not even a whole header of {header}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    announced = header + int(np.prod(shape, dtype=np.int64))
    if len(content) != announced:
        problem = "cut short" if len(content) < announced else "too long"
        raise UserError(f"{name}: {problem}: {len(content)} bytes, its header announces {announced}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


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
    path.write_bytes(bytes([0, 0, UINT8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())

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
    content = path.read_bytes()
    header = 4 + 4 * dimensions
    expected = bytes([0, 0, UINT8, dimensions])
    if content[:4] != expected:
        raise UserError(
            f"{path}: wrong magic number {content[:4].hex() or '(empty file)'}, expected {expected.hex()}"
            f" ({dimensions}-dimensional uint8 IDX)"
        )
    if len(content) < header:
        raise UserError(f"{path}: cut short: {len(content)} bytes, not even a whole header of {header}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    announced = header + int(np.prod(shape, dtype=np.int64))
    if len(content) != announced:
        problem = "cut short" if len(content) < announced else "too long"
        raise UserError(f"{path}: {problem}: {len(content)} bytes, its header announces {announced}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 `array` of any shape as IDX."""
    path.write_bytes(bytes([0, 0, UINT8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())

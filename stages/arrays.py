"""Rows of an array in a `.npy` file, read and written in place.

A memory map would do the same on one machine. But what is touched of it counts as memory of the process, and two
machines that write to neighbouring rows of a shared folder through maps may undo each other's work, page by page.
"""

from pathlib import Path
from typing import Any

import numpy as np


def create(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    """Make the file of an array in which every value is 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)


def opened(path: Path) -> np.ndarray:
    """The array as a read-only memory map: its shape and dtype, and single rows."""
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def read(path: Path, start: int, stop: int) -> np.ndarray:
    """The rows from `start` to before `stop`, in memory."""
    return np.array(opened(path)[start:stop])


def rows(array: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The rows of `array` from `start` to before `stop`; if it is a memory map, it keeps none of them in memory."""
    if not isinstance(array, np.memmap):
        return array[start:stop]
    return read(Path(str(array.filename)), start, stop).reshape(-1, *array.shape[1:])


def write(path: Path, start: int, rows: np.ndarray) -> None:
    """Write `rows` from row `start` on, with `write` and not through a memory map. They have the dtype of the file."""
    array = opened(path)
    at = array.offset + start * (array.nbytes // max(1, len(array)))  # type: ignore[attr-defined]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(np.ascontiguousarray(rows, array.dtype).tobytes())

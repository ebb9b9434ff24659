"""Rows of an array in a `.npy` file, read and written in place.

A memory map would do the same on one machine. But what is touched of it counts as memory of the process, and two
machines that write to neighbouring rows of a shared folder through maps may undo each other's work, page by page.
"""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from stages.common.entry import UserError

ROWS = 256  # that `some` takes from one memory map: each touches 64 KiB of the file, which counts as memory


def create(path: Path, shape: tuple[int, ...], dtype: Any) -> None:
    """Make the file of an array in which every value is 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)


def opened(path: Path) -> np.ndarray:
    """The array as a read-only memory map: its shape and dtype, and single rows.

    Raises `UserError` if the file holds no array, or not all of it.
    """
    try:
        with np.errstate(over="raise"):  # of sizes that no file has
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, ArithmeticError, BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: no array that can be read ({reason}): make it again with `dvc repro`") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: an archive, not an array: make it again with `dvc repro`")
    return array


def rows(array: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The rows of `array` from `start` to before `stop`; of a file's memory map, none of them stays in memory."""
    return np.array(_afresh(array)[start:stop]) if isinstance(array, np.memmap) else array[start:stop]


def some(array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The rows of `array` with these `indices`, in memory; a file's memory map keeps none of them there."""
    if not isinstance(array, np.memmap):
        return np.asarray(array[indices])
    found = np.empty((len(indices), *array.shape[1:]), array.dtype)
    for start in range(0, len(indices), ROWS):
        found[start : start + ROWS] = _afresh(array)[indices[start : start + ROWS]]
    return found


def _afresh(array: np.memmap) -> np.memmap:
    """The map of a whole file once more, with nothing of it touched. Raises `ValueError` for a part of a map."""
    if array.offset + array.nbytes != Path(str(array.filename)).stat().st_size:
        raise ValueError("a slice of a memory map does not know where it begins: give the whole map")
    return np.memmap(str(array.filename), array.dtype, "r", array.offset, array.shape)


def write(path: Path, start: int, rows: np.ndarray) -> None:
    """Write `rows` from row `start` on, with `write` and not through a memory map. They have the dtype of the file."""
    array = opened(path)
    at = array.offset + start * (array.nbytes // max(1, len(array)))  # type: ignore[attr-defined]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(np.ascontiguousarray(rows, array.dtype).tobytes())

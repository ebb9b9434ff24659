"""Images and labels from files of several kinds: IDX, NumPy's .npz, rows of numbers (CSV, LIBSVM), Parquet."""

import bz2
import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.entry import UserError
from stages.download.contents import MirrorError, blocks, check_size
from stages.download.params import IDX_FILES, Source
from stages.download.parts import Part, Parts
from stages.download.pictures import opened, stacked
from stages.idx import read_idx

ZIP_MAGIC = b"PK\x03\x04"
INT32 = 0x0C  # in the header of an IDX file


def read_parts(source: Source, folder: Path) -> Parts:
    """The parts of `source` from its files in `folder`, decompressed. Raises `UserError` that names file and reason.

    Images of IDX files are memory maps.
    """
    names = {"train": source.train, "test": source.test}
    if source.kind == "idx":
        train, test = source.train or list(IDX_FILES[:2]), source.test or list(IDX_FILES[2:])
        if source.archive:
            folder = unpacked(folder, source.archive, [*train, *test], source.largest_file_bytes)
        return {"train": idx_part(folder, train), "test": idx_part(folder, test)}
    if source.kind == "npz":
        [file] = source.files
        bounded(file, folder / file, source.largest_file_bytes)
        return {part: npz_part(file, folder / file, arrays) for part, arrays in names.items() if arrays}
    read_file = {"csv": csv_part, "libsvm": libsvm_part, "parquet": parquet_part}[source.kind]
    parts = {part: [read_file(file, folder / file, source) for file in files] for part, files in names.items() if files}
    return {
        part: Part(np.concatenate([each.images for each in files]), np.concatenate([each.labels for each in files]))
        for part, files in parts.items()
    }


def begins(path: Path, magic: bytes) -> bool:
    """Whether the file at `path` begins with `magic`."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def bounded(file: str, path: Path, largest: int) -> None:
    """Raise `UserError` if `path` is a zip that holds more than `largest` bytes: a small one may hold very many."""
    if begins(path, ZIP_MAGIC):
        try:
            with zipfile.ZipFile(path) as archive:
                check_size(sum(member.file_size for member in archive.infolist()), largest, "decompressed")
        except (zipfile.BadZipFile, MirrorError) as error:
            raise UserError(f"{file}: {' '.join(str(error).split())}") from None


def unpacked(folder: Path, archive: str, names: list[str], largest: int) -> Path:
    """A folder with the files `names` of the zip `archive` in `folder`, decompressed if they are gzip."""
    inside = folder / "unpacked"
    try:
        with zipfile.ZipFile(folder / archive) as files:
            for name in names:
                (inside / name).parent.mkdir(parents=True, exist_ok=True)
                with files.open(name) as packed, (inside / name).open("wb") as file:
                    file.writelines(blocks(packed, largest))
    except (KeyError, zipfile.BadZipFile, MirrorError) as error:
        raise UserError(f"{archive}: {' '.join(map(str, error.args))}") from None
    return inside


def idx_part(folder: Path, names: list[str]) -> Part:
    """The files `names`, images and labels; QMNIST's labels are the first of eight columns of 32-bit numbers."""
    images, labels = names
    if begins(folder / labels, bytes([0, 0, INT32, 2])):
        rows, columns = np.fromfile(folder / labels, ">u4", 2, offset=4)
        numbers = np.fromfile(folder / labels, ">i4", offset=12)
        if len(numbers) != rows * columns:
            raise UserError(f"{labels}: {len(numbers)} numbers, its header announces {rows}×{columns}")
        return Part(mapped(folder, images, 3), numbers.reshape(rows, columns)[:, 0])
    return Part(mapped(folder, images, 3), mapped(folder, labels, 1))


def mapped(folder: Path, name: str, dimensions: int) -> np.ndarray:
    """The IDX file `name` in `folder` as a memory map; an error names it as the entry does."""
    try:
        return read_idx(folder / name, dimensions)
    except UserError as error:
        raise UserError(str(error).replace(str(folder / name), name)) from None


def npz_part(file: str, path: Path, names: list[str]) -> Part:
    """The arrays `names`, images and labels, of an .npz file."""
    try:
        if not begins(path, ZIP_MAGIC):
            raise ValueError("no zip")
        shapes = npz_shapes(path)
        if missing := [name for name in names if name not in shapes]:
            raise UserError(f"{file}: has no array {missing[0]}, only {', '.join(shapes)}")
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = (arrays[name] for name in names)
    except (ValueError, zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{file}: not an .npz file of plain arrays ({error})") from None
    return Part(as_pixels(file, images), flat(file, labels, len(images)))


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each array of an .npz file, by name; only the beginnings of the arrays are read.

    Raises `ValueError` or `BadZipFile` if the file is damaged or holds something else, which could be of any size.
    """
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            if math.prod(shape) * dtype.itemsize > member.file_size:
                raise ValueError(f"{member.filename} is shorter than it says")
            shapes[member.filename.removesuffix(".npy")] = shape
    return shapes


def csv_part(file: str, path: Path, source: Source) -> Part:
    """The rows of a CSV file, plain or in a zip with nothing else: a column of labels, all others pixels in order."""
    import pandas as pd  # it takes half a second

    bounded(file, path, source.largest_file_bytes)
    header = None if isinstance(source.label, int) else 0
    try:
        kind: Any = "zip" if begins(path, ZIP_MAGIC) else None
        table = pd.read_csv(path, header=header, compression=kind, keep_default_na=False)
    except (ValueError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: not a CSV file ({' '.join(str(error).split())})") from None
    if source.label not in table.columns:
        columns = ", ".join(map(str, table.columns[:5]))
        raise UserError(f"{file}: has no column {source.label!r}; the first are {columns}")
    pixels = table.drop(columns=[source.label])
    if strange := [name for name, kind in pixels.dtypes.items() if kind.kind not in "iufb"]:
        raise UserError(f"{file}: column {strange[0]!r} holds no numbers: every column but the label must be a pixel")
    images = rows_as_images(file, pixels.to_numpy(), source)
    return Part(as_pixels(file, images), flat(file, table[source.label].to_numpy(), len(table)))


def libsvm_part(file: str, path: Path, source: Source) -> Part:
    """The rows of a file in LIBSVM's format, perhaps compressed with bzip2: a label, then values from -1 to 1."""
    from sklearn.datasets import load_svmlight_file  # it takes a second

    try:
        with bz2.open(path) if begins(path, b"BZh") else path.open("rb") as plain:
            values, labels = load_svmlight_file(plain, zero_based=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{file}: not in LIBSVM's format ({error})") from None
    rows, columns = values.shape
    if 8 * rows * columns > source.largest_file_bytes:
        raise UserError(f"{file}: {rows:,} rows of {columns:,} pixels are too many bytes (source.largest_file_bytes)")
    dense = values.toarray()
    if dense.size and (dense.min() < -1 or dense.max() > 1):
        raise UserError(f"{file}: values from {dense.min():g} to {dense.max():g}, must be from -1 to 1")
    pixels = np.rint((dense + 1) * 127.5).astype(np.uint8)
    return Part(rows_as_images(file, pixels, source), labels.astype(int))


def rows_as_images(file: str, pixels: np.ndarray, source: Source) -> np.ndarray:
    """`pixels` (N, numbers) as (N, height, width), by default square."""
    shape = source.shape or [round(pixels.shape[1] ** 0.5)] * 2
    if shape[0] * shape[1] != pixels.shape[1]:
        raise UserError(f"{file}: {pixels.shape[1]} pixels in a row are no {shape[0]}×{shape[1]}: set source.shape")
    return pixels.reshape(-1, *shape)


def parquet_part(file: str, path: Path, source: Source) -> Part:
    """The rows of a Parquet file: a column of labels, a column of pictures as bytes, or as structs with `bytes`."""
    pa, pq = arrow()
    try:
        with pa.memory_map(str(path)) as content:
            table = pq.read_table(content)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file}: not a Parquet file ({str(error).splitlines()[0]})") from None
    for column in (source.label, source.image):
        if column not in table.column_names:
            raise UserError(f"{file}: has no column {column!r}, only {', '.join(table.column_names)}")
    rows = table.column(str(source.image)).to_pylist()
    pictures = [row.get("bytes") if isinstance(row, dict) else row for row in rows]  # None if there is none
    images = [
        opened(io.BytesIO(picture or b""), f"{file}: row {number}", source.size, source.channels or 1)
        for number, picture in enumerate(pictures)
    ]
    return Part(stacked(images), flat(file, table.column(str(source.label)).to_numpy(), len(images)))


def arrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet. Raises `UserError` if they are not installed.

    They are large, and with them pandas starts more slowly: only who has Parquet files needs them.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("Parquet needs a package that is not installed: pip install pyarrow") from None
    return pyarrow, pyarrow.parquet


def as_pixels(file: str, values: np.ndarray) -> np.ndarray:
    """`values` as uint8. Raises `UserError` if they are no images, or no whole numbers from 0 to 255."""
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim not in (3, 4) or (values.ndim == 4 and values.shape[3] != 3) or not len(values):
        raise UserError(f"{file}: images of shape {values.shape}, must be (N, height, width) or (N, height, width, 3)")
    if values.dtype == np.uint8:
        return values
    pixels = values
    if not (pixels.dtype.kind in "iuf" and np.array_equal(pixels, np.clip(np.rint(pixels), 0, 255))):
        low, high = (f"{value:g}" for value in (pixels.min(), pixels.max())) if pixels.dtype.kind in "iuf" else "??"
        raise UserError(f"{file}: {pixels.dtype} values from {low} to {high}, must be whole numbers from 0 to 255")
    return pixels.astype(np.uint8)


def flat(file: str, labels: np.ndarray, count: int) -> np.ndarray:
    """`labels` (N,) or (N, 1) as (N,), whole numbers as such. Raises `UserError` if one lacks."""
    labels = labels.reshape(-1) if labels.size == count else labels
    if labels.shape != (count,):
        raise UserError(f"{file}: {count:,} images, but labels of shape {labels.shape}")
    if labels.dtype.kind == "f" and (labels == np.rint(labels)).all():
        return labels.astype(int)
    missing = [number for number, label in enumerate(labels.tolist()) if label != label or label in (None, "", b"")]
    if missing:
        raise UserError(f"{file}: image {missing[0]} has no label")
    return labels

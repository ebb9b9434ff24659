"""Images and labels from files of several kinds: IDX, NumPy's .npz, rows of numbers (CSV, LIBSVM), Parquet."""

import bz2
import io
import zipfile
from typing import Any

import numpy as np

from stages.common.entry import UserError
from stages.download.contents import MirrorError, decompressed
from stages.download.params import IDX_FILES, Source
from stages.download.parts import Part, Parts
from stages.download.pictures import opened, stacked
from stages.idx import parse_idx

ZIP_MAGIC = b"PK\x03\x04"
INT32 = 0x0C  # in the header of an IDX file


def read_parts(source: Source, contents: dict[str, bytes]) -> Parts:
    """The parts of `source` from the `contents` of its files. Raises `UserError` that names file and reason."""
    names = {"train": source.train, "test": source.test}
    if source.kind == "idx":
        train, test = source.train or list(IDX_FILES[:2]), source.test or list(IDX_FILES[2:])
        files = unpacked(source.archive, contents[source.archive], [*train, *test]) if source.archive else contents
        return {"train": idx_part(files, train), "test": idx_part(files, test)}
    if source.kind == "npz":
        [(file, content)] = contents.items()
        return {part: npz_part(file, content, arrays) for part, arrays in names.items() if arrays}
    read_file = {"csv": csv_part, "libsvm": libsvm_part, "parquet": parquet_part}[source.kind]
    parts = {
        part: [read_file(file, contents[file], source) for file in files] for part, files in names.items() if files
    }
    return {
        part: Part(np.concatenate([each.images for each in files]), np.concatenate([each.labels for each in files]))
        for part, files in parts.items()
    }


def unpacked(archive: str, content: bytes, names: list[str]) -> dict[str, bytes]:
    """The files `names` of a zip, decompressed if they are .gz."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as files:
            found = {name: files.read(name) for name in names}
        return {name: decompressed(file) if name.endswith(".gz") else file for name, file in found.items()}
    except (KeyError, zipfile.BadZipFile, MirrorError) as error:
        raise UserError(f"{archive}: {' '.join(map(str, error.args))}") from None


def idx_part(contents: dict[str, bytes], names: list[str]) -> Part:
    """The files `names`, images and labels; QMNIST's labels are the first of eight columns of 32-bit numbers."""
    images, labels = (contents[name] for name in names)
    if labels[:4] == bytes([0, 0, INT32, 2]):
        rows, columns = np.frombuffer(labels, ">u4", 2, offset=4)
        numbers = np.frombuffer(labels, ">i4", offset=12)
        if len(numbers) != rows * columns:
            raise UserError(f"{names[1]}: {len(numbers)} numbers, its header announces {rows}×{columns}")
        return Part(parse_idx(images, names[0], 3), numbers.reshape(rows, columns)[:, 0])
    return Part(parse_idx(images, names[0], 3), parse_idx(labels, names[1], 1))


def npz_part(file: str, content: bytes, names: list[str]) -> Part:
    """The arrays `names`, images and labels, of an .npz file."""
    try:
        if not content.startswith(ZIP_MAGIC):
            raise ValueError("no zip")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            if missing := [name for name in names if name not in arrays]:
                raise UserError(f"{file}: has no array {missing[0]}, only {', '.join(arrays.files)}")
            images, labels = (arrays[name] for name in names)
    except (ValueError, zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{file}: not an .npz file of plain arrays ({error})") from None
    return Part(as_pixels(file, images), flat(file, labels, len(images)))


def csv_part(file: str, content: bytes, source: Source) -> Part:
    """The rows of a CSV file, plain or in a zip with nothing else: a column of labels, all others pixels in order."""
    import pandas as pd  # it takes half a second

    header = None if isinstance(source.label, int) else 0
    try:
        kind: Any = "zip" if content.startswith(ZIP_MAGIC) else None
        table = pd.read_csv(io.BytesIO(content), header=header, compression=kind, keep_default_na=False)
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


def libsvm_part(file: str, content: bytes, source: Source) -> Part:
    """The rows of a file in LIBSVM's format, perhaps compressed with bzip2: a label, then values from -1 to 1."""
    from sklearn.datasets import load_svmlight_file  # it takes a second

    try:
        plain = bz2.decompress(content) if content.startswith(b"BZh") else content
        values, labels = load_svmlight_file(io.BytesIO(plain), zero_based=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: not in LIBSVM's format ({error})") from None
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


def parquet_part(file: str, content: bytes, source: Source) -> Part:
    """The rows of a Parquet file: a column of labels, a column of pictures as bytes, or as structs with `bytes`."""
    pa, pq = arrow()
    try:
        table = pq.read_table(pa.BufferReader(content))
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

"""Many images from few: each is one of a small set, a little deformed. The same on every machine, bit for bit.

Image `i` is made of image `i % N` of the N that there are, by amounts that depend on the part and on `i` alone.
"""

import csv
import math
from pathlib import Path

import numpy as np

from stages.idx import header, images_name, read_idx, read_images

SEED = 20
PARTS = {"train": 0, "t10k": 1}  # a second key of the random numbers
BLOCK = 64  # images that are deformed at once: what they need fits in a processor's cache
# The largest of each amount, in tangents and in halves of an image's side.
LARGEST = {
    "rotation": 0.14,
    "shear": 0.1,
    "scale_x": 0.08,
    "scale_y": 0.08,
    "shift_x": 0.07,
    "shift_y": 0.07,
    "bow_x": 0.05,
    "wave_x": 0.05,
    "bow_y": 0.05,
    "wave_y": 0.05,
}
FARTHEST = 0.45  # that a pixel comes from elsewhere by all of them, in halves of a side
DRAWS = 12  # random numbers for each image: the generator counts in fours
BITS = 7  # of a fraction of a pixel: then all that is multiplied fits into 16 bits


def amounts(prefix: str, start: int, stop: int) -> np.ndarray:
    """The amounts of the images from `start` to before `stop` of a part: float64 (images, 10) in the order of LARGEST.

    The generator's n-th number can be had without those before it, so that ranges may start anywhere.
    """
    numbers = np.random.Philox(key=[SEED, PARTS[prefix]], counter=start * DRAWS // 4)
    raw = numbers.random_raw((stop - start) * DRAWS).reshape(-1, DRAWS)[:, : len(LARGEST)]
    return np.asarray(((raw >> np.uint64(11)) * 2.0**-52 - 1) * np.array(list(LARGEST.values())))


def deformed(images: np.ndarray, by: np.ndarray) -> np.ndarray:
    """`images`, uint8 (N, side, side), rotated, sheared, scaled, shifted and bent by the amounts `by`, (N, 10).

    Each pixel is the bilinear mean of four, in whole numbers: those are the same everywhere, and fast. From
    outside an image comes black.
    """
    count, side = images.shape[:2]
    middle = (side - 1) / 2
    margin = math.ceil(FARTHEST * middle) + 1
    width = side + 2 * margin
    line = np.arange(side) / middle - 1
    square, cube = line * line - 1 / 3, line * line * line - line
    turn, shear, scale_x, scale_y, shift_x, shift_y, bow_x, wave_x, bow_y, wave_y = (each[:, None] for each in by.T)

    def fixed(places: np.ndarray) -> np.ndarray:
        return np.asarray(np.rint(places * middle * 2**BITS), np.int16)

    centre = np.int16((margin + middle) * 2**BITS)
    column = fixed((1 + scale_x) * line)[:, None, :] + centre
    column = column + fixed((shear - turn) * line + shift_x + bow_x * square + wave_x * cube)[:, :, None]
    row = fixed((1 + scale_y) * line)[:, :, None] + centre
    row = row + fixed(turn * line + shift_y + bow_y * square + wave_y * cube)[:, None, :]

    padded = np.zeros((count, width, width), np.int16)
    padded[:, margin : margin + side, margin : margin + side] = images
    pixels = padded.ravel()
    at = ((row >> BITS) * np.int16(width) + (column >> BITS)).astype(np.int64)
    at += np.arange(count)[:, None, None] * width**2
    upper = between(pixels.take(at), pixels.take(at + 1), column)
    lower = between(pixels.take(at + width), pixels.take(at + width + 1), column)
    return between(upper, lower, row).astype(np.uint8)


def between(first: np.ndarray, second: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The values from `first` (where the fraction of `place` is 0) to `second`, int16; `second` is overwritten."""
    second -= first
    second *= place & (2**BITS - 1)
    second += 2 ** (BITS - 1)
    second >>= BITS
    second += first
    return second


def create(folder: Path, prefix: str, count: int, side: int) -> None:
    """Make the IDX files of a part, for `count` images, in which everything is 0."""
    for name, shape in ((images_name(prefix), (count, side, side)), (f"{prefix}-labels-idx1-ubyte", (count,))):
        with (folder / name).open("wb") as file:
            file.write(header(shape))
            file.truncate(file.tell() + math.prod(shape))


def write_range(raw: Path, folder: Path, prefix: str, start: int, stop: int) -> None:
    """Write images and labels from `start` to before `stop` of a part into the files that `create` made."""
    images, labels = read_images(raw, prefix), read_idx(raw / f"{prefix}-labels-idx1-ubyte", 1)
    rows = np.arange(start, stop) % len(images)
    with (folder / images_name(prefix)).open("r+b") as file:
        file.seek(len(header(images.shape)) + start * math.prod(images.shape[1:]))
        for first in range(0, len(rows), BLOCK):
            some = rows[first : first + BLOCK]
            by = amounts(prefix, start + first, start + first + len(some))
            file.write(deformed(images[some], by).tobytes())
    with (folder / f"{prefix}-labels-idx1-ubyte").open("r+b") as file:
        file.seek(len(header(labels.shape)) + start)
        file.write(labels[rows].tobytes())


def write_writers(raw: Path, folder: Path, prefix: str, count: int) -> str | None:
    """Write who wrote each image, as QMNIST does: label, series, writer; the file's name, or None if nobody knows."""
    table = raw / f"{prefix}-writers.csv"
    if not table.exists():
        return None
    labels = read_idx(raw / f"{prefix}-labels-idx1-ubyte", 1)
    with table.open(newline="") as known:
        rows = zip(labels.tolist(), csv.DictReader(known), strict=True)
        lines = [f"{label}\t{row['series']}\t{row['writer']}\n" for label, row in rows]
    name = f"{prefix}-writers.tsv"
    with (folder / name).open("w", encoding="ascii", newline="\n") as file:
        for start in range(0, count, len(lines)):
            file.writelines(lines[: count - start])
    return name

"""Pictures as people have them: files of any format, size and colour, in a folder with one folder for each class."""

import csv
import hashlib
import io
import math
import re
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stages.checksums import digest
from stages.common.entry import UserError
from stages.download.params import Source
from stages.download.parts import Part, Parts

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # others can hold more than they announce
STRIP = 256  # rows
TABLE = "labels.csv"
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}  # by the name of a folder
PARTS |= dict.fromkeys(("val", "valid", "validation"), "train")  # the pipeline splits off its own
LIGHT = 192  # mean grey level of visible pixels from which on they are light ink
NO_PICTURE = "not a picture that can be read"
LARGEST_PICTURE = 100_000_000  # pixels: a small file can announce more than the memory holds
Image.MAX_IMAGE_PIXELS = None  # that bound is ours, and an error, where Pillow warns


def files_of(folder: Path) -> list[str]:
    """The pictures below `folder` and its table of labels, as sorted paths from there; hidden ones do not count."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = [path for path in paths if not any(name.startswith((".", "__")) for name in path.parts)]
    return sorted(path.as_posix() for path in visible if path.suffix.lower() in SUFFIXES or path.as_posix() == TABLE)


def checksum(folder: Path) -> str:
    """SHA-256 over the lines that `sha256sum` prints for the pictures below `folder` and its table of labels."""
    whole = hashlib.sha256()
    for name in files_of(folder):
        whole.update(f"{digest(folder / name)}  {name}\n".encode())
    return whole.hexdigest()


def folder_parts(folder: Path, source: Source) -> Parts:
    """The pictures below `folder`, in the order of their paths.

    Their labels are in labels.csv (columns `file`, `label`, perhaps `part` and the column `source.group`), or they are
    the names of the folders that hold them, in `train` and `test` if there are such. Raises `UserError` that names a
    picture that cannot be read, or a label that is missing.
    """
    rows = described(folder, source.group)
    names = {name: [row for row in rows if row["part"] == name] for name in ("train", "test")}
    if not names["train"]:
        raise UserError(f"{folder}: has no training pictures")
    return {name: _read(folder, part, source) for name, part in names.items() if part}


def described(folder: Path, group: str | None) -> list[dict[str, str]]:
    """A row for each picture: `file` (its path from `folder`), `label`, `part` (train or test) and, if known, `group`.

    Raises `UserError` if the labels cannot be told.
    """
    pictures = [name for name in files_of(folder) if name != TABLE]
    if not pictures:
        raise UserError(f"{folder}: holds no pictures ({', '.join(sorted(SUFFIXES))})")
    rows = _from_table(folder, set(pictures), group) if (folder / TABLE).is_file() else _from_folders(folder, pictures)
    for row in rows:
        if group and "group" not in row:
            match = re.search(group, row["file"])
            name = match and (match.group(1) if match.groups() else match.group())
            if not name:
                raise UserError(f"{folder / row['file']}: source.group, {group!r}, is no column and not in this path")
            row["group"] = name
    return rows


def _from_table(folder: Path, pictures: set[str], group: str | None) -> list[dict[str, str]]:
    path = folder / TABLE
    try:
        table = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8: save it as UTF-8") from None
    if not table or not {"file", "label"} <= table[0].keys():
        raise UserError(f"{path}: must have the columns file and label")
    rows = []
    for number, line in enumerate(table, start=2):
        if line["file"] not in pictures:
            raise UserError(f"{path} line {number}: there is no picture {line['file']!r}")
        if not (line["label"] or "").strip():
            raise UserError(f"{path} line {number}: the label is empty")
        row = {"file": line["file"], "label": line["label"].strip(), "part": line.get("part") or "train"}
        if row["part"] not in ("train", "test"):
            raise UserError(f"{path} line {number}: part is {row['part']!r}, must be train or test")
        if group in line:
            row["group"] = line[group] or ""
            if not row["group"]:
                raise UserError(f"{path} line {number}: {group} is empty")
        rows.append(row)
    return rows


def _from_folders(folder: Path, pictures: list[str]) -> list[dict[str, str]]:
    paths = [Path(name).parts for name in pictures]
    while len({path[0] for path in paths}) == 1 and min(map(len, paths)) > 2:  # a folder around all others
        paths = [path[1:] for path in paths]
    parted = {path[0].lower() for path in paths} <= PARTS.keys()
    rows = []
    for name, path in zip(pictures, paths):
        inner = path[1:] if parted else path
        if len(inner) < 2:
            raise UserError(
                f"{folder / name}: lies in no folder of a class: make one for each class, such as"
                f" {folder.name}/7/{path[-1]}, or a {TABLE} with the columns file and label"
            )
        rows.append({"file": name, "label": inner[0], "part": PARTS[path[0].lower()] if parted else "train"})
    return rows


def _read(folder: Path, rows: Sequence[dict[str, str]], source: Source) -> Part:
    def one(row: dict[str, str]) -> np.ndarray:
        with (folder / row["file"]).open("rb") as file:
            return opened(file, str(folder / row["file"]), source.size, source.channels or 1)

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(one, rows))
    groups = np.array([row["group"] for row in rows]) if "group" in rows[0] else None
    return Part(stacked(images), np.array([row["label"] for row in rows]), groups)


def opened(file: IO[bytes], name: str, size: int | None, channels: int) -> np.ndarray:
    """The picture in `file`: uint8 (height, width) for one of `channels`, (height, width, 3) for three.

    It is turned as its camera says; transparent parts are white, or black behind light ink; 16 bits become 8. With a
    `size`, it is scaled with its proportions kept and lies in the middle of a square of so many pixels that has the
    colour of its border. Raises `UserError` that begins with `name` if it is no picture.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise UserError(f"{name}: {picture.width}×{picture.height} pixels are too many: scale it down")
            ImageOps.exif_transpose(picture, in_place=True)
            plain = in_mode(as_bytes(picture), "L" if channels == 1 else "RGB")
    except UnidentifiedImageError:
        raise UserError(f"{name}: {NO_PICTURE}: use PNG, JPEG or the like") from None
    except (OSError, SyntaxError, ValueError, RuntimeError, struct.error) as error:
        raise UserError(f"{name}: {NO_PICTURE} ({error}): mend it or take it out") from None
    return np.asarray(plain if size is None else on_square(plain, size))


def as_bytes(picture: Image.Image) -> Image.Image:
    """`picture` with 8 bits a channel and no transparency: white shows through, or black behind light ink."""
    if picture.mode == "F":
        raise ValueError("fractions as pixels; save it with 8 or 16 bits")
    if picture.mode.startswith("I"):
        values = np.asarray(picture).clip(0, 65535).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        coloured = in_mode(picture, "RGBA")
        if coloured.getchannel("A").getextrema() == (255, 255):  # nothing shows through
            return coloured.convert("RGB")
        ground = "black" if brightness(coloured) > LIGHT else "white"
        plain = Image.new("RGB", coloured.size)
        for top, strip in strips(coloured):
            plain.paste(Image.alpha_composite(Image.new("RGBA", strip.size, ground), strip).convert("RGB"), (0, top))
        return plain
    return picture if picture.mode in ("L", "RGB") else picture.convert("L" if picture.mode == "1" else "RGB")


def in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """`picture` in this mode of Pillow, itself if it has it: a copy of a large one would double the memory."""
    return picture if picture.mode == mode else picture.convert(mode)


def strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The first row and the picture of each strip of `picture`, which bounds the memory of what is done to them."""
    for top in range(0, picture.height, STRIP):
        yield top, picture.crop((0, top, picture.width, min(top + STRIP, picture.height)))


def brightness(picture: Image.Image) -> float:
    """The mean grey level of what is visible of `picture`, RGBA."""
    total = weight = 0.0
    for _, strip in strips(picture):
        pixels = np.asarray(strip, np.float64)
        total += float((pixels[..., :3].mean(axis=2) * pixels[..., 3]).sum())
        weight += float(pixels[..., 3].sum())
    return total / weight if weight else 0.0


def on_square(picture: Image.Image, side: int) -> Image.Image:
    """`picture` scaled until its longer side is `side`, in the middle of a square of its border's median colour."""
    if picture.size == (side, side):
        return picture
    scale = side / max(picture.size)
    shape = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    scaled = picture.resize(shape, Image.Resampling.LANCZOS)
    pixels = np.asarray(scaled)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(border, axis=0).astype(int)
    square = Image.new(picture.mode, (side, side), tuple(colour.tolist()) if picture.mode == "RGB" else int(colour))
    square.paste(scaled, ((side - scaled.width) // 2, (side - scaled.height) // 2))
    return square


def size_of(file: IO[bytes], name: str) -> tuple[int, int]:
    """Width and height of the picture in `file`, whose start alone is read. Raises `UserError` if it is none."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            size = picture.size
        file.seek(0)
        return size
    except UnidentifiedImageError:
        raise UserError(f"{name}: {NO_PICTURE}: use PNG, JPEG or the like") from None
    except (OSError, SyntaxError, ValueError, RuntimeError, struct.error) as error:
        raise UserError(f"{name}: {NO_PICTURE} ({error}): mend it or take it out") from None


def sentence(folder: Path, source: Source) -> str:
    """What the pictures below `folder` were, and are now."""
    sizes = []
    for path in (folder / row["file"] for row in described(folder, None)):
        with path.open("rb") as file:
            sizes.append(size_of(file, str(path)))
    low, high = min(sizes, key=math.prod), max(sizes, key=math.prod)
    before = " to ".join(dict.fromkeys(f"{width}×{height}" for width, height in (low, high)))
    changed = source.size and {*sizes} != {(source.size, source.size)}
    after = f", brought to {source.size}×{source.size}" if changed else ""
    return f"{len(sizes):,} pictures of {before} pixels{after}, {'in colour' if source.channels == 3 else 'grey'}"


def stacked(images: Sequence[np.ndarray]) -> np.ndarray:
    """`images` as one array. Raises `UserError` if they differ in size."""
    if len(sizes := {image.shape for image in images}) > 1:
        some = " and ".join(f"{height}×{width}" for height, width, *_ in sorted(sizes)[:2])
        raise UserError(f"the pictures are not all of one size ({some}, …): set source.size")
    return np.stack(images)

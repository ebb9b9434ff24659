"""Test images for a review: as text, since a comment on a pull request can hold no pictures of its own."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from review.escape import clean
from review.results import TEST_DATA
from stages.common.entry import UserError

BRIGHT = 96  # grey level from which a pixel is drawn: thin strokes stay whole
ACROSS = 4  # images side by side
GAP = 4  # letters between them; a row of 28 by 28 pixels each is 68 wide
BLANK = "\u2800"  # Braille without dots: as wide as the other patterns in any font, which a space is not
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # Unicode's bit of each dot of a pattern


@dataclass(frozen=True)
class Digit:
    """A test image that exactly one of two models gets wrong."""

    index: int
    label: str
    predicted: str  # by the model that is wrong
    image: np.ndarray  # uint8 (height, width), light on dark


def load(test_data: str, folder: Path = Path(TEST_DATA)) -> np.ndarray:
    """The test images, uint8 (images, height, width), mapped rather than loaded.

    Raises `UserError` where they are not there, or are not those with the checksum `test_data`.
    """
    if not (folder / "images.npy").is_file():
        raise UserError(f"No pictures: {folder} is not here (`dvc pull`, or `dvc repro`, brings it)")
    if checksum(folder) != test_data:
        raise UserError(f"No pictures: {folder} does not hold the images that were scored (`dvc checkout`)")
    return np.load(folder / "images.npy", mmap_mode="r")


def checksum(folder: Path) -> str:
    """What dvc.lock calls a folder: the MD5 of the list of its files with theirs."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listed = [{"md5": _md5(files[name].read_bytes()), "relpath": name} for name in sorted(files)]
    return _md5(json.dumps(listed).encode()) + ".dir"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def digits(
    indices: Sequence[int],
    labels: Mapping[int, int],
    predictions: Mapping[int, int],
    classes: Sequence[str],
    images: np.ndarray,
) -> tuple[Digit, ...]:
    """The digits at `indices`; `labels` and `predictions` by index, `classes` their names."""

    def called(label: int | None) -> str:
        return "?" if label is None else clean(classes[label]) if 0 <= label < len(classes) else str(label)

    return tuple(
        Digit(index, called(labels.get(index)), called(predictions.get(index)), images[index])
        for index in indices
        if 0 <= index < len(images)
    )


def braille(image: np.ndarray) -> list[str]:
    """A uint8 image (height, width) as lines of Braille patterns, each of 4 × 2 pixels."""
    height, width = image.shape
    padded = np.pad(image >= BRIGHT, ((0, -height % 4), (0, -width % 2)))
    cells = padded.reshape(padded.shape[0] // 4, 4, padded.shape[1] // 2, 2)
    patterns = ord(BLANK) + np.einsum("ryxc,yc->rx", cells, DOTS)
    return ["".join(map(chr, row)) for row in patterns]


def text(found: Sequence[Digit]) -> str:
    """The digits side by side, each below its index, its label and what it was taken for."""
    rows = [found[start : start + ACROSS] for start in range(0, len(found), ACROSS)]
    return "\n\n".join("\n".join(map(_beside, zip(*map(_block, row), strict=True))) for row in rows)


def _block(digit: Digit) -> list[str]:
    """Lines of one width: two of caption, then the picture."""
    picture = braille(digit.image)
    width = len(picture[0])
    return [
        line[:width].ljust(width, BLANK) for line in (f"#{digit.index}", f"{digit.label} → {digit.predicted}")
    ] + picture


def _beside(parts: Sequence[str]) -> str:
    return (BLANK * GAP).join(parts).rstrip(BLANK)

"""From a picture to its digits: prepared as the pipeline prepares pictures, read by the model that it shipped."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from serving.packaged import packaged
from stages import checksums
from stages.common.entry import UserError
from stages.download import pictures
from stages.evaluate.model import Model
from stages.preprocess.digit import Found, digit
from stages.preprocess.several import Blob, blobs, surest

PIXELS = 50_000_000  # of a picture: a small file can announce more than the memory holds


@dataclass(frozen=True)
class Digit:
    """What the model says of one digit."""

    label: str  # the most probable class
    sure: bool  # whether the confidence reaches the threshold
    confidence: float
    probabilities: np.ndarray  # float32 (classes,)
    image: np.ndarray  # uint8 (28, 28): what the model saw, light on dark
    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture
    done: list[str]  # what the preparation did


class Reader:
    """The model and what the stage `package` says of it, from the folder `folder`.

    Not for several threads at once: each needs its own. Raises `UserError` if a file is missing or wrong, or if the
    model does not take 28×28 grey pixels.
    """

    def __init__(self, folder: Path = Path("models")) -> None:
        self.path = folder / "model.tflite"
        self.package = packaged(folder)
        self.title = self.package.title
        self.classes = self.package.classes
        self.threshold = self.package.threshold
        self.shape = self.package.shape
        if self.shape != [28, 28, 1]:
            raise UserError(f"{self.path} takes {'×'.join(map(str, self.shape))} pixels: only 28×28×1 can be served")
        if not self.path.exists():
            raise UserError(f"{self.path} is missing: `dvc repro` or `dvc checkout` makes it")
        checksums.check(folder / "model.sha256", self.path.name)
        self.model = Model(self.path)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 (N, classes) of images uint8 (N, 28, 28) or float32 (N, 28, 28, 1), 0 to 255."""
        return self.model.predict(images)

    def read(self, picture: np.ndarray, several: bool = False) -> list[Digit]:
        """The digit in `picture`, uint8 (height, width) or (height, width, 3); with `several`, all in reading order.

        Empty if there is none.
        """
        return self.read_prepared(prepared(picture, several))

    def read_prepared(self, blobs: list[Blob]) -> list[Digit]:
        """The digits of a prepared picture; ink that may be several digits is cut where the model is surest."""
        chosen: list[Found] = []
        for blob in blobs:
            parts = list(blob.parts.values())
            if len(parts) > 1:
                confidences = self.probabilities(np.stack([part.image for part in parts])).max(axis=1)
                parts = surest(blob, dict(zip(blob.parts, confidences.tolist())))
            chosen += parts
        return self.of(chosen)

    def of(self, found: list[Found]) -> list[Digit]:
        """What the model says of prepared digits."""
        if not found:
            return []
        probabilities = self.probabilities(np.stack([each.image for each in found]))
        return [self._digit(each, row) for each, row in zip(found, probabilities)]

    def _digit(self, found: Found, probabilities: np.ndarray) -> Digit:
        number = int(probabilities.argmax())
        confidence = float(probabilities[number])
        return Digit(
            self.classes[number],
            confidence >= self.threshold,
            confidence,
            probabilities,
            found.image,
            found.box,
            found.done,
        )


def prepared(picture: np.ndarray, several: bool) -> list[Blob]:
    """What `Reader.read` prepares of `picture`, without a model: also in other threads than that of the Reader."""
    if several:
        return blobs(picture)
    found = digit(picture)
    return [Blob({(0, 1): found}, {(0, 1): 0.0}, 1)] if found else []


def opened(file: IO[bytes], name: str) -> np.ndarray:
    """The picture in `file`, turned as its camera says, transparent parts filled: uint8 (height, width, 3).

    Raises `UserError` that begins with `name` if it is no picture or has too many pixels.
    """
    width, height = pictures.size_of(file, name)
    if width * height > PIXELS:
        raise UserError(f"{name}: {width}×{height} pixels are too many: scale it down")
    return pictures.opened(file, name, None, 3)

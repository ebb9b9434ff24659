"""How often `make drift` raises an alarm: on digits like the training images, where it must not, and on others.

    python -m benchmarks.drift                         # 100 windows of 500 digits of each kind
    python -m benchmarks.drift --digits 200            # of smaller windows
    python -m benchmarks.drift --models MODELS --data PREPARED

It reads models/model.tflite and data/prepared, so run `dvc repro` first. The references are made as the stage `package`
makes them. Each window is drawn from the test images, by other writers than the training images, without replacement.
"Pixels" are these images as they are, as a program sends them to infer. "Pictures" are the images enlarged, prepared as
the service prepares a picture, and compared with training images that went the same way. The letters are drawn from the
fonts that matplotlib ships.

An alarm comes from the measurements or, of pixels, from the bounds of datasets.yaml; "measured" is without the bounds.
"Accuracy" is the model's on these digits: a change that leaves it as it is does no harm.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import grey_dilation, grey_erosion

from serving.drift import bounded, expectations, share_outside
from serving.shift import STRAYS, compare
from stages.common.entry import UserError, run
from stages.evaluate.corruptions import noise, rotation
from stages.evaluate.model import Model
from stages.package.reference import SIDE, as_pictures, reference
from stages.preprocess.digit import digit
from stages.statistics import image_statistics
from stages.validate.params import Expect

SEED = 20
FEW, MANY = 0.05, 0.95  # of the windows: alarms at most where nothing changed, at least where something did
FONTS = ("Sans", "Sans-Bold", "Sans-Oblique", "Serif", "Serif-Bold", "Serif-Italic", "SansMono")
LETTERS = "ΑΓΔΕΖΗΚΛΜΝΞΠΡΣΤΥΦΧΨΩАГДЕЖИКЛМНПРСТУФХЦШЩЪЫЭЮЯ"  # without those that look like a digit
PAGE = 112  # pixels of a side of the paper for a letter
STEP = 4  # of so many test images one becomes a picture if something is changed


UNDONE = {"inverted": True, "noisy: standard deviation 20": None}  # by the preparation, wholly or for the most part


class Digits(NamedTuple):
    """Digits to draw windows from: uint8 (N, 28, 28), their labels if they have some, and whether they are like the
    training images; None: open."""

    name: str
    images: np.ndarray
    labels: np.ndarray | None
    quiet: bool | None


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.drift", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--digits", type=int, default=500, help="of a window")
    options.add_argument("--windows", type=int, default=100, help="of each kind")
    options.add_argument("--models", type=Path, default=Path("models"), help="the folder of model.tflite")
    options.add_argument("--data", type=Path, default=Path("data/prepared"), help="the prepared images")
    chosen = options.parse_args()
    model = Model(chosen.models / "model.tflite")
    train, validation = (stored(chosen.data / part / "images.npy") for part in ("train", "validation"))
    test, labels = (stored(chosen.data / "test" / f"{name}.npy") for name in ("images", "labels"))
    classes = [str(number) for number in range(model.predict(test[:1]).shape[1])]
    expect, _ = expectations(classes, [*test.shape[1:]])
    pixels = reference(train, model.predict(validation)), expect, as_pixels(test, labels)
    pictures = reference(as_pictures(train), model.predict(as_pictures(validation))), None, prepared(test, labels)

    print(f"| {'digits':40} | accuracy | wanted | alarms | measured | moved most often |")
    for name, (known, bounds, kinds) in {"pixels": pixels, "pictures": pictures}.items():
        for digits in kinds:
            table = measured(model, digits.images)
            right = "" if digits.labels is None else f"{(table['predicted'] == digits.labels).mean():.1%}"
            drawn = list(windows(table, chosen.windows, chosen.digits))
            moved = [titles(known, window, classes) for window in drawn]
            alarms = [bool(of) or crosses(window, bounds, classes) for of, window in zip(moved, drawn, strict=True)]
            often = Counter(chain.from_iterable(moved)).most_common(2)
            words = ", ".join(f"{title} ({count / len(drawn):.0%})" for title, count in often)
            wanted = {True: f"≤ {FEW:.0%}", False: f"≥ {MANY:.0%}", None: ""}[digits.quiet]
            shares = f"{np.mean(alarms):6.0%} | {np.mean([bool(of) for of in moved]):8.0%}"
            print(f"| {f'{name}, {digits.name}':40} | {right:>8} | {wanted:6} | {shares} | {words} |", flush=True)


def stored(path: Path) -> np.ndarray:
    """The array in `path`. Raises `UserError` if there is none."""
    if not path.exists():
        raise UserError(f"{path} is missing: `dvc repro` first, or name another folder with --data")
    return np.asarray(np.load(path))


def changes(generator: np.random.Generator) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What may happen to all images, uint8 (N, 28, 28)."""
    return {
        "inverted": lambda images: 255 - images,
        "thinner: grey erosion 2×2": lambda images: grey_erosion(images, (1, 2, 2)),
        "thicker: grey dilation 2×2": lambda images: grey_dilation(images, (1, 2, 2)),
        "noisy: standard deviation 20": lambda images: noise(images, 20, generator),
        "rotated by 15° either way": lambda images: rotation(images, 15, generator),
        "rotated by 30° either way": lambda images: rotation(images, 30, generator),
    }


def as_pixels(test: np.ndarray, labels: np.ndarray) -> Iterator[Digits]:
    """Kinds of digits that came as they are."""
    generator = np.random.default_rng(SEED)
    yield Digits("unchanged", test, labels, True)
    for name, change in changes(generator).items():
        yield Digits(name, change(test), labels, False)
    yield from parts(test, labels)
    yield Digits("Greek and Cyrillic capitals", letters(generator), None, False)
    for share in (0.05, 0.1, 0.2):
        strange = generator.random(len(test)) < share
        yield Digits(
            f"{share:.0%} inverted", np.where(strange[:, np.newaxis, np.newaxis], 255 - test, test), labels, None
        )
    images, right = read(enlarged(test[::STEP]), labels[::STEP])
    yield Digits("test images as pictures", images, right, None)


def prepared(test: np.ndarray, labels: np.ndarray) -> Iterator[Digits]:
    """Kinds of digits that were found in pictures."""
    generator = np.random.default_rng(SEED)
    images, right = read(enlarged(test), labels)
    yield Digits("unchanged", images, right, True)
    some, own = test[::STEP], labels[::STEP]
    for name, change in changes(generator).items():
        yield Digits(name, *read(enlarged(change(some)), own), UNDONE.get(name, False))
    yield Digits("noisy: standard deviation 40", *read(enlarged(noise(some, 40, generator)), own), False)
    grainy = [noise(picture[np.newaxis], 10, generator)[0] for picture in enlarged(255 - some)]
    yield Digits("grain of a camera: deviation 10", *read(grainy, own), True)
    yield from parts(images, right)
    yield Digits("Greek and Cyrillic capitals", letters(generator), None, False)


def parts(images: np.ndarray, labels: np.ndarray) -> Iterator[Digits]:
    """Digits of which some are missing."""
    for number in np.unique(labels):
        yield Digits(f"without {number}", images[labels != number], labels[labels != number], False)
    half = len(images) // 2
    yield Digits("first half (students)", images[:half], labels[:half], None)
    yield Digits("last half (employees)", images[half:], labels[half:], None)


def letters(generator: np.random.Generator) -> np.ndarray:
    """Each of `LETTERS` in each of `FONTS`, several times, by up to 10° askew, as the service prepares it."""
    pictures = []
    for font_name in FONTS:
        font = ImageFont.truetype(str(Path(get_data_path()) / f"fonts/ttf/DejaVu{font_name}.ttf"), 64)
        for letter in LETTERS:
            for degrees in generator.uniform(-10, 10, 6):
                page = Image.new("L", (PAGE, PAGE), 255)
                ImageDraw.Draw(page).text((PAGE / 2, PAGE / 2), letter, 0, font, anchor="mm")
                pictures.append(np.asarray(page.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=255)))
    return read(pictures, np.zeros(len(pictures)))[0]


def enlarged(images: np.ndarray) -> list[np.ndarray]:
    """Each image as a picture, as the stage `package` enlarges it."""
    return [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in images]


def read(pictures: list[np.ndarray], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 28, 28): the digits that the service finds in `pictures`; and their labels (N,)."""
    found = [digit(picture) for picture in pictures]
    chosen = np.array([each is not None for each in found])
    return np.stack([each.image for each in found if each]), labels[chosen]


def measured(model: Model, images: np.ndarray) -> pd.DataFrame:
    """A row for each image, as in the log."""
    probabilities = model.predict(images)
    return image_statistics(images).assign(confidence=probabilities.max(axis=1), predicted=probabilities.argmax(axis=1))


def windows(table: pd.DataFrame, count: int, size: int) -> Iterator[pd.DataFrame]:
    """`count` times `size` rows of `table` in random order, each time others, the same in every run."""
    for seed in range(count):
        yield table.sample(size, random_state=seed)


def titles(known: dict[str, np.ndarray], window: pd.DataFrame, classes: list[str]) -> list[str]:
    """Of the measurements that moved."""
    return [each.title for each in compare(known, window, classes) if each.moved]


def crosses(window: pd.DataFrame, expect: Expect | None, classes: list[str]) -> bool:
    """Whether `window` crosses a bound; without Great Expectations, which would take a second for each window."""
    checks = bounded(expect, classes, window) if expect else []
    return any(share_outside(window[check.column], check.low, check.high) > STRAYS for check in checks)


if __name__ == "__main__":
    run("drift", main)

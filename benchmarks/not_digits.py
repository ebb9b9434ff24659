"""Does the model know what is no digit? How well its confidence tells digits from other pictures.

    python -m benchmarks.not_digits

The digits are the test images as pictures. The others: Greek and Cyrillic capitals of several fonts, scribbles (smooth
curves through random points) and parts of the two photographs that come with scikit-learn. Whatever the preparation
already takes for no digit counts as confidence 0. AUROC: how often a digit is surer than another picture (0.5: chance).
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

from benchmarks.drift import enlarged, letters
from serving.reading import Reader
from stages.common.entry import run
from stages.preprocess.digit import digit

COUNT, SIDE, SEED = 500, 200, 1


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.not_digits", description=__doc__)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--data", type=Path, default=Path("data/prepared/test"))
    chosen = options.parse_args()
    reader, random = Reader(chosen.models), np.random.default_rng(SEED)
    images = np.load(chosen.data / "images.npy", mmap_mode="r")[:COUNT]
    digits = confidences(reader, enlarged(images))
    capitals = reader.probabilities(letters(random)).max(axis=1)
    print(f"sure from {reader.threshold:.1%} on   pictures  sure   AUROC")
    print(f"{'digits':<22}{len(digits):10,}{(digits >= reader.threshold).mean():6.1%}")
    for name, others in {
        "capitals": capitals,
        "scribbles": confidences(reader, [scribble(random) for _ in range(COUNT)]),
        "photographs": confidences(reader, [part_of_a_photograph(random) for _ in range(COUNT)]),
    }.items():
        area = roc_auc_score(np.repeat([1, 0], [len(digits), len(others)]), np.concatenate([digits, others]))
        print(f"{name:<22}{len(others):10,}{(others >= reader.threshold).mean():6.1%}{area:8.3f}")


def confidences(reader: Reader, pictures: list[np.ndarray]) -> np.ndarray:
    """The model's confidence for each picture, 0 for one without a digit: float64 (N,)."""
    found = [digit(picture) for picture in pictures]
    values = np.zeros(len(found))
    chosen = [index for index, each in enumerate(found) if each]
    values[chosen] = reader.probabilities(np.stack([each.image for each in found if each])).max(axis=1)
    return values


def scribble(random: np.random.Generator) -> np.ndarray:
    """A dark curve through five to twelve random points: uint8 (SIDE, SIDE)."""
    points = random.uniform(0.15, 0.85, (int(random.integers(5, 13)), 2)) * SIDE
    curve = CubicSpline(np.arange(len(points)), points)(np.linspace(0, len(points) - 1, 200))
    page = Image.new("L", (SIDE, SIDE), 255)
    ImageDraw.Draw(page).line([tuple(point) for point in curve], 0, int(random.integers(4, 14)), "curve")
    return np.asarray(page)


def part_of_a_photograph(random: np.random.Generator) -> np.ndarray:
    """A random square of a photograph: uint8 (side, side, 3)."""
    image = load_sample_images().images[int(random.integers(2))]
    side = int(random.integers(40, 200))
    top, left = (int(random.integers(0, length - side)) for length in image.shape[:2])
    return np.asarray(image[top : top + side, left : left + side])


if __name__ == "__main__":
    run("not_digits", main)

"""Are several digits in one picture read, and in their order? Numbers composed of the prepared test images.

    python -m benchmarks.strings

Each number has five digits by one writer if writers are known, that lie apart, touch here and there, or all touch
their neighbours; on plain and on ruled paper.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from serving.reading import Reader
from stages.common.entry import run

DIGITS, ENLARGED, NUMBERS, SEED = 5, 3, 200, 1
GAPS = {
    "apart": (2, 8),
    "some touch": (-2, 6),
    "all touch": (-3, -1),
}  # pixels of a test image between two digits: least and most


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.strings", description=__doc__)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--data", type=Path, default=Path("data/prepared/test"))
    chosen = options.parse_args()
    reader = Reader(chosen.models)
    images, labels = np.load(chosen.data / "images.npy", mmap_mode="r"), np.load(chosen.data / "labels.npy")
    writers = np.load(chosen.data / "writers.npy") if (chosen.data / "writers.npy").exists() else np.zeros(len(labels))
    print(f"{NUMBERS} numbers of {DIGITS} digits           numbers right  digits right")
    for kind, gaps in GAPS.items():
        for paper in ("plain", "ruled"):
            random = np.random.default_rng(SEED)
            right, alone = 0, 0
            for _ in range(NUMBERS):
                writer = random.choice(writers)
                picked = random.choice(np.flatnonzero(writers == writer), DIGITS)
                picture = composed([images[k] for k in picked], gaps, paper, random)
                read = "".join(digit.label for digit in reader.read(picture, several=True))
                wanted = "".join(reader.classes[label] for label in labels[picked])
                right += read == wanted
                alone += sum(a == b for a, b in zip(read, wanted)) if len(read) == len(wanted) else 0
            print(f"{kind + ', ' + paper + ' paper':<36}{right / NUMBERS:13.1%}{alone / NUMBERS / DIGITS:14.1%}")


def composed(digits: list[np.ndarray], gaps: tuple[int, int], paper: str, random: np.random.Generator) -> np.ndarray:
    """A picture uint8 (height, width) with the `digits`, uint8 (28, 28), side by side, dark on light."""
    row = np.zeros((44, 60 + 36 * len(digits)))
    left = 12
    for digit in digits:
        columns = np.flatnonzero(digit.any(axis=0))
        cut = digit[:, columns[0] : columns[-1] + 1].astype(float)
        top = 8 + int(random.integers(-2, 3))
        place = row[top : top + 28, left : left + cut.shape[1]]
        np.maximum(place, cut, out=place)
        left += cut.shape[1] + int(random.integers(gaps[0], gaps[1] + 1))
    row = row[:, : left + 12]
    large = np.asarray(
        Image.fromarray(row.astype(np.uint8)).resize([side * ENLARGED for side in row.shape[::-1]]), float
    )
    ground = np.full(large.shape, 225.0)
    if paper == "ruled":
        ground[int(random.integers(24)) :: 24] = 170
    return np.clip(ground * (1 - large / 255) + 40 * large / 255 + random.normal(0, 3, large.shape), 0, 255).astype(
        np.uint8
    )


if __name__ == "__main__":
    run("strings", main)

"""The two parts of a data set, from whatever form its source has to the files of data/raw."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.common.entry import UserError
from stages.common.files import write_text
from stages.download.params import Source
from stages.idx import images_name, write_idx

SEED = 20  # of the choice of the test images, if the source has none


class Part(NamedTuple):
    """Images uint8 (N, height, width) or (N, height, width, 3), labels of any type (N,), groups (N,) if known."""

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None


Parts = dict[str, Part]  # `train` and, if the source has one, `test`


def write_parts(parts: Parts, source: Source, folder: Path) -> list[str]:
    """Write `parts` to `folder` as the files of data/raw: light on dark, square, labels from 0, with a test part.

    Returns what was done to the images, a sentence each. Raises `UserError` if a label is unknown or there are too few
    images for a test part.
    """
    done = []
    if "test" not in parts:
        if not source.test_fraction:
            raise UserError("source.test_fraction is missing: the source has no test part")
        parts = divided(parts["train"], source.test_fraction)
        share = len(parts["test"].labels) / sum(len(part.labels) for part in parts.values())
        whole = "" if parts["train"].groups is None else ", whole groups,"
        done.append(f"the source has no test part: {share:.0%} of the images{whole} became one")
    groups = sorted({str(group) for part in parts.values() if part.groups is not None for group in part.groups})
    writers = {group: number for number, group in enumerate(groups)}
    total, inverted, padded = 0, 0, False
    for name, prefix in (("train", "train"), ("test", "t10k")):
        part = parts[name]
        images = part.images.swapaxes(1, 2) if source.transposed else part.images
        light, changed = on_dark(images, source.ink or "light")
        total, inverted, padded = total + len(images), inverted + changed, padded or images.shape[1] != images.shape[2]
        light = squared(light)
        write_idx(folder / images_name(prefix, light.ndim), light)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", numbered(part.labels, source.labels, name))
        if part.groups is not None:
            rows = "".join(f"{writers[str(group)]}\n" for group in part.groups)
            write_text(folder / f"{prefix}-writers.csv", f"writer\n{rows}")
    if source.transposed:
        done.append("rows and columns of each image exchanged")
    if inverted:
        done.append(f"{inverted:,} of {total:,} images inverted: dark ink on a light ground")
    if padded:
        done.append("black added at two sides, so that the images are square")
    return done


def divided(part: Part, fraction: float) -> Parts:
    """`part` as train and test: about `fraction` of each class is in test, and no group in both.

    With groups, the fraction is the next of 1/2, 1/3, 1/4, … Raises `UserError` if there are too few images for that.
    """
    from sklearn.model_selection import StratifiedGroupKFold, train_test_split  # it takes a second

    rows = np.arange(len(part.labels))
    try:
        if part.groups is None:
            train, test = train_test_split(rows, test_size=fraction, stratify=part.labels, random_state=SEED)
        else:
            folds = StratifiedGroupKFold(max(2, round(1 / fraction)), shuffle=True, random_state=SEED)
            train, test = next(iter(folds.split(rows, part.labels, part.groups)))
    except ValueError:
        labels, counts = np.unique(part.labels, return_counts=True)
        raise UserError(
            f"source.test_fraction is {fraction}: too few images for a test part, {len(rows)} of {len(labels)} classes,"
            f" {counts.min()} of class {labels[counts.argmin()]}: add some, or give the source a test part"
        ) from None
    return {
        name: Part(part.images[chosen], part.labels[chosen], None if part.groups is None else part.groups[chosen])
        for name, chosen in (("train", np.sort(train)), ("test", np.sort(test)))
    }


def numbered(labels: np.ndarray, values: list[str | int] | None, part: str) -> np.ndarray:
    """`labels` as uint8 numbers of their classes: the place of each in `values`, or itself if there are none.

    Raises `UserError` that names a label which is none.
    """
    known = {str(value): number for number, value in enumerate(values if values is not None else range(256))}
    texts = [str(label) for label in labels.tolist()]
    if strange := next((text for text in texts if text not in known), None):
        allowed = f"one of source.labels: {', '.join(known)}" if values is not None else "a whole number from 0"
        raise UserError(f"{part}: image {texts.index(strange)} has the label {strange!r}, must be {allowed}")
    return np.array([known[text] for text in texts], np.uint8)


def on_dark(images: np.ndarray, ink: str) -> tuple[np.ndarray, int]:
    """uint8 `images` with light ink on a dark ground, and how many were inverted for that.

    `ink` says what they have: light, dark, or mixed. In a mixed set those are inverted whose border is nearer to their
    lightest than to their darkest value.
    """
    if ink == "light":
        return images, 0
    chosen = np.full(len(images), True) if ink == "dark" else light_border(images)
    shape = (-1, *[1] * (images.ndim - 1))
    return np.where(chosen.reshape(shape), 255 - images, images), int(chosen.sum())


def light_border(images: np.ndarray) -> np.ndarray:
    """Whether the outermost ring of each image is, on average, nearer to its lightest than to its darkest value."""
    grey = images if images.ndim == 3 else images.mean(axis=3)
    ring = np.concatenate([grey[:, 0], grey[:, -1], grey[:, 1:-1, 0], grey[:, 1:-1, -1]], axis=1)
    middle = (grey.min(axis=(1, 2)).astype(float) + grey.max(axis=(1, 2))) / 2
    return np.asarray(ring.mean(axis=1) > middle)


def squared(images: np.ndarray) -> np.ndarray:
    """`images` with black added at two sides, so that height and width are equal."""
    height, width = images.shape[1:3]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    margins = [(0, 0), (top, side - height - top), (left, side - width - left), (0, 0)][: images.ndim]
    return np.pad(images, margins) if height != width else images

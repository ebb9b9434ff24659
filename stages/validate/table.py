"""What is checked: a row of numbers for each image, and one row for the set as a whole."""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages import arrays
from stages.statistics import grey, measures_and_counts
from stages.validate.raw import SPLITS, Split
from stages.validate.repeats import Repeats, fingerprints, repeats

COMPARED = ["mean_intensity", "standard_deviation", "ink_fraction"]  # in which train and test must be alike
DIGITS = 4  # of a standard deviation that counts: nearly every image would have a value of its own otherwise
BLOCK = 4096  # images whose pixels are in memory at a time
SOME = 10  # indices that a message shows


class Values(NamedTuple):
    """The different values of a column, ascending, and how many images have each, int64."""

    values: np.ndarray
    counts: np.ndarray


class Tally(NamedTuple):
    """What the rows of some images of a split add up to."""

    labels: np.ndarray  # how many images have each label: int64 [256]
    largest: int  # pixel value
    values: dict[str, Values]  # of each column in COMPARED


def columns(images: np.ndarray, labels: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The label, the statistics and the hash (half of the fingerprint) of each image, and how many pixels of all have
    each value, int64 [256]."""
    statistics, pixels = measures_and_counts(images)
    # Great Expectations compares int64 at once, and other whole numbers one by one.
    table = {"label": labels.astype(np.int64), **statistics, "roughness": roughness(images)}
    return table | {"hash": fingerprints(images)[:, 0]}, pixels


def roughness(images: np.ndarray) -> np.ndarray:
    """The mean difference of neighbouring pixels of each image, in grey levels: less if blurred, more if noisy."""
    pixels = grey(images).astype(np.int16)
    differences = [np.abs(np.diff(pixels, axis=axis)) for axis in (1, 2)]
    return np.asarray(sum(each.sum(axis=(1, 2), dtype=np.int64) for each in differences) / (2 * differences[0][0].size))


def image_table(split: Split, name: str) -> pd.DataFrame:
    """One row for each image, in order: where it is, its `columns` and, if known, its writer."""
    table = pd.DataFrame(columns(split.images, split.labels)[0])
    table.insert(0, "split", name)
    table.insert(1, "index", np.arange(len(table)))
    return table if split.writers is None else with_writers(table, split.writers)


def with_writers(table: pd.DataFrame, writers: pd.DataFrame) -> pd.DataFrame:
    """`table`, and beside it the columns of `writers`: the writer, and the series if it is known."""
    return table.assign(**{str(column): writers[column].to_numpy() for column in writers.columns})


def set_table(table: pd.DataFrame, splits: dict[str, Split], classes: list[str], centroid_images: int) -> pd.DataFrame:
    """One row about the set as a whole; `table` holds the rows of both splits, train first."""
    parts = {key: table[table["split"] == name] for key, name in SPLITS.items()}
    images = {key: split.images for key, split in splits.items()}
    return set_row(
        {key: tally(part) for key, part in parts.items()},
        repeats({key: part["hash"].to_numpy() for key, part in parts.items()}, images),
        centroid_accuracies(splits, len(classes), centroid_images),
        classes,
    )


def tally(table: pd.DataFrame) -> Tally:
    """What the rows of `table` add up to."""
    values = {name: table[name].round(DIGITS) if name == "standard_deviation" else table[name] for name in COMPARED}
    return Tally(
        np.bincount(table["label"], minlength=256),
        int(table["largest"].max()),
        {name: Values(*np.unique(column, return_counts=True)) for name, column in values.items()},
    )


def set_row(
    tallies: dict[str, Tally], repeated: Repeats, accuracies: dict[str, float], classes: list[str]
) -> pd.DataFrame:
    """One row about the set as a whole, from what was counted in each split, and its `centroid_accuracies`."""
    row: dict[str, object] = {}
    for key, (labels, largest_value, _) in tallies.items():
        count = int(labels.sum())
        fractions = labels[: len(classes)] / count
        present = np.flatnonzero(fractions)
        missing = [classes[k] for k in np.flatnonzero(fractions == 0)]
        again = repeated.again[key]
        row[f"{key}_images"] = count
        row[f"classes_{key}"] = len(present)
        row[f"missing_{key}"] = ", ".join(missing)
        if len(present):
            smallest, largest = present[fractions[present].argmin()], fractions.argmax()
            row[f"smallest_class_{key}"], row[f"smallest_name_{key}"] = fractions[smallest], classes[smallest]
            row[f"largest_class_{key}"], row[f"largest_name_{key}"] = fractions[largest], classes[largest]
        else:
            row[f"smallest_class_{key}"] = row[f"largest_class_{key}"] = 0.0
            row[f"smallest_name_{key}"] = row[f"largest_name_{key}"] = "(none)"
        row[f"largest_value_{key}"] = largest_value
        row[f"duplicates_{key}"] = len(again)
        row[f"duplicate_fraction_{key}"] = len(again) / count
        row[f"duplicate_indices_{key}"] = some(again, len(again))
    row["shared_images"] = len(repeated.shared)
    row["shared_indices"] = some(repeated.shared, len(repeated.shared))
    shifts = [distance(*(each.values[name] for each in tallies.values())) for name in COMPARED]
    row["split_shift"] = max(shifts)
    row["split_shift_of"] = COMPARED[shifts.index(max(shifts))]
    for key, accuracy in accuracies.items():
        row[f"centroid_accuracy_{key}"] = accuracy
    return pd.DataFrame([row])


def some(indices: Sequence[int] | np.ndarray, count: int) -> str:
    """The first of `count` indices as text, then an ellipsis if there are more."""
    return ", ".join(map(str, indices[:SOME])) + (", …" if count > SOME else "")


def with_more(parts: list[Values], more: Values) -> list[Values]:
    """`parts` and `more`, of which those of like size are put together, so that n values take n log n steps in all."""
    parts = [*parts, more]
    while len(parts) > 1 and len(parts[-2].values) <= 2 * len(parts[-1].values):
        parts[-2:] = [put_together(parts[-2:])]
    return parts


def put_together(parts: Iterable[Values]) -> Values:
    """The values of all `parts` and how many images have each."""
    return reduce(_both, parts)


def _both(first: Values, second: Values) -> Values:
    values = np.union1d(first.values, second.values)
    counts = np.zeros(len(values), np.int64)
    for part in (first, second):
        counts[np.searchsorted(values, part.values)] += part.counts
    return Values(values, counts)


def distance(first: Values, second: Values) -> float:
    """The Kolmogorov-Smirnov distance: the largest difference of the shares of images up to any value."""
    values = np.union1d(first.values, second.values)
    shares = []
    for part in (first, second):
        up_to = np.append(0, part.counts.cumsum())
        shares.append(up_to[np.searchsorted(part.values, values, "right")] / up_to[-1])
    return float(np.abs(shares[0] - shares[1]).max())


def centroid_accuracies(splits: dict[str, Split], classes: int, count: int) -> dict[str, float]:
    """For each split, how often the nearest class mean agrees with the label.

    At most `count` images of each split are used, evenly spaced. The class means always come from
    train, so that a test set with other labels is noticed too.
    """
    samples = {}
    for key, (images, labels, _) in splits.items():
        chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(np.intp)
        samples[key] = arrays.some(images, chosen).reshape(len(chosen), -1).astype(np.float32), labels[chosen]
    pixels, labels = samples["train"]
    present = np.unique(labels[labels < classes])
    means = np.zeros((classes, pixels.shape[1]), np.float32)
    means[present] = [pixels[labels == k].mean(axis=0) for k in present]
    # |x - m|² without |x|², which is the same for every class; a class without images is never nearest.
    lengths = np.full(classes, np.inf)
    lengths[present] = (means[present] ** 2).sum(axis=1)
    return {
        key: float(((lengths - 2 * pixels @ means.T).argmin(axis=1) == labels).mean())
        for key, (pixels, labels) in samples.items()
    }

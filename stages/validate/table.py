"""The tables that are checked: one row for each image, and one row for the set as a whole."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from stages.validate.raw import SPLITS, Split

CHUNK = 4096  # images at a time: bounds the memory of the histograms, about 30 MB for 28x28
COMPARED = ["mean_intensity", "standard_deviation", "ink_fraction"]  # in which train and test must be alike


def histograms(images: np.ndarray) -> Iterator[np.ndarray]:
    """Pixel counts of `images` (uint8 [N, height, width]), a row for each: int64 [up to CHUNK, 256], chunk by chunk."""
    for start in range(0, len(images), CHUNK):
        flat = images[start : start + CHUNK].reshape(-1, images.shape[1] * images.shape[2]).astype(np.intp)
        flat += 256 * np.arange(len(flat))[:, None]
        yield np.bincount(flat.ravel(), minlength=256 * len(flat)).reshape(-1, 256)


def image_table(split: Split, name: str) -> pd.DataFrame:
    """One row for each image, in order.

    Intensities are 0..255; positions are in pixels, from 0 at the left and the top; a blank image
    has no position (NaN). Ink is a pixel of at least 128.
    """
    images, labels, writers = split
    pixels = grey(images)
    count, height, width = pixels.shape
    values = np.arange(256)
    statistics = []
    for counts in histograms(pixels):
        mean = counts @ values / (height * width)
        used = counts > 0
        statistics.append(
            pd.DataFrame(
                {
                    "mean_intensity": mean,
                    "standard_deviation": np.sqrt(np.maximum(counts @ values**2 / (height * width) - mean**2, 0)),
                    "ink_fraction": counts[:, 128:].sum(axis=1) / (height * width),
                    "distinct_values": used.sum(axis=1),
                    "smallest": used.argmax(axis=1),
                    "largest": 255 - used[:, ::-1].argmax(axis=1),
                }
            )
        )
    table = pd.concat(statistics, ignore_index=True)
    table.insert(0, "split", name)
    table.insert(1, "index", np.arange(count))
    table.insert(2, "label", labels)

    across = pixels.sum(axis=1, dtype=np.uint32)
    down = pixels.sum(axis=2, dtype=np.uint32)
    blank = ~across.any(axis=1)
    for axis, first, last, profile in (("x", "left", "right", across), ("y", "top", "bottom", down)):
        ink = profile > 0
        table[first] = np.where(blank, np.nan, ink.argmax(axis=1))
        table[last] = np.where(blank, np.nan, profile.shape[1] - 1 - ink[:, ::-1].argmax(axis=1))
        total = np.where(blank, np.nan, profile.sum(axis=1))
        table[f"centre_{axis}"] = profile @ np.arange(profile.shape[1]) / total
    table["box_size"] = np.maximum(table["right"] - table["left"], table["bottom"] - table["top"]) + 1

    edges = (pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1])
    table["border_intensity"] = sum(edge.sum(axis=1, dtype=np.uint32) for edge in edges) / (2 * (height + width) - 4)
    table["hash"] = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images]
    if writers is not None:
        for column in writers.columns:  # the writer, and the series if it is known
            table[column] = writers[column].to_numpy()
    return table


def grey(images: np.ndarray) -> np.ndarray:
    """uint8 [N, height, width] from the same, or from [N, height, width, 3]: the mean of the three colours."""
    return images if images.ndim == 3 else np.asarray(images.mean(axis=3).round(), np.uint8)


def intensity_counts(images: np.ndarray) -> np.ndarray:
    """How many pixels have each value: int64 [256]."""
    total = np.zeros(256, np.int64)
    for counts in histograms(grey(images)):
        total += counts.sum(axis=0)
    return total


def set_table(table: pd.DataFrame, splits: dict[str, Split], classes: list[str], centroid_images: int) -> pd.DataFrame:
    """One row about the set as a whole; `table` holds the rows of both splits, train first."""
    parts = {key: table[table["split"] == name] for key, name in SPLITS.items()}
    row: dict[str, object] = {}
    for key, part in parts.items():
        fractions = np.bincount(part["label"], minlength=len(classes))[: len(classes)] / len(part)
        present = np.flatnonzero(fractions)
        missing = [classes[k] for k in np.flatnonzero(fractions == 0)]
        repeated = part["hash"].duplicated()
        row[f"{key}_images"] = len(part)
        row[f"classes_{key}"] = len(present)
        row[f"missing_{key}"] = ", ".join(missing)
        if len(present):
            smallest, largest = present[fractions[present].argmin()], fractions.argmax()
            row[f"smallest_class_{key}"], row[f"smallest_name_{key}"] = fractions[smallest], classes[smallest]
            row[f"largest_class_{key}"], row[f"largest_name_{key}"] = fractions[largest], classes[largest]
        else:
            row[f"smallest_class_{key}"] = row[f"largest_class_{key}"] = 0.0
            row[f"smallest_name_{key}"] = row[f"largest_name_{key}"] = "(none)"
        row[f"largest_value_{key}"] = int(part["largest"].max())
        row[f"duplicates_{key}"] = int(repeated.sum())
        row[f"duplicate_fraction_{key}"] = repeated.mean()
        row[f"duplicate_indices_{key}"] = some(part["index"][repeated])
    shared = parts["test"]["hash"].isin(set(parts["train"]["hash"]))
    row["shared_images"] = int(shared.sum())
    row["shared_indices"] = some(parts["test"]["index"][shared])
    train, test = (part[COMPARED].to_numpy(np.float64).T for part in parts.values())
    shifts = [float(ks_2samp(*pair).statistic) for pair in zip(train, test, strict=True)]
    row["split_shift"] = max(shifts)
    row["split_shift_of"] = COMPARED[shifts.index(max(shifts))]
    for key, accuracy in centroid_accuracies(splits, len(classes), centroid_images).items():
        row[f"centroid_accuracy_{key}"] = accuracy
    return pd.DataFrame([row])


def some(indices: pd.Series) -> str:
    """The first ten indices as text, then an ellipsis if there are more."""
    return ", ".join(map(str, indices[:10])) + (", …" if len(indices) > 10 else "")


def centroid_accuracies(splits: dict[str, Split], classes: int, count: int) -> dict[str, float]:
    """For each split, how often the nearest class mean agrees with the label.

    At most `count` images of each split are used, evenly spaced. The class means always come from
    train, so that a test set with other labels is noticed too.
    """
    samples = {}
    for key, (images, labels, _) in splits.items():
        chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(np.intp)
        samples[key] = images[chosen].reshape(len(chosen), -1).astype(np.float32), labels[chosen]
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

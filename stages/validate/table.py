"""The tables that are checked: one row for each image, and one row for the set as a whole."""

import hashlib

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from stages.statistics import image_statistics
from stages.validate.raw import SPLITS, Split

COMPARED = ["mean_intensity", "standard_deviation", "ink_fraction"]  # in which train and test must be alike


def image_table(split: Split, name: str) -> pd.DataFrame:
    """One row for each image, in order: where it is, its label, its statistics, its hash and, if known, its writer."""
    images, labels, writers = split
    table = image_statistics(images)
    table.insert(0, "split", name)
    table.insert(1, "index", np.arange(len(images)))
    table.insert(2, "label", labels)
    table["hash"] = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images]
    if writers is not None:
        for column in writers.columns:  # the writer, and the series if it is known
            table[column] = writers[column].to_numpy()
    return table


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

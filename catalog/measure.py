"""The entry of a data set that was found: its classes, the bounds that it keeps today, what is odd about it."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from catalog.look import Found, named
from record.parameters import Dataset
from stages import datasets
from stages.common import parameters
from stages.common.entry import UserError
from stages.download.contents import MirrorError
from stages.download.params import Download, Source
from stages.download.parts import Parts, light_border, write_parts
from stages.download.sources import read_parts
from stages.idx import read_images
from stages.preprocess.params import Preprocess
from stages.preprocess.split import split_by_writer, split_stratified
from stages.validate import by_class, raw, table
from stages.validate.raw import Split

CENTROID_IMAGES = 20_000  # of each part, for the agreement with the nearest class mean
ALONE, PIXEL_ALONE = 0.93, 3  # `class_gap` and `pixel_gap` from which on a class may be known by one measure
SOME = 0.02  # of the images: fewer with another ink are oddities


def entry_of(name: str, found: Found, contents: Path) -> tuple[dict[str, Any], list[str]]:
    """The entry `name` of what was `found`, read as `download` reads it, and lines that tell a person.

    What its files hold is written to the folder `contents`. Raises `UserError` if it cannot be read.
    """
    settings = Download(dataset=name, timeout_seconds=5, attempts=1)
    try:
        source = parameters.check(f"{name}.source", found.source, Source, datasets.FILE)
        parts, done = read_parts(settings, source, contents)
    except MirrorError as error:
        raise UserError(str(error)) from None
    values = values_of(parts)
    if not 2 <= len(values) <= 256:
        raise UserError(f"{name}: {len(values)} different labels, must be 2 to 256: {', '.join(map(str, values[:5]))}")
    classes = found.classes if found.classes and len(found.classes) == len(values) else list(map(str, values))
    named(classes, Path(found.source.get("mirrors", [name])[0]))
    if values != list(range(len(values))):
        found.source["labels"] = values
    shapes = {part.images.shape[1:] for part in parts.values()}
    if found.source["kind"] == "idx" and any(height != width for height, width in shapes):
        raise UserError(f"{name}: images that are not square: import them as an .npz file")
    if all(len(shape) == 2 for shape in shapes):  # an image in colour has a subject rather than ink
        light = np.concatenate([light_border(part.images) for part in parts.values()]).mean()
        if light > SOME:
            found.source["ink"] = "dark" if light > 1 - SOME else "mixed"
    source = parameters.check(f"{name}.source", found.source, Source, datasets.FILE)
    with TemporaryDirectory() as folder:
        done += write_parts(parts, source, Path(folder))
        side = read_images(Path(folder), "train").shape[1]
        splits = {key: raw.read_split(Path(folder), prefix, side) for key, prefix in raw.SPLITS.items()}
        rows = pd.concat([table.image_table(splits[key], prefix) for key, prefix in raw.SPLITS.items()])
        images = rows.reset_index(drop=True)
        of_set = table.set_table(images, splits, classes, CENTROID_IMAGES)
        whole = {str(column): value for column, value in of_set.iloc[0].items()}
        if not whole["missing_train"]:
            of_classes, curious = class_bounds(splits, classes)
    if whole["missing_train"]:
        raise UserError(f"{name}: no training image of {whole['missing_train']}: add some, or take the class out")
    divisible(splits["train"])
    entry = {
        "about": {"title": name, "licence": "unknown", "citation": "", "homepage": ""},
        "classes": classes,
        "disputed": [],
        "prepare": prepare(images, side),
        "source": {key: found.source[key] for key in Source.model_fields if key in found.source},
        "expect": bounds(images, whole, side) | of_classes,
    }
    parameters.check(name, entry, Dataset, datasets.FILE)
    sizes = np.bincount(images["label"], minlength=len(classes))
    least, most = int(sizes.argmin()), int(sizes.argmax())
    return entry, [
        *done,
        f"{whole['train_images']:,} training and {whole['test_images']:,} test images of {side}×{side} pixels",
        f"{len(classes)} classes: {sizes[least]:,} images ({classes[least]}) to {sizes[most]:,} ({classes[most]})",
        *odd(images, whole),
        *curious,
        *both_sides(parts),
    ]


def divisible(train: raw.Split) -> None:
    """Raise `UserError` if `preprocess` could not split off validation images with its present parameters."""
    p = parameters.read("preprocess", Preprocess)
    if p.split_by_writer and train.writers is not None:
        split_by_writer(train.writers["writer"].to_numpy(), p.validation_fraction, p.seed)
    else:
        split_stratified(train.labels, p.validation_fraction, p.seed)


def both_sides(parts: Parts) -> list[str]:
    """A line if the source itself has groups that are in train and in test."""
    groups = [set(part.groups.tolist()) for part in parts.values() if part.groups is not None]
    shared = set.intersection(*groups) if len(groups) == 2 else set()
    return [f"odd: {len(shared):,} groups are in train and in test"] if len(shared) else []


def values_of(parts: Parts) -> list[Any]:
    """The different labels in the order of their classes: numbers by size, others by the alphabet."""
    labels = {str(label) for part in parts.values() for label in part.labels.tolist()}
    try:
        ordered = sorted(labels, key=float)
    except ValueError:
        return sorted(labels)
    whole = all(label.isdecimal() and str(int(label)) == label for label in labels)
    return list(map(int, ordered)) if whole else ordered


def prepare(images: pd.DataFrame, side: int) -> str:
    """How images of `side` pixels come to the network's size: those that are cropped to their ink into MNIST's box."""
    if side == parameters.read("preprocess", Preprocess).image_size:
        return "as is"
    return "box" if (images["box_size"] >= side).mean() > 0.5 else "fit"


def odd(images: pd.DataFrame, whole: dict[str, Any]) -> list[str]:
    """Lines about what a person may want to look at."""
    counts = {
        "of a single grey level": int((images["largest"] == images["smallest"]).sum()),
        "of the test part are in train too": whole["shared_images"],
        "repeat an earlier one": whole["duplicates_train"] + whole["duplicates_test"],
    }
    lines = [f"odd: {count:,} images {what}" for what, count in counts.items() if count]
    if (brightest := min(whole["largest_value_train"], whole["largest_value_test"])) < 128:
        lines.append(f"odd: the brightest pixel is {brightest} of 255")
    return lines + ([f"odd: no test image of {whole['missing_test']}"] if whole["missing_test"] else [])


def bounds(images: pd.DataFrame, whole: dict[str, Any], side: int) -> dict[str, Any]:
    """`expect` as these images keep it, with some room."""

    def both(column: str) -> list[float]:
        return [float(whole[f"{column}_{part}"]) for part in ("train", "test")]

    inked = images[images["largest"] > 0]
    ink, centres = images["ink_fraction"], inked[["centre_x", "centre_y"]].to_numpy()
    rarest = 0.0 if whole["missing_test"] else min(both("smallest_class"))
    return {
        "image_size": side,
        "train_images": int(whole["train_images"]),
        "test_images": int(whole["test_images"]),
        "class_fraction": [down(0.8 * rarest, 3), up(min(1, 1.2 * max(both("largest_class"))), 3)],
        "duplicate_fraction": up(min(1, max(both("duplicate_fraction")) + 0.001), 3),
        "shared_images": int(whole["shared_images"]),
        "ink_fraction": [down(0.8 * ink.min(), 3), up(min(1, 1.2 * ink.max()), 3)],
        "border_intensity": up(min(255, images["border_intensity"].max() + 5), 0),
        "distinct_values": int(images["distinct_values"].min()),
        "largest_value": max(1, int(min(both("largest_value")))),
        "centre_of_mass": [down(max(0, centres.min() - 0.5), 1), up(centres.max() + 0.5, 1)],
        "box_size": [down(inked["box_size"].min(), 0), up(inked["box_size"].max(), 0)],
        "split_shift": up(min(1, whole["split_shift"] + 0.05), 2),
        "centroid_accuracy": down(0.8 * min(both("centroid_accuracy")), 2),
    }


def class_bounds(splits: dict[str, Split], classes: list[str]) -> tuple[dict[str, Any], list[str]]:
    """`expect` as far as it is about classes, as these images keep it with some room; and lines about what is odd."""
    wholes = {key: by_class.of_split(split, len(classes)) for key, split in splits.items()}
    row = by_class.set_apart(wholes["train"], classes)
    groups = by_class.groups_apart(wholes, classes)
    group_gap = max(float(groups[f"group_gap_{key}"]) for key in wholes)
    known = by_class.reference(wholes, classes).model_dump()
    known["classes"] = [[*map(int, grid), rough] for *grid, rough in known["classes"]]
    gap, pixel_gap = float(row["class_gap"]), float(row["pixel_gap"])
    alone = {row["class_gap_of"]: (gap, ALONE, "class_gap_class")}
    alone[row["pixel_gap_at"]] = (pixel_gap, PIXEL_ALONE, "pixel_gap_class")
    return {
        "class_gap": up(min(1, gap + 0.05), 2),
        "pixel_gap": up(max(by_class.LEAST_PIXEL_GAP, 1.5 * pixel_gap), 1),
        "group_gap": up(max(by_class.LEAST_GROUP_GAP, 1.2 * group_gap), 1),
        "reference": known,
    }, [
        f"odd: class {row[name]} differs from every other in one measure, {what}: a network may learn only that"
        for what, (value, most, name) in alone.items()
        if value > most
    ] + [
        f"odd: {key}: a mark of {groups[f'group_gap_classes_{key}']} that all others lack,"
        f" {groups[f'group_gap_of_{key}']}: a network may learn only that"
        for key in wholes
        if float(groups[f"group_gap_{key}"]) > PIXEL_ALONE
    ]


def down(value: float, digits: int) -> float:
    """`value` rounded down; a whole number without digits."""
    return math.floor(value * 10**digits) / 10**digits if digits else math.floor(value)


def up(value: float, digits: int) -> float:
    return math.ceil(value * 10**digits) / 10**digits if digits else math.ceil(value)

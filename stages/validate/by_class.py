"""What the images of a class have in common: against a reference of it, and against the other classes.

Everything is counted in whole numbers, so that ranges add up to the same whatever their size.
"""

from typing import NamedTuple

import numpy as np

from stages.validate.params import GRID, Reference
from stages.validate.raw import Split
from stages.validate.table import BLOCK, columns

# What sets a class apart if it differs there from every other: the column, and what it is in words.
MEASURES = {
    "mean_intensity": "mean grey level",
    "standard_deviation": "contrast",
    "distinct_values": "number of grey levels",
    "smallest": "darkest pixel",
    "largest": "brightest pixel",
    "border_intensity": "brightness of the border",
    "roughness": "roughness",
    "centre_x": "centre of mass across",
    "centre_y": "centre of mass down",
    "box_size": "size of the bounding box",
}
IN_PIXELS = ("centre_x", "centre_y", "box_size")
HALF = 128  # grey levels: the most that a pixel can vary around its mean
# Other writers and pens differ by up to this; a shift by 1 pixel makes a distance of 8.
LEAST_DISTANCE, LEAST_ROUGHNESS = 4.0, 0.1
LEAST_PIXEL_GAP, LEAST_GROUP_GAP = 1.5, 1.2
SOME = 5  # classes that a message names


class ByClass(NamedTuple):
    """What the images of each class add up to."""

    images: np.ndarray  # how many: int64 [classes]
    sums: np.ndarray  # pixel by pixel: int64 [classes, height, width] or [… , 3]
    squares: np.ndarray  # the same of their squares
    measures: np.ndarray  # how many have each value, 0 to 255, of each of MEASURES: int64 [measures, classes, 256]

    def plus(self, other: "ByClass") -> "ByClass":
        """The same of these images and `other` ones."""
        return ByClass(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))


def none(classes: int, shape: tuple[int, ...]) -> ByClass:
    """The sums of no images, each of which would have this `shape`."""
    sums = np.zeros((classes, *shape), np.int64)
    return ByClass(np.zeros(classes, np.int64), sums, sums.copy(), np.zeros((len(MEASURES), classes, 256), np.int64))


def of_block(images: np.ndarray, labels: np.ndarray, table: dict[str, np.ndarray], classes: int) -> ByClass:
    """The sums of at most 65,536 `images` with their `labels`, of which the `table` has the `columns`."""
    whole = none(classes, images.shape[1:])
    for k in np.unique(labels[labels < classes]):
        members = images[labels == k]
        whole.images[k] = len(members)
        whole.sums[k] = members.sum(axis=0, dtype=np.uint32)
        whole.squares[k] = np.square(members, dtype=np.uint32).sum(axis=0, dtype=np.uint32)
    known = labels < classes
    for counts, name in zip(whole.measures, MEASURES, strict=True):
        values = np.nan_to_num(table[name][known]) * (255 / images.shape[1] if name in IN_PIXELS else 1)
        cells = labels[known].astype(np.intp) * 256 + np.clip(np.rint(values), 0, 255).astype(np.intp)
        counts += np.bincount(cells, minlength=256 * classes).reshape(classes, 256)
    return whole


def of_split(split: Split, classes: int) -> ByClass:
    """The sums of all images of a split."""
    whole = none(classes, split.images.shape[1:])
    for start in range(0, len(split.images), BLOCK):
        images, labels = (np.array(each[start : start + BLOCK]) for each in split[:2])
        whole = whole.plus(of_block(images, labels, columns(images, labels)[0], classes))
    return whole


def portrait(whole: ByClass) -> np.ndarray:
    """What each class looks like: mean grey level of the cells of a grid, row by row, and the mean roughness.

    float64 [classes, GRID² + 1]; a class without images has NaN.
    """
    return np.column_stack([_cells(_per_image(whole.sums, whole)), _roughness(whole)[0]])


def reference(wholes: dict[str, ByClass], classes: list[str]) -> Reference:
    """A reference of these classes as train shows them, with room for what differs in test."""
    values = [[*map(float, np.rint(row[:-1])), round(float(row[-1]), 1)] for row in portrait(wholes["train"])]
    exact = Reference(distance=LEAST_DISTANCE, roughness=LEAST_ROUGHNESS, classes=values)
    found = unlike(wholes, exact, classes)
    return exact.model_copy(
        update={
            "distance": max(LEAST_DISTANCE, float(np.ceil(3 * found["reference_distance_test"]))),
            "roughness": max(LEAST_ROUGHNESS, float(np.ceil(300 * found["reference_roughness_test"]) / 100)),
        }
    )


def unlike(wholes: dict[str, ByClass], known: Reference, classes: list[str]) -> dict[str, float | str]:
    """How far each split is from the reference, and the class that is farthest: columns of the row about the set.

    `reference_distance`: the mean difference in the cells of a class, in grey levels. `reference_roughness`: that of
    its roughness, as a fraction. What so many images differ by chance is taken off: the standard error of a cell (at
    most that of its single pixels), twice that of the roughness.
    """
    expected = np.array(known.classes)
    train = wholes["train"]
    spread, rough_spread = _cells(_deviations(train)).mean(axis=1), _roughness(train)[1]
    row: dict[str, float | str] = {}
    for key, whole in wholes.items():
        found, root = portrait(whole), np.sqrt(np.maximum(whole.images, 1))
        distances = np.abs(found - expected)[:, :-1].mean(axis=1) - spread / root
        scale = np.maximum(expected[:, -1], 1)
        roughness = (np.abs(found - expected)[:, -1] - 2 * rough_spread / root) / scale
        for name, values in (("distance", distances), ("roughness", roughness)):
            values = np.maximum(np.nan_to_num(values), 0)
            row[f"reference_{name}_{key}"] = float(values.max())
            row[f"reference_{name}_class_{key}"] = classes[int(values.argmax())]
    return row


def set_apart(train: ByClass, classes: list[str]) -> dict[str, float | str]:
    """How far the most unusual class is from every other one: columns of the row about the set.

    A network could learn this difference alone, and not the shape.

    `class_gap`: the Kolmogorov-Smirnov distance from the nearest other class in one of MEASURES, less what so few
    images differ by chance. `pixel_gap`: the difference of the means in one pixel, in standard deviations of both.
    """
    images = np.maximum(train.images, 1)
    shares = train.measures.cumsum(axis=2) / images[:, None]
    chance = np.sqrt(1 / images[:, None] + 1 / images)
    gaps = np.array([_nearest(np.abs(each[:, None] - each).max(axis=2) - chance, train) for each in shares])
    measure, k = np.unravel_index(gaps.argmax(), gaps.shape)

    means, deviations = _pixels(train)
    pixels = np.array([_nearest_pixels(k, means, deviations, train) for k in range(len(images))])
    owner, place = np.unravel_index(pixels.argmax(), pixels.shape)
    return {
        "class_gap": float(gaps.max()),
        "class_gap_of": list(MEASURES.values())[measure],
        "class_gap_class": classes[k],
        "pixel_gap": float(pixels.max()),
        "pixel_gap_class": classes[owner],
        "pixel_gap_at": _pixel_at(int(place), train),
    }


def groups_apart(wholes: dict[str, ByClass], classes: list[str]) -> dict[str, float | str]:
    """How far some classes are from all others, in each split: columns of the row about the set.

    `group_gap`: the classes are put in order by their means in a pixel or in one of MEASURES, and this is the widest
    step from one to the next, in standard deviations of both. A mark that several classes share leaves none of them
    far from its nearest, but makes such a step.
    """
    row: dict[str, float | str] = {}
    for key, whole in wholes.items():
        present = np.flatnonzero(whole.images)
        if len(present) < 2:
            row |= {f"group_gap_{key}": 0.0, f"group_gap_classes_{key}": "(none)", f"group_gap_of_{key}": "(none)"}
            continue
        places = whole.sums[0].size
        means, deviations = (np.hstack(each)[present] for each in zip(_pixels(whole), _measures(whole), strict=True))
        order = means.argsort(axis=0, kind="stable")
        ordered, spread = (np.take_along_axis(each, order, axis=0) for each in (means, deviations))
        steps = np.diff(ordered, axis=0) / (spread[1:] + spread[:-1])
        step, column = np.unravel_index(steps.argmax(), steps.shape)
        below, above = order[: step + 1, column], order[step + 1 :, column]
        group = sorted(present[below if len(below) < len(above) else above].tolist())
        what = list(MEASURES.values())[column - places] if column >= places else _pixel_at(int(column), whole)
        row[f"group_gap_{key}"] = float(steps[step, column])
        names = ", ".join(classes[k] for k in group[:SOME]) + ", …" * (len(group) > SOME)
        row[f"group_gap_classes_{key}"] = f"class {names}" if len(group) == 1 else f"classes {names}"
        row[f"group_gap_of_{key}"] = what
    return row


def _pixel_at(place: int, whole: ByClass) -> str:
    row, column = np.unravel_index(place, whole.sums.shape[1:])[:2]
    return f"the pixel at row {row}, column {column}"


def _pixels(whole: ByClass) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [classes, pixels], to which is added by what the mean of so few may be wrong."""
    count = len(whole.images)
    doubt = HALF / np.sqrt(np.maximum(whole.images, 1))[:, None]
    return _per_image(whole.sums, whole).reshape(count, -1), _deviations(whole).reshape(count, -1) + doubt


def _measures(whole: ByClass) -> tuple[np.ndarray, np.ndarray]:
    """The same of MEASURES, [classes, measures], which are whole numbers and vary less."""
    values = np.arange(256)
    means, squares = (_per_image((whole.measures @ each).T, whole) for each in (values, values**2))
    doubt = 0.5 + HALF / 8 / np.sqrt(np.maximum(whole.images, 1))[:, None]
    return means, np.sqrt(np.maximum(np.nan_to_num(squares - means**2), 0)) + doubt


def _nearest(distances: np.ndarray, whole: ByClass) -> np.ndarray:
    """The smallest of the `distances` [classes, classes] of each class from another one, 0 if it has no images."""
    present = whole.images > 0
    apart = np.where(np.eye(len(present), dtype=bool) | ~present, np.inf, distances).min(axis=1)
    return np.where(present & np.isfinite(apart), np.maximum(apart, 0), 0)


def _nearest_pixels(k: int, means: np.ndarray, deviations: np.ndarray, whole: ByClass) -> np.ndarray:
    """The same for each pixel of class `k`, in standard deviations."""
    nearest = np.full(means.shape[1], np.inf)
    for other in np.flatnonzero(whole.images):
        if other != k and whole.images[k]:
            np.minimum(nearest, np.abs(means[k] - means[other]) / (deviations[k] + deviations[other]), out=nearest)
    return np.where(np.isfinite(nearest), nearest, 0)


def _per_image(sums: np.ndarray, whole: ByClass) -> np.ndarray:
    """`sums` divided by the number of images of each class; NaN where there are none."""
    images = np.where(whole.images, whole.images, np.nan)
    return np.asarray(sums / images.reshape(-1, *[1] * (sums.ndim - 1)))


def _deviations(whole: ByClass) -> np.ndarray:
    """The standard deviation of each pixel of each class."""
    means = _per_image(whole.sums, whole)
    return np.asarray(np.sqrt(np.maximum(np.nan_to_num(_per_image(whole.squares, whole) - means**2), 0)))


def _roughness(whole: ByClass) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [classes] of the roughness."""
    counts, values = whole.measures[list(MEASURES).index("roughness")], np.arange(256)
    mean = _per_image(counts @ values, whole)
    return mean, np.sqrt(np.maximum(np.nan_to_num(_per_image(counts @ values**2, whole) - mean**2), 0))


def _cells(pixels: np.ndarray) -> np.ndarray:
    """The means in the cells of a grid, [classes, GRID²], of [classes, height, width] or [… , 3]."""
    pixels = pixels if pixels.ndim == 3 else pixels.mean(axis=3)
    edges = np.arange(GRID) * pixels.shape[1] // GRID
    sums = np.add.reduceat(np.add.reduceat(pixels, edges, axis=1), edges, axis=2)
    sizes = np.diff(edges, append=pixels.shape[1])
    return np.asarray((sums / np.outer(sizes, sizes)).reshape(len(pixels), -1))

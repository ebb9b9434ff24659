"""The pictures of the data report: PNG strips of images and SVG charts, the same bytes for the same data."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stages.corrections import Corrections, fingerprint
from stages.pages.figures import ACCENT, GREY, STEPS, inline_svg, logarithmic, percent
from stages.pages.png import data_address
from stages.statistics import intensity_counts
from stages.validate.raw import SPLITS, Split

WIDTH, HEIGHT = 300, 170  # points
COLOURS = {"train": ACCENT, "test": GREY}


def class_strips(split: Split, classes: list[str], count: int) -> list[tuple[str, str, str]]:
    """For each class its name, its mean image and `count` sample images side by side, as PNG data addresses.

    The samples are spread evenly over the class in file order. A class without images has empty addresses.
    """
    images, labels, _ = split
    strips = []
    for k, name in enumerate(classes):
        members = np.flatnonzero(labels == k)
        if not len(members):
            strips.append((name, "", ""))
            continue
        mean = images[members].mean(axis=0).round().astype(np.uint8)
        chosen = members[np.linspace(0, len(members) - 1, min(count, len(members))).astype(np.intp)]
        blanks = np.zeros((count - len(chosen), *images.shape[1:]), np.uint8)
        strips.append((name, data_address(mean), data_address(np.hstack([*images[chosen], *blanks]))))
    return strips


def corrected(found: Corrections, splits: dict[str, Split], classes: list[str]) -> list[tuple[str, str]]:
    """Each corrected or added image as the data address of a PNG, and what people decided about it."""
    sentences = {
        each.image: f"{classes[each.before]}: " + ("left out" if each.to is None else f"in truth {classes[each.to]}")
        for each in found.relabelled
    }
    shown = []
    if sentences:
        for images, _, _ in splits.values():
            prints = [fingerprint(image) for image in images]
            shown += [(data_address(images[k]), sentences[name]) for k, name in enumerate(prints) if name in sentences]
    return [*shown, *((data_address(each.image), f"added as {classes[each.label]}") for each in found.added)]


def charts(table: pd.DataFrame, splits: dict[str, Split], classes: list[str]) -> list[tuple[str, str, str]]:
    """Title, description and inline SVG of each chart; `table` has one row for each image of both splits."""
    parts = {key: table[table["split"] == name] for key, name in SPLITS.items()}
    return [
        ("Images per class", "Share of the set.", _class_sizes(parts, classes)),
        ("Pixel values", "Share of all pixels by grey level, logarithmic.", _pixel_values(splits)),
        ("Mean intensity", "Share of the images by mean grey level.", _distribution(parts, "mean_intensity")),
        (
            "Ink",
            "Share of the images by the share of their pixels of at least 128.",
            _distribution(parts, "ink_fraction", percent),
        ),
    ]


def _class_sizes(parts: dict[str, pd.DataFrame], classes: list[str]) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        positions = np.arange(len(classes))
        for shift, (key, part) in zip((-0.2, 0.2), parts.items(), strict=True):
            sizes = np.bincount(part["label"], minlength=len(classes))[: len(classes)] / len(part)
            axes.bar(positions + shift, sizes, 0.38, color=COLOURS[key], label=key, linewidth=0)
        axes.set_xticks(positions, classes, fontsize=max(4.0, min(9.0, 0.8 * WIDTH / len(classes))))
        if max(map(len, classes)) > 3:
            for text in axes.get_xticklabels():
                text.set(rotation=40, horizontalalignment="right", rotation_mode="anchor")
        _finish(figure, axes)

    return inline_svg("class-sizes", WIDTH, HEIGHT, paint)


def _pixel_values(splits: dict[str, Split]) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        edges = np.arange(0, 257, 8)
        for key, split in splits.items():
            counts = np.add.reduceat(intensity_counts(split.images), edges[:-1])
            _outline(axes, counts / counts.sum(), edges, key)
        axes.set_xticks([0, 64, 128, 192, 255])
        _finish(figure, axes)
        logarithmic(axes, "y", (1, 2, 5), percent)

    return inline_svg("pixel-values", WIDTH, HEIGHT, paint)


def _distribution(
    parts: dict[str, pd.DataFrame], column: str, formatter: Callable[[float, int | None], str] | None = None
) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        edges = np.histogram_bin_edges(np.concatenate([part[column] for part in parts.values()]), 32)
        for key, part in parts.items():
            counts, _ = np.histogram(part[column], edges)
            _outline(axes, counts / len(part), edges, key)
        if formatter:
            axes.xaxis.set_major_formatter(FuncFormatter(formatter))
        _finish(figure, axes)

    return inline_svg(column.replace("_", "-"), WIDTH, HEIGHT, paint)


def _outline(axes: Axes, heights: np.ndarray, edges: np.ndarray, key: str) -> None:
    """A histogram of a split. Train is drawn wide below test: if both agree, both are seen."""
    width, alpha = (3.0, 0.5) if key == "train" else (1.3, 1.0)
    axes.stairs(heights, edges, color=COLOURS[key], linewidth=width, alpha=alpha, label=key)


def _finish(figure: Figure, axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    figure.legend(loc="outside upper left", ncols=2)

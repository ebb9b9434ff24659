"""The pictures of the data report: PNG strips of images and SVG charts, the same bytes for the same data."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stages import arrays
from stages.corrections import Corrections, fingerprint
from stages.pages.figures import ACCENT, GREY, STEPS, inline_svg, logarithmic, percent, short
from stages.pages.png import data_address
from stages.validate.partial import Part
from stages.validate.raw import Split
from stages.validate.repeats import halves, places

WIDTH, HEIGHT = 300, 170  # points
COLOURS = {"train": ACCENT, "test": GREY}


def class_strips(split: Split, sums: np.ndarray, classes: list[str], count: int) -> list[tuple[str, str, str]]:
    """For each class its name, its mean image and `count` sample images side by side, as PNG data addresses.

    `sums` are those of the classes, pixel by pixel. The samples are spread evenly over the class in file order. A class
    without images has empty addresses.
    """
    images, labels, _ = split
    strips = []
    for k, name in enumerate(classes):
        members = np.flatnonzero(labels == k)
        if not len(members):
            strips.append((name, "", ""))
            continue
        mean = (sums[k] / len(members)).round().astype(np.uint8)
        chosen = members[np.linspace(0, len(members) - 1, min(count, len(members))).astype(np.intp)]
        blanks = np.zeros((count - len(chosen), *images.shape[1:]), np.uint8)
        strips.append((name, data_address(mean), data_address(np.hstack([*arrays.some(images, chosen), *blanks]))))
    return strips


def corrected(
    found: Corrections, splits: dict[str, Split], hashes: dict[str, np.ndarray], classes: list[str]
) -> list[tuple[str, str]]:
    """Each corrected or added image as the data address of a PNG, and what people decided about it."""
    sentences = {
        each.image: f"{classes[each.before]}: " + ("left out" if each.to is None else f"in truth {classes[each.to]}")
        for each in found.relabelled
    }
    wanted = halves(list(sentences))
    shown = []
    for key, split in splits.items():
        for image in arrays.some(split.images, places(hashes[key], wanted)):
            if sentence := sentences.get(fingerprint(image)):
                shown.append((data_address(image), sentence))
    return [*shown, *((data_address(each.image), f"added as {classes[each.label]}") for each in found.added)]


def charts(wholes: dict[str, Part], classes: list[str]) -> list[tuple[str, str, str]]:
    """Title, description and inline SVG of each chart, from what each split comes to."""
    return [
        ("Images per class", "Share of the set.", _class_sizes(wholes, classes)),
        ("Pixel values", "Share of all pixels by grey level, logarithmic.", _pixel_values(wholes)),
        ("Mean intensity", "Share of the images by mean grey level.", _distribution(wholes, "mean_intensity")),
        (
            "Ink",
            "Share of the images by the share of their pixels of at least 128.",
            _distribution(wholes, "ink_fraction", percent),
        ),
    ]


def _class_sizes(wholes: dict[str, Part], classes: list[str]) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        positions = np.arange(len(classes))
        for shift, (key, whole) in zip((-0.2, 0.2), wholes.items(), strict=True):
            sizes = whole.tally.labels[: len(classes)] / whole.tally.labels.sum()
            axes.bar(positions + shift, sizes, 0.38, color=COLOURS[key], label=key, linewidth=0)
        names = [short(name) for name in classes]
        axes.set_xticks(positions, names, fontsize=max(4.0, min(9.0, 0.8 * WIDTH / len(classes))))
        if max(map(len, classes)) > 3:
            for text in axes.get_xticklabels():
                text.set(rotation=40, horizontalalignment="right", rotation_mode="anchor")
        _finish(figure, axes)

    return inline_svg("class-sizes", WIDTH, HEIGHT, paint)


def _pixel_values(wholes: dict[str, Part]) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        edges = np.arange(0, 257, 8)
        for key, whole in wholes.items():
            counts = np.add.reduceat(whole.pixels, edges[:-1])
            _outline(axes, counts / counts.sum(), edges, key)
        axes.set_xticks([0, 64, 128, 192, 255])
        _finish(figure, axes)
        logarithmic(axes, "y", (1, 2, 5), percent)

    return inline_svg("pixel-values", WIDTH, HEIGHT, paint)


def _distribution(
    wholes: dict[str, Part], column: str, formatter: Callable[[float, int | None], str] | None = None
) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        values = {key: whole.tally.values[column] for key, whole in wholes.items()}
        edges = np.histogram_bin_edges(np.concatenate([each.values for each in values.values()]), 32)
        for key, each in values.items():
            counts, _ = np.histogram(each.values, edges, weights=each.counts)
            _outline(axes, counts / each.counts.sum(), edges, key)
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

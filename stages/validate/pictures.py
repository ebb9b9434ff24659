"""The pictures of the data report: PNG strips of images and SVG charts, the same bytes for the same data."""

import base64
import io
import re

import matplotlib
import numpy as np
import pandas as pd
from PIL import Image

from stages.validate.raw import SPLITS, Split
from stages.validate.table import intensity_counts

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

TRAIN, TEST, TEXT = "#2f6fde", "#d97b1f", "#5b6470"
# Train is drawn wide below test: where both agree, both are seen.
LINES = ({"color": TRAIN, "linewidth": 3, "alpha": 0.6}, {"color": TEST, "linewidth": 1.4})
STYLE = {
    "svg.hashsalt": "validate",
    "svg.fonttype": "none",  # text stays text: it takes the page's font and can be selected
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": TEXT,
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": TEXT,
    "grid.alpha": 0.2,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def class_strips(split: Split, classes: list[str], count: int) -> list[tuple[str, str, str]]:
    """Per class its name, its mean image and `count` sample images side by side, as PNG data addresses.

    The samples are spread evenly over the class in file order. A class without images has empty addresses.
    """
    images, labels, _ = split
    strips = []
    for k, name in enumerate(classes):
        where = np.flatnonzero(labels == k)
        if not len(where):
            strips.append((name, "", ""))
            continue
        mean = images[where].mean(axis=0).round().astype(np.uint8)
        chosen = where[np.linspace(0, len(where) - 1, min(count, len(where))).astype(np.intp)]
        blanks = np.zeros((count - len(chosen), *images.shape[1:]), np.uint8)
        strips.append((name, _png(mean), _png(np.hstack([*images[chosen], *blanks]))))
    return strips


def _png(image: np.ndarray) -> str:
    """A greyscale PNG (uint8 [height, width]) as a data address, ink dark on white as on paper."""
    content = io.BytesIO()
    Image.fromarray(255 - image).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def charts(table: pd.DataFrame, splits: dict[str, Split], classes: list[str]) -> list[tuple[str, str, str]]:
    """Title, description and inline SVG of each chart; `table` has one row per image of both splits."""
    parts = {key: table[table["split"] == name] for key, name in SPLITS.items()}
    with matplotlib.rc_context(STYLE):
        return [
            ("Images per class", "as a fraction of the set", _class_sizes(parts, classes)),
            ("Pixel values", "fraction of all pixels, logarithmic", _pixel_values(splits)),
            (
                "Mean intensity of an image",
                "fraction of the images, by intensity",
                _distribution(parts, "mean_intensity"),
            ),
            (
                "Ink of an image",
                "fraction of the images, by fraction of their pixels of at least 128",
                _distribution(parts, "ink_fraction"),
            ),
        ]


def _class_sizes(parts: dict[str, pd.DataFrame], classes: list[str]) -> str:
    figure, axes = _axes()
    positions = np.arange(len(classes))
    for key, shift, colour in (("train", -0.2, TRAIN), ("test", 0.2, TEST)):
        sizes = np.bincount(parts[key]["label"], minlength=len(classes))[: len(classes)] / len(parts[key])
        axes.bar(positions + shift, sizes, 0.38, color=colour, label=key)
    turned = {"rotation": 40, "ha": "right"} if max(map(len, classes)) > 3 else {}
    axes.set_xticks(positions, classes, **turned)
    axes.grid(visible=False, axis="x")
    return _svg(figure, axes)


def _pixel_values(splits: dict[str, Split]) -> str:
    figure, axes = _axes()
    edges = np.arange(0, 257, 8)
    for (key, split), line in zip(splits.items(), LINES, strict=True):
        counts = np.add.reduceat(intensity_counts(split.images), edges[:-1])
        axes.stairs(counts / counts.sum(), edges, label=key, **line)
    axes.set_yscale("log")
    axes.set_xticks([0, 64, 128, 192, 255])
    return _svg(figure, axes)


def _distribution(parts: dict[str, pd.DataFrame], column: str) -> str:
    figure, axes = _axes()
    edges = np.histogram_bin_edges(np.concatenate([part[column] for part in parts.values()]), 32)
    for (key, part), line in zip(parts.items(), LINES, strict=True):
        counts, _ = np.histogram(part[column], edges)
        axes.stairs(counts / len(part), edges, label=key, **line)
    return _svg(figure, axes)


def _axes() -> tuple[Figure, pyplot.Axes]:
    figure = Figure(figsize=(5, 2.7), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, axes: pyplot.Axes) -> str:
    """`figure` as an SVG element whose grey and blue follow the page's colours."""
    axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    axes.tick_params(length=3)
    content = io.StringIO()
    figure.savefig(
        content, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = content.getvalue()
    # The names of groups ("axes_1") would be there once per chart, and nothing refers to them.
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])
    return text.replace(TEXT, "currentColor").replace(TRAIN, "var(--accent)")

"""The pictures of the page: inline SVG whose colours are the page's own, so that they follow it into dark and print.

Every function returns one `<svg>` element as text. Text stays text (selectable, in the page's font);
matplotlib measures it in DejaVu Sans, which it ships, so that the layout is the same on every machine.
"""

import base64
import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

INK, GREY, LINE = "#1d2430", "#5b6470", "#dfe3e8"
ACCENT, GOOD, BAD = "#2f6fde", "#1a7f4b", "#c4314b"
VARIABLES = {INK: "ink", GREY: "grey", LINE: "line", ACCENT: "accent", GOOD: "good", BAD: "bad"}

WIDTH = 300  # points: half a page on a desk, a whole one on a phone
MANY = 12  # classes beyond which pictures by class take the whole width
STEPS = [1, 2, 2.5, 5, 10]
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "figure.constrained_layout.use": True,
    "axes.edgecolor": LINE,
    "axes.labelcolor": GREY,
    "axes.labelsize": 9,
    "axes.labelpad": 6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": GREY,
    "ytick.labelcolor": GREY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 5,
    "ytick.major.pad": 5,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.6,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
}


def labels(classes: list[str]) -> list[str]:
    """Class names as the page shows them: `0 お` where a reader's fonts may lack the name's letters."""
    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    if all(font.get_char_index(ord(letter)) for name in classes for letter in name):
        return list(classes)
    return [f"{index} {name}" for index, name in enumerate(classes)]


def training_curve(epochs: np.ndarray, training: np.ndarray, validation: np.ndarray, quantity: str) -> str:
    """`quantity` ("loss" or "accuracy") by epoch; three arrays (epochs,)."""

    def paint(figure: Figure, axes: Axes) -> None:
        marker = "o" if len(epochs) < 3 else None
        axes.plot(epochs, training, color=GREY, label="training", marker=marker, markersize=5)
        axes.plot(epochs, validation, color=ACCENT, label="validation", marker=marker, markersize=5)
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.set_xlim(epochs[0] - 0.5 * (len(epochs) == 1), epochs[-1] + 0.5 * (len(epochs) == 1))
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=STEPS, integer=True))
        values = np.concatenate([training, validation])
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(value, 6):g}"))
        if quantity == "accuracy":
            axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        elif values.min() > 0 and values.max() > 5 * values.min():
            _logarithmic(axes, "y", (1, 2, 5), lambda value, _: f"{value:g}")
            axes.set_ylabel("loss (logarithmic)")
        figure.legend(loc="outside upper left", ncols=2, labelcolor=GREY)

    return _draw(quantity, 205, paint)


def confusion_matrix(matrix: np.ndarray, names: list[str]) -> str:
    """Counts of a matrix (classes, classes), rows actual; only mistakes are coloured, the diagonal stays quiet."""
    size = len(names)
    width = WIDTH if size <= MANY else 2 * WIDTH
    # A letter of the tick labels takes about 6 points.
    long = 6 * max(map(len, names)) > 0.8 * width / size
    mistakes = matrix - np.diag(matrix.diagonal())
    largest = max(1, int(mistakes.max()))
    font = min(9.0, 1.05 * width / size / max(3, len(str(matrix.max()))))

    def paint(figure: Figure, axes: Axes) -> None:
        for actual in range(size):
            for predicted in range(size):
                number = int(matrix[actual, predicted])
                right = actual == predicted
                if number == 0 and not right:
                    continue
                # The square root keeps single mistakes visible beside frequent ones.
                strength = 0.13 if right else 0.12 + 0.5 * (number / largest) ** 0.5
                corner = (predicted - 0.47, actual - 0.47)
                axes.add_patch(
                    Rectangle(corner, 0.94, 0.94, color=ACCENT if right else BAD, alpha=strength, linewidth=0)
                )
                colour = GREY if right else INK
                place = {"ha": "center", "va": "center_baseline", "fontsize": font}
                axes.text(predicted, actual, str(number), color=colour, **place)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        rotation = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
        small = max(5.0, min(9.0, 0.7 * width / size))
        axes.set_xticks(range(size), names, fontsize=small, **rotation)
        axes.set_yticks(range(size), names, fontsize=small)
        axes.set_xlabel("predicted")
        axes.set_ylabel("actual")

    return _draw("confusion", width * 0.99, paint, width)


def proportions(rows: list[dict[str, Any]], names: list[str], overall: float, quantity: str) -> str:
    """A dot with its 95% interval for each of `rows` (right, support, low, high); `overall` as a line beside them."""

    def paint(figure: Figure, axes: Axes) -> None:
        places = np.arange(len(rows))
        shares = [row["right"] / row["support"] if row["support"] else np.nan for row in rows]
        lows, highs = [row["low"] for row in rows], [row["high"] for row in rows]
        axes.axvline(overall, color=GREY, linewidth=1, linestyle=(0, (3, 3)), label="all images")
        axes.hlines(places, lows, highs, color=ACCENT, linewidth=2.2, alpha=0.45, label="95% interval")
        axes.plot(shares, places, "o", color=ACCENT, markersize=6.5, label=quantity)
        axes.set_yticks(places, names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        lowest = min([*lows, overall])
        axes.set_xlim(lowest - 0.04 * (1 - lowest), 1 + 0.02 * (1 - lowest) + 1e-9)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(_percent))
        axes.grid(False, axis="y")
        axes.grid(True, axis="x")
        axes.set_xlabel(quantity)
        handles, words = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], words[::-1], loc="outside upper left", ncols=3, labelcolor=GREY)

    few = len(rows) <= MANY
    return _draw(f"{quantity}-by-group", 60 + (23.5 if few else 15) * len(rows), paint, WIDTH if few else 2 * WIDTH)


def confidence_histogram(confidence: np.ndarray, right: np.ndarray) -> str:
    """How sure the model was where it was right and where it was wrong: float (images,) and bool (images,)."""

    def paint(figure: Figure, axes: Axes) -> None:
        edges = np.linspace(0, 1, 21)
        for chosen, colour, label, shift in ((right, GOOD, "right", 0.0145), (~right, BAD, "wrong", 0.0355)):
            counts, _ = np.histogram(confidence[chosen], edges)
            axes.bar(edges[:-1] + shift, counts, 0.019, color=colour, linewidth=0, label=label)
        _logarithmic(axes, "y", (1,), lambda value, _: f"{value:,.0f}")
        axes.set_ylim(0.5, 2 * max(1, len(confidence)))
        axes.set_xlim(min(0.3, confidence.min(initial=1) - 0.02), 1.005)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(_percent))
        axes.set_xlabel("confidence of the answer")
        axes.set_ylabel("images (logarithmic)")
        figure.legend(loc="outside upper left", ncols=2, labelcolor=GREY)

    return _draw("confidence", 240, paint)


def reliability(bins: list[dict[str, str]]) -> str:
    """Accuracy by confidence, with 95% intervals; `bins` are the rows of reliability.csv."""
    filled = [row for row in bins if int(row["images"])]

    def paint(figure: Figure, axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (3, 3)), label="perfectly calibrated")
        sure = np.array([float(row["confidence"]) for row in filled])
        accuracy = np.array([float(row["accuracy"]) for row in filled])
        images = np.array([int(row["images"]) for row in filled])
        low, high = ([float(row[f"accuracy_{end}"]) for row in filled] for end in ("low", "high"))
        axes.vlines(sure, low, high, color=ACCENT, linewidth=2.2, alpha=0.45)
        axes.scatter(
            sure, accuracy, 14 + 12 * np.log10(images), color=ACCENT, linewidth=0, label="bin of images", zorder=3
        )
        lowest = min(0.5, max(0.0, min(sure, default=0.0) - 0.05))
        axes.set_xlim(lowest, 1.01)
        axes.set_ylim(0, 1.03)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, steps=STEPS))
            axis.set_major_formatter(FuncFormatter(_percent))
        axes.set_xlabel("confidence of the answer")
        axes.set_ylabel("answers that are right")
        figure.legend(loc="outside upper left", ncols=2, labelcolor=GREY)

    return _draw("reliability", 240, paint)


def robustness(rows: list[dict[str, Any]], clean: float) -> str:
    """A small chart for each of `rows` (of `tables.robustness_rows`) and one of their mean: accuracy by severity.

    The dashed line is `clean`, the accuracy on the images as they are; the last severity's is written beside it.
    """
    curves = {row["name"]: row["accuracies"] for row in rows}
    curves["all of them"] = [sum(severity) / len(rows) for severity in zip(*curves.values(), strict=True)]
    lowest = max(0.0, min(map(min, curves.values())) - 0.06)

    def paint(figure: Figure, grid: np.ndarray) -> None:
        figure.get_layout_engine().set(wspace=0.08)
        for axes, (name, accuracies) in zip(grid.flat, curves.items(), strict=False):
            severities = np.arange(1, len(accuracies) + 1)
            colour = ACCENT if name in [row["name"] for row in rows] else INK
            axes.axhline(clean, color=GREY, linewidth=1, linestyle=(0, (3, 3)))
            axes.plot(severities, accuracies, "o-", color=colour, markersize=3.5)
            axes.set_title(name, loc="left", fontsize=9, color=INK)
            axes.set_title(f"{accuracies[-1]:.1%}", loc="right", fontsize=9, color=colour)
            axes.set_xticks(severities)
            axes.set_xlim(0.7, len(accuracies) + 0.3)
            axes.set_ylim(lowest, 1 + 0.04 * (1 - lowest))
            axes.yaxis.set_major_locator(MaxNLocator(3, steps=STEPS))
            axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        for axes in grid.flat[len(curves) :]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel("severity")

    lines = -(-len(curves) // 2)
    return _draw("robustness", 28 + 88 * lines, paint, rows=lines, columns=2)


def roc(points: list[dict[str, str]], classes: list[str], names: list[str]) -> str:
    """One curve a class against the rest, the false positive rate logarithmic; the two hardest classes stand out.

    `points` are the rows of roc.csv, `names` what the legend calls the `classes`.
    """
    curves = {}
    for name in classes:
        rows = [row for row in points if row["class"] == name]
        false = np.array([float(row["false_positive_rate"]) for row in rows])
        true = np.array([float(row["true_positive_rate"]) for row in rows])
        if len(rows) > 1:
            curves[name] = (false, true)
    # Ranked by the area, which a straight line between the points gives well enough.
    areas = {name: float(((true[1:] + true[:-1]) / 2 * np.diff(false)).sum()) for name, (false, true) in curves.items()}
    hardest = sorted(areas, key=lambda name: (areas[name], classes.index(name)))[:2]
    positive = [false[false > 0].min() for false, _ in curves.values() if (false > 0).any()]
    floor = max(1e-5, min(positive, default=1e-3) / 2)

    def paint(figure: Figure, axes: Axes) -> None:
        for name, (false, true) in curves.items():
            step = max(1, len(false) // 150)
            keep = np.unique(np.append(np.arange(0, len(false), step), len(false) - 1))
            colour = {hardest[0]: BAD, hardest[-1]: ACCENT}.get(name, GREY)
            look = {"linewidth": 1.8, "zorder": 3, "label": names[classes.index(name)]}
            look = look if name in hardest else {"linewidth": 1, "alpha": 0.45}
            axes.plot(np.maximum(false[keep], floor), true[keep], color=colour, drawstyle="steps-post", **look)
        if len(curves) > 2:
            axes.plot([], [], color=GREY, linewidth=1, alpha=0.45, label="the other classes")
        _logarithmic(axes, "x", (1,), lambda value, _: f"{100 * value:g}%")
        axes.set_xlim(floor, 1)
        starts = [float(true[false <= 10 * floor].max(initial=0)) for false, true in curves.values()]
        lowest = max(0.0, min(starts, default=0.0) - 0.05)
        axes.set_ylim(lowest, 1 + 0.02 * (1 - lowest))
        axes.yaxis.set_major_formatter(FuncFormatter(_percent))
        axes.set_xlabel("false positive rate (logarithmic)")
        axes.set_ylabel("true positive rate")
        figure.legend(loc="outside upper left", ncols=3, labelcolor=GREY)

    return _draw("roc", 256, paint)


def png(image: np.ndarray) -> str:
    """A uint8 image (height, width) as a `data:` address of a grey PNG."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(image, np.uint8))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _draw(
    name: str, height: float, paint: Callable[..., None], width: float = WIDTH, rows: int = 1, columns: int = 1
) -> str:
    """Paint one figure of `width` × `height` points; its ids get `name` in front, for one page holds many.

    `paint` gets the figure and its axes, an array (`rows`, `columns`) of them where there are several.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        # A letter DejaVu lacks is drawn by the browser, whose fonts have it or don't as in the page around.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        logging.getLogger("matplotlib.mathtext").setLevel(logging.ERROR)
        figure = Figure((width / 72, height / 72))
        paint(figure, figure.subplots(rows, columns, sharex=True, sharey=True))
        drawn = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<defs>\s*</defs>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*viewBox=\"([^\"]*)\"[^>]*>", r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    svg = svg.replace("xlink:href", "href").replace('id="', f'id="{name}-')
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg


def _percent(share: float, _: int = 0) -> str:
    return f"{round(100 * share, 4):g}%"


def _logarithmic(axes: Axes, which: str, steps: tuple[int, ...], formatter: Callable[[float, int], str]) -> None:
    axes.set(**{f"{which}scale": "log"})
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(formatter))

"""The pictures of the page: inline SVG whose colours are the page's own, so that they follow it into dark and print.

Every function returns one `<svg>` element as text.
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from stages.pages.figures import ACCENT, BAD, GOOD, GREY, INK, STEPS, inline_svg, logarithmic, percent, short

WIDTH = 300  # points: half a page on a desk, a whole one on a phone
MANY = 12  # classes beyond which pictures by class take the whole width
DASHED = (0, (3, 3))


def labels(classes: list[str]) -> list[str]:
    """Class names as the page shows them: `0 お` if a reader's fonts may lack the name's letters."""
    font = get_font(findfont(FontProperties(family="DejaVu Sans")))
    if all(font.get_char_index(ord(letter)) for name in classes for letter in name):
        return list(classes)
    return [f"{index} {name}" for index, name in enumerate(classes)]


def training_curve(epochs: np.ndarray, training: np.ndarray, validation: np.ndarray, quantity: str) -> str:
    """`quantity` ("loss" or "accuracy") by epoch; three arrays (epochs,)."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
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
            axes.yaxis.set_major_formatter(FuncFormatter(percent))
        elif values.min() > 0 and values.max() > 5 * values.min():
            logarithmic(axes, "y", (1, 2, 5), lambda value, _: f"{value:g}")
            axes.set_ylabel("loss (logarithmic)")
        figure.legend(loc="outside upper left", ncols=2)

    return inline_svg(quantity, WIDTH, 205, paint)


def confusion_matrix(matrix: np.ndarray, names: list[str], cells: list[dict[str, Any]]) -> str:
    """Counts of a matrix (classes, classes), rows actual; only mistakes are coloured, the diagonal stays quiet.

    Each of `cells` (of `cells.shown`) becomes a link to the element of the page that has its id.
    """
    links = {f"#{cell['place']}": f"{cell['title']}: {cell['images']:,}" for cell in cells}
    size = len(names)
    names = [short(name) for name in names]
    width = WIDTH if size <= MANY else 2 * WIDTH
    # A letter of the tick labels takes about 6 points.
    long = 6 * max(map(len, names)) > 0.8 * width / size
    mistakes = matrix - np.diag(matrix.diagonal())
    largest = max(1, int(mistakes.max()))
    font = min(9.0, 1.05 * width / size / max(3, len(str(matrix.max()))))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for actual in range(size):
            for predicted in range(size):
                number = int(matrix[actual, predicted])
                right = actual == predicted
                if number == 0 and not right:
                    continue
                # The square root keeps single mistakes visible beside frequent ones.
                strength = 0.13 if right else 0.12 + 0.5 * (number / largest) ** 0.5
                colour, ink = (ACCENT, GREY) if right else (BAD, INK)
                corner = (predicted - 0.47, actual - 0.47)
                address = f"#{actual}-{predicted}"
                url = address if address in links else None
                axes.add_patch(Rectangle(corner, 0.94, 0.94, color=colour, alpha=strength, linewidth=0, url=url))
                axes.text(predicted, actual, str(number), ha="center", va="center_baseline", fontsize=font, color=ink)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        small = max(5.0, min(9.0, 0.7 * width / size))
        axes.set_xticks(range(size), names, fontsize=small)
        axes.set_yticks(range(size), names, fontsize=small)
        if long:
            for text in axes.get_xticklabels():
                text.set(rotation=45, horizontalalignment="right", rotation_mode="anchor")
        axes.set_xlabel("predicted")
        axes.set_ylabel("actual")

    return inline_svg("confusion", width, width * 0.99, paint, links)


def proportions(rows: list[dict[str, Any]], names: list[str], overall: float, quantity: str) -> str:
    """A dot with its 95 % interval for each of `rows` (right, support, low, high); a dashed line at `overall`."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        places = np.arange(len(rows))
        shares = [row["right"] / row["support"] if row["support"] else np.nan for row in rows]
        lows, highs = [row["low"] for row in rows], [row["high"] for row in rows]
        axes.axvline(overall, color=GREY, linewidth=1, linestyle=DASHED, label="all images")
        axes.hlines(places, lows, highs, color=ACCENT, linewidth=2.2, alpha=0.45, label="95 % interval")
        axes.plot(shares, places, "o", color=ACCENT, markersize=6.5, label=quantity)
        axes.set_yticks(places, [short(name) for name in names])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        lowest = min([*lows, overall])
        axes.set_xlim(lowest - 0.04 * (1 - lowest), 1 + 0.02 * (1 - lowest) + 1e-9)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(percent))
        axes.grid(False, axis="y")
        axes.grid(True, axis="x")
        axes.set_xlabel(quantity)
        handles, words = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], words[::-1], loc="outside upper left", ncols=3)

    width, line = (WIDTH, 23.5) if len(rows) <= MANY else (2 * WIDTH, 15)
    return inline_svg(f"{quantity}-by-group", width, 60 + line * len(rows), paint)


def confidence_histogram(confidence: np.ndarray, right: np.ndarray) -> str:
    """How confident right and wrong predictions are: `confidence` float (images,), `right` bool (images,)."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        edges = np.linspace(0, 1, 21)
        for chosen, colour, label, shift in ((right, GOOD, "right", 0.0145), (~right, BAD, "wrong", 0.0355)):
            counts, _ = np.histogram(confidence[chosen], edges)
            axes.bar(edges[:-1] + shift, counts, 0.019, color=colour, linewidth=0, label=label)
        logarithmic(axes, "y", (1,), lambda value, _: f"{value:,.0f}")
        axes.set_ylim(0.5, 2 * max(1, len(confidence)))
        axes.set_xlim(min(0.3, confidence.min(initial=1) - 0.02), 1.005)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(percent))
        axes.set_xlabel("confidence of the prediction")
        axes.set_ylabel("images (logarithmic)")
        figure.legend(loc="outside upper left", ncols=2)

    return inline_svg("confidence", WIDTH, 240, paint)


def reliability(bins: list[dict[str, str]]) -> str:
    """Accuracy by confidence, with 95 % intervals; `bins` are the rows of reliability.csv."""
    filled = [row for row in bins if int(row["images"])]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=DASHED, label="perfectly calibrated")
        confidence = np.array([float(row["confidence"]) for row in filled])
        accuracy = np.array([float(row["accuracy"]) for row in filled])
        images = np.array([int(row["images"]) for row in filled])
        low, high = ([float(row[f"accuracy_{end}"]) for row in filled] for end in ("low", "high"))
        axes.vlines(confidence, low, high, color=ACCENT, linewidth=2.2, alpha=0.45)
        area = 14 + 12 * np.log10(images)
        axes.scatter(confidence, accuracy, area, color=ACCENT, linewidth=0, label="bin of images", zorder=3)
        lowest = min(0.5, max(0.0, min(confidence, default=0.0) - 0.05))
        axes.set_xlim(lowest, 1.01)
        axes.set_ylim(0, 1.03)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5, steps=STEPS))
            axis.set_major_formatter(FuncFormatter(percent))
        axes.set_xlabel("confidence of the prediction")
        axes.set_ylabel("predictions that are right")
        figure.legend(loc="outside upper left", ncols=2)

    return inline_svg("reliability", WIDTH, 240, paint)


def coverage(confidence: np.ndarray, right: np.ndarray, rows: list[dict[str, Any]]) -> str:
    """Accuracy of the surest images by their share of all, from 90 %; `confidence` and `right` as for the histogram.

    A dot stands for each of the `rows`, those of `tables.coverage_rows`.
    """
    total = len(right)
    most = np.unique(np.linspace(0, total // 10, 101).astype(np.intp))  # of the least sure images, how many are refused
    ordered = right[confidence.argsort(kind="stable")]
    wrong = total - np.count_nonzero(right)
    lost = np.concatenate([[0], np.cumsum(~ordered[: most[-1]])])  # mistakes among the refused
    accuracy = 1 - (wrong - lost[most]) / (total - most)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(1 - most / total, accuracy, color=ACCENT)
        dots = [(1 - row["refused"] / total, row["accuracy"]) for row in rows]
        axes.plot(*zip(*dots, strict=True), "o", color=ACCENT, markersize=6.5)
        axes.set_xlim(1.003, 0.897)
        highest = accuracy.max()
        room = max(highest - accuracy.min(), 0.001)
        axes.set_ylim(highest - 1.1 * room, highest + 0.1 * room)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(percent))
        axes.set_xlabel("coverage: images that are not refused")
        axes.set_ylabel("accuracy of these images")

    return inline_svg("coverage", WIDTH, 205, paint)


def robustness(rows: list[dict[str, Any]], clean: float) -> str:
    """A small chart for each of `rows` (of `tables.robustness_rows`) and one of their mean: accuracy by severity.

    The dashed line is `clean`, the accuracy on unchanged images. Each title gives the accuracy at the highest severity.
    """
    curves = {row["name"]: row["accuracies"] for row in rows}
    curves["all of them"] = [sum(severity) / len(rows) for severity in zip(*curves.values(), strict=True)]
    lowest = max(0.0, min(map(min, curves.values())) - 0.06)
    lines = -(-len(curves) // 2)

    def paint(figure: Figure) -> None:
        figure.set_layout_engine("constrained", wspace=0.08, h_pad=0.07)
        grid = figure.subplots(lines, 2, sharex=True, sharey=True, squeeze=False)
        for axes, (name, accuracies) in zip(grid.flat, curves.items(), strict=False):
            severities = np.arange(1, len(accuracies) + 1)
            colour = INK if name == "all of them" else ACCENT
            axes.axhline(clean, color=GREY, linewidth=1, linestyle=DASHED)
            axes.plot(severities, accuracies, "o-", color=colour, markersize=3.5)
            axes.set_title(name, loc="left", fontsize=9, color=INK)
            axes.set_title(f"{accuracies[-1]:.1%}", loc="right", fontsize=9, color=colour)
            axes.set_xticks(severities)
            axes.set_xlim(0.7, len(accuracies) + 0.3)
            axes.set_ylim(lowest, 1 + 0.04 * (1 - lowest))
            axes.yaxis.set_major_locator(MaxNLocator(3, steps=STEPS))
            axes.yaxis.set_major_formatter(FuncFormatter(percent))
        for axes in grid.flat[len(curves) :]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel("severity")

    return inline_svg("robustness", WIDTH, 28 + 90 * lines, paint)


def roc(points: list[dict[str, str]], classes: list[str], names: list[str]) -> str:
    """A curve for each class against the rest, false positive rate logarithmic; the two hardest classes stand out.

    `points` are the rows of roc.csv; the legend calls the `classes` by `names`.
    """
    curves = {}
    for name in classes:
        rows = [row for row in points if row["class"] == name]
        false = np.array([float(row["false_positive_rate"]) for row in rows])
        true = np.array([float(row["true_positive_rate"]) for row in rows])
        if len(rows) > 1:
            curves[name] = (false, true)
    # Ranked by area under the curve, by the trapezoidal rule.
    areas = {name: float(((true[1:] + true[:-1]) / 2 * np.diff(false)).sum()) for name, (false, true) in curves.items()}
    hardest = sorted(areas, key=lambda name: (areas[name], classes.index(name)))[:2]
    positive = [false[false > 0].min() for false, _ in curves.values() if (false > 0).any()]
    floor = max(1e-5, min(positive, default=1e-3) / 2)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for name, (false, true) in curves.items():
            step = max(1, len(false) // 150)
            keep = np.unique(np.append(np.arange(0, len(false), step), len(false) - 1))
            colour = {hardest[0]: BAD, hardest[-1]: ACCENT}.get(name, GREY)
            (line,) = axes.plot(np.maximum(false[keep], floor), true[keep], color=colour, drawstyle="steps-post")
            if name in hardest:
                line.set(zorder=3, label=short(names[classes.index(name)]))
            else:
                line.set(linewidth=1, alpha=0.45)
        if len(curves) > 2:
            axes.plot([], [], color=GREY, linewidth=1, alpha=0.45, label="the other classes")
        logarithmic(axes, "x", (1,), lambda value, _: f"{100 * value:g}%")
        axes.set_xlim(floor, 1)
        starts = [float(true[false <= 10 * floor].max(initial=0)) for false, true in curves.values()]
        lowest = max(0.0, min(starts, default=0.0) - 0.05)
        axes.set_ylim(lowest, 1 + 0.02 * (1 - lowest))
        axes.yaxis.set_major_formatter(FuncFormatter(percent))
        axes.set_xlabel("false positive rate (logarithmic)")
        axes.set_ylabel("true positive rate")
        figure.legend(loc="outside upper left", ncols=3)

    return inline_svg("roc", WIDTH, 256, paint)

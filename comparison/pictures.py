"""The comparison's picture: accuracy against what it costs."""

import io
import itertools

import matplotlib

matplotlib.use("svg")

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import Bbox

TITLES = {"parameters": "Parameters", "training_seconds": "Training time (s)"}
INK, ACCENT, PALE = "#5b6470", "#2f6fde", "#9db8ee"
SHIFTS = (0, 6, -6, 12, -12, 18, -18)  # of a label, points up from its point


def accuracy_against(table: pd.DataFrame, costs: list[str]) -> str:
    """An SVG with a panel for each column of `costs` (logarithmic) against accuracy in percent and its interval.

    Accuracy is drawn as its distance from 100 %, logarithmic too: from 97 % to 99.7 % is a tenth of
    the mistakes, and a linear axis would press the best models into one line.
    """
    settings = {
        "svg.hashsalt": "comparison",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.edgecolor": INK,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with pyplot.rc_context(settings):
        figure, panels = pyplot.subplots(1, len(costs), figsize=(10, 4.6), sharey=True, layout="constrained")
        panels[0].invert_yaxis()  # once: the panels share the axis
        for axes, cost in zip(panels, costs):
            draw(axes, table, cost)
        panels[0].set_ylabel("test accuracy (%), logarithmic in mistakes, 95 % interval")
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None}, transparent=False)
        pyplot.close(figure)
    return content.getvalue()


def draw(axes: pyplot.Axes, table: pd.DataFrame, cost: str) -> None:
    # Half a mistake in 10,000 images, at least: none at all has no place on a logarithmic axis.
    mistakes, least, most = (
        (100 * (1 - table[key])).clip(lower=0.005) for key in ("accuracy", "accuracy_high", "accuracy_low")
    )
    below, above = mistakes - least, most - mistakes
    axes.errorbar(table[cost], mistakes, yerr=[below, above], fmt="o", color=ACCENT, ecolor=PALE, markersize=5)
    axes.set(xscale="log", yscale="log", xlabel=TITLES[cost])
    ticks = [3, 2, 1, 0.7, 0.5, 0.3, 0.2]
    axes.set_yticks(ticks, [f"{100 - tick:g}" for tick in ticks])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.2)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.figure.draw_without_rendering()  # the layout settles, so that labels can be measured
    label(axes, table[cost], mistakes, [below, above], table["model"])


def label(axes: pyplot.Axes, x: pd.Series, y: pd.Series, errors: list[pd.Series], names: pd.Series) -> None:
    """Write each name beside its point, on the first side where it covers no other label, no interval and no axis."""
    ends = [axes.transData.transform(np.column_stack([x, y + side])) for side in (-errors[0], errors[1])]
    taken = [Bbox([np.minimum(*pair), np.maximum(*pair)]).padded(3) for pair in zip(*ends)]
    taken.append(Bbox.from_extents(-1e4, -1e4, axes.bbox.x0, 1e4))  # what is left of the axis
    for point, name in zip(zip(x, y), names):
        written = []
        for side, shift in itertools.product(("left", "right"), SHIFTS):
            offset = {"xytext": (7 if side == "left" else -7, shift), "textcoords": "offset points"}
            written.append(axes.annotate(name, point, **offset, ha=side, va="center", fontsize=8))
        boxes = [text.get_window_extent() for text in written]
        best = min(range(len(boxes)), key=lambda number: boxes[number].count_overlaps(taken))
        taken.append(boxes[best])
        for text in written[:best] + written[best + 1 :]:
            text.remove()

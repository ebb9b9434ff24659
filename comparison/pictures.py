"""The comparison's picture: accuracy against cost."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from stages.pages.figures import ACCENT, logarithmic, svg_file

COSTS = {"parameters": "parameters", "training_seconds": "training time (s)"}  # a column: the name of its axis
TICKS = {"parameters": (1,), "training_seconds": (1, 3)}  # of each power of ten
MISTAKES = [3, 2, 1, 0.7, 0.5, 0.3, 0.2]  # ticks, in percent
SHIFTS = (0, 6, -6, 12, -12, 18, -18)  # of a label, in points above its point


def accuracy_against_cost(table: pd.DataFrame) -> str:
    """An SVG file with a panel for each of `COSTS`: accuracy in percent, with its interval, against the cost.

    Both axes are logarithmic, and the vertical one is logarithmic in the mistakes: the best models differ by a few
    mistakes in a thousand, which a linear axis of accuracy would draw as one line.
    """

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, len(COSTS), sharey=True, squeeze=False)[0]
        panels[0].invert_yaxis()  # once: the panels share the axis
        for axes, cost in zip(panels, COSTS):
            draw(figure, axes, table, cost)
        panels[0].set_ylabel("test accuracy (%), logarithmic in mistakes, 95 % interval")

    return svg_file(720, 330, paint)


def draw(figure: Figure, axes: Axes, table: pd.DataFrame, cost: str) -> None:
    """Draw the models of `table` on `axes`, a panel of `figure`, each with its name."""
    # At least half a mistake in 10,000 images: a logarithmic axis has no zero.
    mistakes, least, most = (
        (100 * (1 - table[key])).clip(lower=0.005) for key in ("accuracy", "accuracy_high", "accuracy_low")
    )
    axes.vlines(table[cost], least, most, color=ACCENT, linewidth=2.2, alpha=0.45)
    axes.plot(table[cost], mistakes, "o", color=ACCENT, markersize=5)
    logarithmic(axes, "x", TICKS[cost], lambda value, _: f"{value:,.0f}")
    axes.set(yscale="log", xlabel=COSTS[cost])
    axes.set_yticks(MISTAKES, [f"{100 - tick:g}" for tick in MISTAKES])
    axes.minorticks_off()
    axes.margins(x=0.2)
    axes.grid(True, axis="both")
    figure.draw_without_rendering()  # settles the layout, so that labels can be measured
    label(axes, table[cost], least, mistakes, most, table["model"])


def label(axes: Axes, x: pd.Series, low: pd.Series, y: pd.Series, high: pd.Series, names: pd.Series) -> None:
    """Write each name beside its point (`x`, `y`), at the first place where it covers least.

    What counts is other names and what is left of the axes, and where that is equal the intervals from `low` to `high`.
    """
    ends = [axes.transData.transform(np.column_stack([x, end])) for end in (low, high)]
    intervals = [Bbox([np.minimum(*pair), np.maximum(*pair)]).padded(3) for pair in zip(*ends)]
    taken = [Bbox.from_extents(-1e4, -1e4, axes.bbox.x0, 1e4)]  # what is left of the axes
    for point, name in zip(zip(x, y), names):
        written = []
        for side, shift in itertools.product(("left", "right"), SHIFTS):
            offset = (7 if side == "left" else -7, shift)
            written.append(
                axes.annotate(name, point, offset, textcoords="offset points", ha=side, va="center", fontsize=8)
            )
        boxes = [text.get_window_extent() for text in written]
        covered = [(box.count_overlaps(taken), box.count_overlaps(intervals)) for box in boxes]
        best = covered.index(min(covered))
        taken.append(boxes[best])
        for text in written[:best] + written[best + 1 :]:
            text.remove()

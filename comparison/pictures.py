"""The comparison's picture: accuracy against what it costs."""

import io

import matplotlib

matplotlib.use("svg")

import pandas as pd
from matplotlib import pyplot
from matplotlib.ticker import NullFormatter

TITLES = {"parameters": "Parameters", "training_seconds": "Training time (s)"}
INK, ACCENT, PALE = "#5b6470", "#2f6fde", "#9db8ee"
HALO = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


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
        for axes, cost in zip(panels, costs):
            draw(axes, table, cost)
        panels[0].invert_yaxis()  # once: the panels share the axis
        panels[0].set_ylabel("test accuracy (%), 95 % interval")
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None}, transparent=False)
        pyplot.close(figure)
    return content.getvalue()


def draw(axes: pyplot.Axes, table: pd.DataFrame, cost: str) -> None:
    mistakes = 100 * (1 - table["accuracy"])
    below = 100 * (table["accuracy_high"] - table["accuracy"])
    above = 100 * (table["accuracy"] - table["accuracy_low"])
    axes.errorbar(table[cost], mistakes, yerr=[below, above], fmt="o", color=ACCENT, ecolor=PALE, markersize=5)
    for x, y, name in zip(table[cost], mistakes, table["model"]):
        axes.annotate(name, (x, y), xytext=(7, -3), textcoords="offset points", fontsize=8, bbox=HALO)
    axes.set(xscale="log", yscale="log", xlabel=TITLES[cost])
    ticks = [3, 2, 1, 0.7, 0.5, 0.3]
    axes.set_yticks(ticks, [f"{100 - tick:g}" for tick in ticks])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.2)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)

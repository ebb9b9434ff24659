"""The page of `make drift`, with charts in the style of the other pages."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from serving.shift import DISTANCE, LEVEL, MEASUREMENTS, PREDICTED, SHARES, STEP, STRAYS, Result
from stages.pages.figures import ACCENT, GREY, STEPS, inline_svg, logarithmic, percent
from stages.pages.templates import environment

WIDTH, HEIGHT = 300, 170  # points
BINS = 32


def render(package: dict[str, Any], results: list[Result], few: list[str], note: str) -> str:
    """The page about the digits of each kind in `results`.

    `package` is that of package.json, `few` a sentence for each kind that was not compared, `note` why no bounds were
    checked.
    """
    template = environment(Path(__file__).parent).get_template("drift.html.j2")
    return template.render(
        title=package["title"],
        refused=f"{package['refused']:.1%}",
        parts=[_part(package, result) for result in results],
        few=[_capital(line) for line in few],
        note=note,
        capital=_capital,
        size=lambda each: f"{each.size:.3f}" if each.size < 0.9995 else "1",
        p=p_value,
        level=LEVEL,
        distance=DISTANCE,
        step=STEP,
        least_shares=SHARES,
        strays=STRAYS,
    )


def _part(package: dict[str, Any], result: Result) -> dict[str, Any]:
    """What the page shows of one kind."""
    moved = sorted((each for each in result.comparisons if each.moved), key=lambda each: each.least / each.size)
    pictures = [
        (*each.words.split(": ", 1), _distribution(result, each.column)) for each in moved if each.column != PREDICTED
    ]
    return {
        "name": _capital(result.kind.name),
        "prepared": result.kind.prepared,
        "count": len(result.window),
        "verdict": _capital(result.verdict),
        "lines": [_capital(line) for line in result.findings],
        "moved": len(moved),
        "rows": [*moved, *(each for each in result.comparisons if not each.moved)],
        "bounds": result.bounds,
        "pictures": pictures,
        "shares": _shares(result, package["classes"]),
        "unsure": f"{(result.window['confidence'] < package['threshold']).mean():.1%}",
    }


def p_value(p: float) -> str:
    """`p` for a reader: 0.034, or < 0.001."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.9995 else "1"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _against(column: str) -> str:
    return "validation" if column in ("confidence", PREDICTED) else "training"


def _shares(result: Result, classes: list[str]) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        positions = np.arange(len(classes))
        pairs = (
            (_against(PREDICTED), GREY, 0.5, result.reference[PREDICTED]),
            ("now", ACCENT, 1, result.window[PREDICTED].to_numpy()),
        )
        for shift, (label, colour, alpha, predicted) in zip((-0.2, 0.2), pairs, strict=True):
            counts = np.bincount(predicted.astype(np.intp), minlength=len(classes))
            axes.bar(
                positions + shift, counts / counts.sum(), 0.38, color=colour, alpha=alpha, label=label, linewidth=0
            )
        axes.set_xticks(positions, classes, fontsize=max(4.0, min(9.0, 0.8 * WIDTH / len(classes))))
        if max(map(len, classes)) > 3:
            for text in axes.get_xticklabels():
                text.set(rotation=40, horizontalalignment="right", rotation_mode="anchor")
        _finish(figure, axes)

    return inline_svg(f"{result.kind.prefix}shares", WIDTH, HEIGHT, paint)


def _distribution(result: Result, column: str) -> str:
    parts = {_against(column): result.reference[column], "now": result.window[column].to_numpy(np.float64)}
    parts = {label: values[~np.isnan(values)].astype(np.float64) for label, values in parts.items()}
    edges, whole = _edges(np.concatenate(list(parts.values())))
    shares = [np.histogram(values, edges)[0] / len(values) for values in parts.values()]
    # If nearly all have one and the same value, the differences are in what is rare.
    rare = all(share.max() > 0.6 for share in shares) and len({int(share.argmax()) for share in shares}) == 1

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for label, share, colour, width in zip(parts, shares, (GREY, ACCENT), (3.0, 1.3), strict=True):
            axes.stairs(share, edges, color=colour, linewidth=width, alpha=0.5 if width > 2 else 1, label=label)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS, integer=whole))
        if "%" in MEASUREMENTS[column].form:
            axes.xaxis.set_major_formatter(FuncFormatter(percent))
        _finish(figure, axes)
        if rare:
            logarithmic(axes, "y", (1,), percent)

    return inline_svg(result.kind.prefix + column, WIDTH, HEIGHT, paint)


def _edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Edges of bins, and whether each is one whole number."""
    low, high = values.min(), values.max()
    if high - low <= BINS and (values == np.rint(values)).all():
        return np.arange(low - 0.5, high + 1), True
    return np.asarray(np.histogram_bin_edges(values, BINS)), False


def _finish(figure: Figure, axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    figure.legend(loc="outside upper left", ncols=2)

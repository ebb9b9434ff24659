"""The matplotlib style of every picture, and how a painted figure becomes SVG.

Text stays text (selectable, in the reader's font). matplotlib measures it in DejaVu Sans, which it ships, so the layout
is the same on every machine.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.typing import RcKeyType

INK, GREY, LINE = "#1d2430", "#5b6470", "#dfe3e8"
ACCENT, GOOD, BAD = "#2f6fde", "#1a7f4b", "#c4314b"
VARIABLES = {INK: "ink", GREY: "grey", LINE: "line", ACCENT: "accent", GOOD: "good", BAD: "bad"}  # of base.html.j2

LONGEST = 24  # letters of a name in a picture
STEPS = [1, 2, 2.5, 5, 10]  # of ticks, for a MaxNLocator
STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pages",
    "figure.dpi": 72,  # a pixel is a point, as in the SVG
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$"
    "axes.edgecolor": LINE,
    "axes.labelcolor": GREY,
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
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.labelcolor": GREY,
    "legend.handlelength": 1.2,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.6,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
}

Paint = Callable[[Figure], None]


def inline_svg(name: str, width: float, height: float, paint: Paint, links: Mapping[str, str] | None = None) -> str:
    """An `<svg>` element of `width` × `height` points for a page that extends base.html.j2, whose colours it takes.

    `paint` adds axes to the empty figure and draws on them, in the style of this module. One page holds many
    pictures, so every id in this one starts with `name`, and so does every address: `#1` becomes `#name-1`.
    `links` says what a screen reader calls the parts that `paint` gave a `url`, by that url.
    """
    svg = _svg(width, height, paint, transparent=True)
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<defs>\s*</defs>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*viewBox=\"([^\"]*)\"[^>]*>", r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    svg = svg.replace("xlink:href", "href").replace('id="', f'id="{name}-')
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = svg.replace(' target="_blank"', "")
    for address, words in (links or {}).items():
        link = f'<a href="#{name}-{address.removeprefix("#")}"'
        svg = svg.replace(f"{link}>", f'{link} aria-label="{escape(words)}">')
    return svg.replace(' aria-hidden="true"', "", 1) if links else svg


def svg_file(width: float, height: float, paint: Paint, font_size: float = 9) -> str:
    """An SVG file of its own, `width` × `height` points on white; `paint` as in `inline_svg`."""
    return _svg(width, height, paint, transparent=False, font_size=font_size)


def short(name: str) -> str:
    """A name as a picture has room for it, at most `LONGEST` letters."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def percent(share: float, _: int | None = None) -> str:
    """0.975 as `97.5%`: the formatter of an axis of shares."""
    return f"{round(100 * share, 4):g}%"


def logarithmic(
    axes: Axes, which: str, steps: tuple[float, ...], formatter: Callable[[float, int | None], str]
) -> None:
    """Make the axis `which` ("x" or "y") logarithmic, with ticks at `steps` of each power of ten and none between."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(formatter))


def _svg(width: float, height: float, paint: Paint, transparent: bool, font_size: float = 9) -> str:
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | {"font.size": font_size})
        # A letter that DejaVu Sans lacks is drawn by the browser, which may have another font for it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure((width / 72, height / 72))
        paint(figure)
        drawn = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=transparent, metadata=nothing)
    return drawn.getvalue()

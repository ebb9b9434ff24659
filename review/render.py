"""A review as Markdown, for a comment on a pull request, and as HTML, for a page of its own.

All text comes from the files under review, so none of it is taken for markup: in Markdown it can break out of
no cell and no list, and mention nobody.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from review import gallery
from review.comment import MARKER, mute
from review.escape import clean, code, fenced, line, plain, visible
from review.page import Chart, Section, Table, Verdict

LIMIT = 60_000  # bytes of UTF-8 as posted; GitHub refuses a comment of more than 65,536 characters, its first line too
ROWS = 40  # of a table or a list; the rest is counted
EPOCHS = 40  # points of a curve
SIGNS = {"Pass": "✅", "Pass by override": "⚠️", "Fail": "❌"}
COLOURS = {"before": "#8c959f", "after": "#2f6fde"}  # of the curves, on white and on black


def markdown(verdict: Verdict, about: Sequence[str], sections: Sequence[Section]) -> str:
    """The page, at most `LIMIT` bytes as posted: the least important sections are left out where there are too many."""
    kept, lost = [section for section in sections if not section.empty], []
    while len(mute(page := _assembled(verdict, about, kept, lost)).encode()) > LIMIT and kept:
        lost.append(max(kept, key=lambda section: section.importance))
        kept.remove(lost[-1])
    return page


def _assembled(verdict: Verdict, about: Sequence[str], kept: Sequence[Section], lost: Sequence[Section]) -> str:
    parts = [
        f"{SIGNS[verdict.word]} **{verdict.word}**: {plain(verdict.sentence)}",
        " ".join(map(line, about)),
        *map(_section, kept),
    ]
    if lost:
        parts.append(
            plain(f"Left out, since a comment has room for no more: {', '.join(each.title for each in lost)}.")
        )
    return "\n\n".join([*parts, MARKER]) + "\n"


def _section(section: Section) -> str:
    parts = []
    if section.lines:
        lines = list(map(line, capped(section.lines)))
        parts.append(lines[0] if len(lines) == 1 else "\n".join(f"- {each}" for each in lines))
    if section.table and section.table.rows:
        parts.append(_table(section.table))
    if section.source:
        parts.append(fenced(source(section), section.language))
    for caption, digits in section.digits:
        parts += [line(caption), fenced(gallery.text(digits))]
    for chart in section.charts:
        parts += [line(chart_sentence(chart)), fenced(_xychart(chart), "mermaid")]
    body = "\n\n".join(parts)
    if section.folded:
        return f"<details>\n<summary>{section.title}</summary>\n\n{body}\n\n</details>"
    return f"### {section.title}\n\n{body}"


def _table(table: Table) -> str:
    aligned = ["--:" if letter == "n" else ":--" for letter in table.columns]
    write: dict[str, Callable[[str], str]] = {"c": code, "n": plain, "t": plain}
    rows = [[write[letter](cell) for letter, cell in zip(table.columns, row)] for row in table.rows[:ROWS]]
    lines = [f"| {' | '.join(row)} |" for row in (table.head, aligned, *rows)]
    return "\n".join(lines) + more(len(table.rows), "\n\n")


def source(section: Section) -> str:
    return "\n".join(map(visible, section.source.splitlines()))


def capped(lines: Sequence[str]) -> list[str]:
    return [*lines[:ROWS], *([more(len(lines))] if len(lines) > ROWS else [])]


def more(count: int, before: str = "") -> str:
    return f"{before}… and {count - ROWS:,} more." if count > ROWS else ""


def chart_sentence(chart: Chart) -> str:
    before, after = chart.before[-1], chart.after[-1]
    level = "; the shorter run is drawn on, level" if len(chart.before) != len(chart.after) else ""
    return (
        f"{chart.quantity.capitalize()}, grey before, blue after; in the last epoch {before:.5g} → {after:.5g}{level}."
    )


def _xychart(chart: Chart) -> str:
    """A Mermaid chart, which GitHub and GitLab draw. Its lines must be of one length: a shorter one goes on level."""
    epochs, lines = points(chart)
    low, high = bounds(lines)
    palette = f'{{"xyChart": {{"plotColorPalette": "{", ".join(COLOURS.values())}"}}}}'
    return "\n".join(
        [
            f'%%{{init: {{"themeVariables": {palette}}}}}%%',
            "xychart-beta",
            f'    x-axis "epoch" [{", ".join(map(str, epochs))}]',
            f'    y-axis "{chart.quantity}" {low:.6g} --> {high:.6g}',
            *(f"    line [{', '.join(f'{value:.6g}' for value in line)}]" for line in lines),
        ]
    )


def points(chart: Chart) -> tuple[list[int], list[list[float]]]:
    """Epochs, counted from 1, and the values before and after at each; at most `EPOCHS`, the last among them."""
    count = max(len(chart.before), len(chart.after))
    epochs = [epoch for epoch in range(1, count + 1) if (count - epoch) % math.ceil(count / EPOCHS) == 0]
    return epochs, [[line[min(epoch, len(line)) - 1] for epoch in epochs] for line in (chart.before, chart.after)]


def bounds(lines: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The ends of an axis that holds all of `lines`, with some room; not below 0 where they are not, nor above 1."""
    low, high = min(map(min, lines)), max(map(max, lines))
    room = 0.05 * (high - low) or 0.5
    bottom = max(low - room, 0) if low >= 0 else low - room
    return bottom, min(high + room, 1) if low >= 0 and high <= 1 else high + room


def html(verdict: Verdict, about: Sequence[str], sections: Sequence[Section]) -> str:
    """The page as one HTML file that needs nothing else, with the digits as pictures."""
    from stages.report.pictures import png  # it brings matplotlib, which Markdown does without

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"clean": clean, "capped": capped, "png": png, "source": source}
    environment.globals |= {"more": more, "chart_sentence": chart_sentence, "polylines": polylines, "rows": ROWS}
    shown = [section for section in sections if not section.empty]
    return environment.get_template("page.html.j2").render(verdict=verdict, about=about, sections=shown)


def polylines(chart: Chart) -> dict[str, Any]:
    """The lines of a chart as points of SVG in a box of 100 × 40, and what its axes say."""
    epochs, lines = points(chart)
    low, high = bounds(lines)
    step = 100 / max(1, len(epochs) - 1)
    drawn = [
        " ".join(f"{place * step:.2f},{40 * (high - value) / (high - low):.2f}" for place, value in enumerate(line))
        for line in lines
    ]
    return {"before": drawn[0], "after": drawn[1], "low": f"{low:.4g}", "high": f"{high:.4g}", "last": epochs[-1]}

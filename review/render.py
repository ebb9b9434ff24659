"""A review as Markdown, for a comment on a pull request, and as HTML, for a page of its own.

All text comes from the files under review, so it is escaped: in Markdown it cannot break out of a cell or a list, and
@mentions are neutralised.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from review.comment import MARKER, mute
from review.escape import clean, code, fenced, line, plain, visible
from review.page import Section, Table, Verdict
from stages.pages import templates
from stages.pages.png import data_address

LIMIT = 60_000  # bytes of UTF-8 as posted: GitHub refuses more than 65,536, and review.comment adds a line
ROWS = 40  # of a table or a list; the rest is counted
SIGNS = {"Pass": "✅", "Pass by override": "⚠️", "Fail": "❌"}


def markdown(verdict: Verdict, about: Sequence[str], sections: Sequence[Section]) -> str:
    """The page, at most `LIMIT` bytes as posted: if it is too long, the least important sections are left out."""
    kept = [section for section in sections if not section.empty]
    lost: list[Section] = []
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
        parts.append(plain(f"Left out, since the comment would be too long: {', '.join(each.title for each in lost)}."))
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
        named = ", ".join(f"{digit.index} ({digit.label} → {digit.predicted})" for digit in digits)
        parts.append(line(f"{caption}: {named}"))
    if section.digits:
        parts.append("The page with their pictures is in the artifact `reports`.")
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


def html(verdict: Verdict, about: Sequence[str], sections: Sequence[Section]) -> str:
    """The page as one HTML file that needs nothing else, with the digits as pictures."""
    environment = templates.environment(Path(__file__).parent)
    environment.filters |= {"clean": clean, "capped": capped, "png": data_address, "source": source}
    environment.globals |= {"more": more, "rows": ROWS}
    shown = [section for section in sections if not section.empty]
    return environment.get_template("page.html.j2").render(verdict=verdict, about=about, sections=shown)

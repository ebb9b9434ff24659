"""`make history`: the accuracy of every commit that changed it. Prints a table and draws reports/history.svg."""

import argparse
import io
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure

from record import git, history, readable, results
from record.history import Point, comparable, moved
from stages.common.entry import UserError, printable, run
from stages.common.files import write_text
from stages.pages import figures

PICTURE = Path("reports/history.svg")


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tools.history", description=__doc__)
    options.add_argument("--branch", help="a branch, a tag or a commit; main by default")
    branch = options.parse_args(arguments).branch or git.default_branch("", "origin/") or "HEAD"
    for note in readable.problems():
        print(f"history: {note}", file=sys.stderr)
    points = history.points(git.resolve(branch))
    if not points:
        raise UserError(f"no commit of {branch} has {results.NUMBERS}: run `dvc repro`, then commit it")

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a subject may have letters that this terminal cannot show
    print(table(points, shutil.get_terminal_size((120, 24)).columns))
    if git.is_shallow():
        print("This clone is shallow, so earlier commits are missing: `git fetch --unshallow` gets them.")
    if any(each.numbers for each in points):
        write_text(PICTURE, picture(points))
        print(f"The picture: {PICTURE}")


def table(points: Sequence[Point], width: int) -> str:
    """A line for each point, the oldest first, and one wherever something else changed; cut to `width` characters."""
    scores = [("accuracy", "95 % interval", "mistakes"), *map(score, points)]
    widths = [max(map(len, column)) for column in zip(*(cells for cells in scores if cells))]
    space = sum(widths) + 2 * (len(widths) - 1)
    lines = ["  ".join(["commit ", "date      ", *map(str.rjust, scores[0], widths), "subject"])]
    for before, each, cells in zip([None, *points], points, scores[1:]):
        if before and not comparable(before, each):
            known = before.test_data and each.test_data
            lines.append(f"-- {'other test data' if known else 'the test data are not known'}: do not compare across")
        elif before and (found := moved(before, each)):
            lines.append(f"-- not trained alike, compare with care: {found}")
        middle = "  ".join(map(str.rjust, cells, widths)) if cells else each.problem
        subject = printable(each.change.subject) if cells else ""
        lines.append(f"{each.change.name}  {each.change.date}  {middle.ljust(space)}  {subject}")
    return "\n".join(line.rstrip() if len(line) <= width else f"{line[: width - 1]}…" for line in lines)


def score(point: Point) -> tuple[str, ...]:
    """Accuracy, interval and mistakes in words; empty if the numbers cannot be read."""
    if point.numbers is None:
        return ()
    values = point.numbers
    interval = f"{values['accuracy_low']:.2%} to {values['accuracy_high']:.2%}"
    return f"{values['accuracy']:.2%}", interval, f"{values['mistakes']:,} of {values['images']:,}"


def picture(points: Sequence[Point]) -> str:
    """An SVG of the error, on a logarithmic axis, with its 95 % interval, by commit; the oldest is on the left.

    At least half a mistake is drawn, since a logarithmic axis has no place for none. A solid line separates scores on
    different test data, a dotted one those of models that were not trained on the same machine with the same packages.
    """
    shown = [(place, each.numbers) for place, each in enumerate(points) if each.numbers]
    places = [place for place, _ in shown]
    best, error, worst = (
        [max(1 - numbers[key], 0.5 / numbers["images"]) for _, numbers in shown]
        for key in ("accuracy_high", "accuracy", "accuracy_low")
    )

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.vlines(places, best, worst, color=figures.ACCENT, alpha=0.4)
        axes.plot(places, error, "o", color=figures.ACCENT)
        for place, pair in enumerate(pairwise(points)):
            name, style = "", ""
            if not comparable(*pair):
                name, style = "other or unknown test data", "-"
            elif moved(*pair):
                name, style = "other machine or packages", ":"
            if name:
                axes.axvline(place + 0.5, color=figures.GREY, linewidth=1, linestyle=style, label=name)
        handles, names = axes.get_legend_handles_labels()
        if explained := dict(zip(names, handles)):
            figure.legend(explained.values(), explained.keys(), loc="outside upper right", ncols=2)
        figures.logarithmic(axes, "y", (1, 2, 5), figures.percent)
        axes.set_ylabel("mistakes on the test images")
        named = places[:: -(-len(places) // 16)]  # more names would overlap
        axes.set_xticks(named, [points[place].change.name for place in named], rotation=90)

    return figures.svg_file(500, 290, paint)


if __name__ == "__main__":
    run("history", partial(main, sys.argv[1:]))

"""The accuracy of every commit that changed it, from Git alone: `python -m review.history [--branch BRANCH]`.

Prints a table and draws reports/history.svg. Neither DVC's cache nor a checkout is needed.
"""

import argparse
import hashlib
import io
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from review import results
from review.results import git
from stages.common.entry import UserError, run
from stages.common.files import write_text

PICTURE = Path("reports/history.svg")
INK, ACCENT, PALE, ALARM = "#5b6470", "#2f6fde", "#9db8ee", "#c62828"
SIZE = 5.4, 3.9  # inches: small enough for its letters to be read on a telephone
LABELLED = 5  # commits named below the picture; more would overlap


@dataclass(frozen=True)
class Change:
    """A commit that changed the numbers, as `git log` tells it."""

    commit: str  # the full hash
    date: str  # of its author, year-month-day
    subject: str
    path: str  # of the numbers in this commit: they may have had another name
    blob: str  # the hash of their content; zeros where the commit deleted them

    @property
    def name(self) -> str:
        return self.commit[:7]


@dataclass(frozen=True)
class Point:
    """What a commit says of its model: `numbers`, or the `problem` with them."""

    change: Change
    numbers: Mapping[str, float] | None
    problem: str
    test_data: str | None  # the checksum of what was scored; None where dvc.lock does not say


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m review.history", description=__doc__)
    options.add_argument("--branch", help="a branch, a tag or a commit; main unless given")
    branch = options.parse_args(arguments).branch or results.default_branch("", "origin/") or "HEAD"

    commit = results.resolve(branch)
    shallow = git("rev-parse", "--is-shallow-repository").strip() == b"true"
    changes = changes_of_numbers(commit)
    points = [point(change, *files) for change, files in zip(changes, files_of(changes))]
    if not points:
        raise UserError(f"no commit of {branch} has {results.NUMBERS}: `dvc repro` makes it, then commit it")

    sys.stdout.reconfigure(errors="replace")  # a subject may have letters that this terminal has not
    print(table(points, shutil.get_terminal_size((120, 24)).columns))
    if shallow:
        print("This clone is shallow, so earlier commits are missing: `git fetch --unshallow` gets them.")
    if any(each.numbers for each in points):
        write_text(PICTURE, picture(points))
        print(f"The picture: {PICTURE}")


def changes_of_numbers(commit: str) -> list[Change]:
    """The commits up to `commit`, first parents only, that changed the numbers; the oldest first.

    A renaming of the file is followed as far as Git recognises it: not where most lines changed with it.
    """
    log = git(
        *("-c", "core.quotePath=false", "-c", "log.showRoot=true"),  # whatever the user has set
        *("log", "--first-parent", "-m", "--follow", "-M", "--raw", "--no-abbrev", "--relative"),
        *("--no-show-signature", "--encoding=UTF-8", "--format=%H%x00%as%x00%s", commit, "--", results.NUMBERS),
    )
    changes, about = [], []
    for line in log.decode(errors="replace").split("\n"):
        if line.startswith(":"):
            facts, *paths = line.split("\t")  # `:mode mode blob blob status`, then one path, or two of a renaming
            changes.append(Change(*about, paths[-1], facts.split()[3]))
        elif line:
            about = line.split("\0")
    return changes[::-1]


def files_of(changes: Sequence[Change]) -> list[tuple[bytes | None, bytes | None]]:
    """The numbers and the dvc.lock of each change, None where there is none, all from one Git process."""
    wanted = [name for change in changes for name in (change.blob, f"{change.commit}:./{results.LOCK}")]
    answer = io.BytesIO(git("cat-file", "--batch", text="".join(f"{name}\n" for name in wanted).encode()))
    contents = []
    for _ in wanted:
        head = answer.readline()  # `hash blob size`, or `name missing`
        contents.append(None if head.endswith(b" missing\n") else answer.read(int(head.split()[-1])))
        if contents[-1] is not None:
            answer.read(1)
    return list(zip(contents[::2], contents[1::2]))


def point(change: Change, numbers: bytes | None, lock: bytes | None) -> Point:
    """What the two files of `change` say; what cannot be read, or is not what dvc.lock records, is a problem."""
    try:
        sums = results.recorded(f"{results.LOCK} in {change.name}", evaluate_stage(lock or b""))
    except UserError:
        sums = {}
    test_data = sums.get(results.TEST_DATA)
    if numbers is None:
        return Point(change, None, f"{change.path} was deleted", test_data)
    try:
        values = results.json_object(change.path, numbers)
    except UserError as error:
        return Point(change, None, f"unreadable: {error}", test_data)
    if missing := [key for key in results.NEEDED if not results.is_number(values.get(key))]:
        return Point(change, None, f"unreadable: {change.path} has no number for {', '.join(missing)}", test_data)
    if values["images"] < 1:
        return Point(change, None, f"unreadable: {change.path} has scored no images", test_data)
    if sums and sums.get(change.path) != hashlib.md5(numbers, usedforsecurity=False).hexdigest():
        return Point(change, None, f"unreadable: {change.path} is not what {results.LOCK} records", test_data)
    return Point(change, values, "", test_data)


def evaluate_stage(lock: bytes) -> bytes:
    """Of a dvc.lock as DVC lays it out, the stage evaluate alone: parsing hundreds of whole locks takes long."""
    stage = re.search(rb"^  evaluate:\n(    .*\n)*", lock, re.MULTILINE)
    return b"stages:\n" + stage.group() if stage else lock


def comparable(before: Point, after: Point) -> bool:
    """Whether both were scored on test data that are known and the same."""
    return before.test_data is not None and before.test_data == after.test_data


def table(points: Sequence[Point], width: int) -> str:
    """A line for each point, the oldest first, and one wherever the test data changed; cut to `width` characters."""
    scores = [("accuracy", "95 % interval", "mistakes"), *map(score, points)]
    widths = [max(map(len, column)) for column in zip(*(cells for cells in scores if cells))]
    space = sum(widths) + 2 * (len(widths) - 1)
    lines = ["  ".join(["commit ", "date      ", *map(str.rjust, scores[0], widths), "subject"])]
    for before, each, cells in zip([None, *points], points, scores[1:]):
        if before and not comparable(before, each):
            known = before.test_data and each.test_data
            lines.append(f"-- {'other test data' if known else 'the test data are not known'}: do not compare across")
        middle = "  ".join(map(str.rjust, cells, widths)) if cells else each.problem
        subject = each.change.subject if cells else ""
        lines.append(f"{each.change.name}  {each.change.date}  {middle.ljust(space)}  {subject}")
    return "\n".join(line.rstrip() if len(line) <= width else f"{line[: width - 1]}…" for line in lines)


def score(point: Point) -> tuple[str, ...]:
    """Accuracy, interval and mistakes in words; nothing where the numbers cannot be read."""
    if point.numbers is None:
        return ()
    values = point.numbers
    interval = f"{values['accuracy_low']:.2%} to {values['accuracy_high']:.2%}"
    return f"{values['accuracy']:.2%}", interval, f"{values['mistakes']:,} of {values['images']:,}"


def picture(points: Sequence[Point]) -> str:
    """An SVG of accuracy and interval by commit, evenly spaced, the oldest on the left.

    Accuracy is drawn as its distance from 100 %, logarithmic: a first model of 92 % would press all later ones
    into one line. No distance is drawn below that of half a mistake, since 100 % has no place on such an axis.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    settings = {"svg.hashsalt": "history", "svg.fonttype": "none", "font.size": 11}
    settings |= dict.fromkeys(("axes.edgecolor", "text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
        draw(axes, points)
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None}, transparent=False)
        pyplot.close(figure)
    return content.getvalue()


def draw(axes, points: Sequence[Point]) -> None:
    places = [place for place, each in enumerate(points) if each.numbers]
    distances = {place: distance(points[place].numbers) for place in places}
    middle, low, high = zip(*(distances[place] for place in places))
    size = 6 if len(points) <= 20 else 3.5 if len(points) <= 100 else 2
    axes.vlines(places, high, low, color=PALE, linewidth=size / 2, label="95 % interval")
    for before, after in pairwise(places):
        if comparable(points[before], points[after]):
            axes.plot([before, after], [distances[before][0], distances[after][0]], color=ACCENT, linewidth=1)
    axes.plot(places, middle, "o", color=ACCENT, markersize=size, label="accuracy")
    breaks = [place + 0.5 for place, pair in enumerate(pairwise(points)) if not comparable(*pair)]
    for number, place in enumerate(breaks):
        axes.axvline(place, color=INK, linestyle=":", linewidth=1, label="" if number else "other test data")
    if unreadable := [place for place, each in enumerate(points) if not each.numbers]:
        bottom = axes.get_xaxis_transform()
        axes.plot(unreadable, [0.03] * len(unreadable), "x", color=ALARM, transform=bottom, label="unreadable")

    axes.set_yscale("log")
    axes.invert_yaxis()
    ticks = accuracy_ticks(min(high), max(low))
    digits = max(len(f"{tick:g}".partition(".")[2]) for tick in ticks)
    axes.set_yticks(ticks, [f"{100 - tick:.{digits}f}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylabel("test accuracy (%)")
    named = sorted({round(i * (len(points) - 1) / (LABELLED - 1)) for i in range(LABELLED)})
    if len(points) < LABELLED:
        named = list(range(len(points)))
    axes.set_xticks(named, [f"{points[i].change.name}\n{points[i].change.date}" for i in named], fontsize=8.5)
    axes.set_xlim(-0.7, len(points) - 0.3)
    axes.grid(axis="y", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    last = points[places[-1]]
    axes.set_title(
        f"The last, {last.change.name}: {last.numbers['accuracy']:.2%}, {last.numbers['mistakes']:,} mistakes", pad=30
    )
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, fontsize=8.5, columnspacing=1)


def distance(numbers: Mapping[str, float]) -> tuple[float, float, float]:
    """Accuracy, lower and upper end of its interval, as percentage points below 100 %: half a mistake, at least."""
    least = 50 / numbers["images"]
    return tuple(max(100 * (1 - numbers[key]), least) for key in ("accuracy", "accuracy_low", "accuracy_high"))


def accuracy_ticks(lowest: float, highest: float) -> list[float]:
    """A few round distances from 100 % between the two, apart enough on a logarithmic axis to be read."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    spread = highest / lowest
    locator = LogLocator(subs=[1, 2, 5] if spread < 100 else [1]) if spread > 5 else MaxNLocator(4)
    found = [round(float(tick), 6) for tick in locator.tick_values(lowest, highest)]
    return [tick for tick in found if lowest <= tick <= highest]


if __name__ == "__main__":
    run("history", partial(main, sys.argv[1:]))

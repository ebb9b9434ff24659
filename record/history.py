"""The scores of every commit that changed them, from Git alone: neither DVC's cache nor a checkout is needed."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from record import environment, lock, results
from record.environment import Environment
from record.git import git
from record.results import Number
from stages.common.entry import UserError


@dataclass(frozen=True)
class Change:
    """A commit that changed the numbers, as `git log` tells it."""

    commit: str  # the full hash
    date: str  # of its author, year-month-day
    subject: str
    path: str  # of the numbers in this commit: the file may have had another name
    blob: str  # the hash of their content; zeros if the commit deleted them

    @property
    def name(self) -> str:
        return self.commit[:7]


@dataclass(frozen=True)
class Point:
    """What a commit says about its model: `numbers`, or the `problem` with them."""

    change: Change
    numbers: Mapping[str, Number] | None
    problem: str
    test_data: str | None  # the checksum of what was scored; None if dvc.lock does not say
    environment: Environment | None = None  # with what it was trained, as far as known up to here


def points(commit: str) -> list[Point]:
    """A point for each commit up to `commit` that changed the numbers, the oldest first.

    A commit that does not say with what its model was trained counts as the one before it, so that a step across it is
    seen.
    """
    changes = changes_of_numbers(commit)
    found = [point(change, *files) for change, files in zip(changes, files_of(changes))]
    return list(
        accumulate(found, lambda last, each: each if each.environment else replace(each, environment=last.environment))
    )


def changes_of_numbers(commit: str) -> list[Change]:
    """The commits up to `commit`, first parents only, that changed the numbers; the oldest first.

    A renaming of the file is followed if Git recognises it, which it does not if most lines changed as well.
    """
    log = git(
        *("-c", "core.quotePath=false", "-c", "log.showRoot=true"),  # whatever the user has set
        *("log", "--first-parent", "-m", "--follow", "-M", "--raw", "--no-abbrev", "--relative"),
        *("--no-show-signature", "--encoding=UTF-8", "--format=%H%x00%as%x00%s", commit, "--", results.NUMBERS),
    )
    changes: list[Change] = []
    commit, date, subject = "", "", ""
    for line in log.decode(errors="replace").split("\n"):
        if line.startswith(":"):
            facts, *paths = line.split("\t")  # `:mode mode blob blob status`, then one path, or two of a renaming
            changes.append(Change(commit, date, subject, paths[-1], facts.split()[3]))
        elif line:
            commit, date, subject = line.split("\0")
    return changes[::-1]


def files_of(changes: Sequence[Change]) -> list[tuple[bytes | None, ...]]:
    """The numbers, the dvc.lock and the environment of each change, None if there is none, all from one Git process."""
    beside = (lock.FILE, environment.FILE)
    wanted = [name for each in changes for name in (each.blob, *(f"{each.commit}:./{path}" for path in beside))]
    output = io.BytesIO(git("cat-file", "--batch", text="".join(f"{name}\n" for name in wanted).encode()))
    contents: list[bytes | None] = []
    for _ in wanted:
        head = output.readline()  # `hash blob size`, or `name missing`
        contents.append(None if head.endswith(b" missing\n") else output.read(int(head.split()[-1])))
        if contents[-1] is not None:
            output.read(1)
    return list(zip(contents[::3], contents[1::3], contents[2::3]))


def point(change: Change, numbers: bytes | None, locked: bytes | None, trained: bytes | None) -> Point:
    """What the files of `change` say; it is a problem if its numbers cannot be read or are not what the lock says."""
    made = environment.known(change.name, {environment.FILE: trained}.get)
    written: Mapping[str, str]
    where = f"{lock.FILE} in {change.name}"
    try:
        test_data, written = results.scored(where, lock.parse(where, locked or b""))
    except UserError:
        test_data, written = None, {}
    if numbers is None:
        return Point(change, None, f"{change.path} was deleted", test_data, made)
    try:
        values = results.json_object(change.path, numbers)
    except UserError as error:
        return Point(change, None, f"unreadable: {error}", test_data, made)
    problem = ""
    if missing := [key for key in results.NEEDED if not results.is_number(values.get(key))]:
        problem = f"{change.path} has no number for {', '.join(missing)}"
    elif values["images"] < 1:
        problem = f"{change.path} has scored no images"
    elif test_data and written.get(change.path) != results.md5(numbers):
        problem = f"{change.path} is not what {lock.FILE} records"
    return Point(change, None if problem else values, f"unreadable: {problem}" if problem else "", test_data, made)


def comparable(before: Point, after: Point) -> bool:
    """Whether both were scored on test data that are known and the same."""
    return before.test_data is not None and before.test_data == after.test_data


def moved(before: Point, after: Point) -> str:
    """What the two were trained with where it differs; empty if nothing does, or if one of them does not say."""
    old, new = before.environment, after.environment
    return "" if old is None or new is None or old == new else f"{old.only(new)} before; {new.only(old)} from here"

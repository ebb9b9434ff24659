"""reports/review/base: the numbers of a pull request's base, made on this machine by `make base`."""

from dataclasses import dataclass
from pathlib import Path

from record.git import Read, git, inside, on_disk
from record.results import json_object
from stages.common.entry import UserError

FOLDER = Path("reports/review/base")  # what the run wrote into Git's files, by path
RUN = "run.json"  # in that folder: the commit that was run, and why it could not be run if it could not


@dataclass(frozen=True)
class Rerun:
    """A run of one commit on this machine."""

    read: Read  # the commit's files, with those that the run wrote in their place
    problem: str  # why there are no numbers; empty if there are


def of(commit: str, read: Read) -> Rerun | None:
    """The run of `commit`, whose own files `read` gives; None if there is none, or only one of another commit.

    What is a link or lies in Git was not left by `make base` but planted by a commit, and counts for nothing.
    """
    if FOLDER.resolve() != Path.cwd().resolve() / FOLDER or git("ls-files", "--", str(FOLDER)):
        return None
    try:
        values = json_object(RUN, on_disk(str(FOLDER / RUN)) or b"")
    except UserError:
        return None
    if values.get("commit") != commit:
        return None

    def written(path: str) -> bytes | None:
        here = inside(lambda name: on_disk(str(FOLDER / name)), path)
        return read(path) if here is None else here

    return Rerun(written, str(values.get("problem", "")))

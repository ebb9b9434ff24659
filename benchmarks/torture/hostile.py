"""Damaged and hostile inputs: each must be refused with a line, at once, in little memory, and run nothing."""

import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.torture import damage, mirrors
from benchmarks.torture.cases import Case, cases
from benchmarks.torture.sandbox import (
    ACCEPTED,
    MEGABYTES,
    MEGABYTES_TRAINING,
    Found,
    complaints,
    copied,
    litter,
    run,
    tree,
    two_at_a_time,
)


def hostile(base: Path) -> Found:
    """Each case and what went wrong in it. `base` is a copy of the repository in which the pipeline has run."""
    harmless = []
    with TemporaryDirectory() as folder, mirrors.serving(Path(folder)) as addresses:
        inputs = list(cases(base, addresses))
        tasks = [
            (case.name, partial(tried, base, case, Path(folder) / f"case {number}"))
            for number, case in enumerate(inputs)
        ]
        for case, (name, found) in zip(inputs, two_at_a_time(tasks), strict=True):
            if case.may_pass and found == [ACCEPTED]:
                harmless.append(name)
                found = []
            yield name, found
    print(f"hostile: of {len(inputs)} inputs, {len(harmless)} were accepted, whose damage nobody can know:")
    print("\n".join(f"  {name}" for name in harmless))


def tried(base: Path, case: Case, folder: Path) -> list[str]:
    """What went wrong."""
    copied(base, folder, ".git", "cache", "tmp", "__pycache__", "tests", "docs")
    (folder / ".git").mkdir()
    for name, content in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    before = tree(folder)
    ended = run(folder, *case.command)
    found = complaints(ended, case.speaker, MEGABYTES_TRAINING if case.speaker == "train" else MEGABYTES)
    found += litter(before, tree(folder))
    if list(folder.rglob(damage.MARK)):
        found.append("it ran what the input said")
    shutil.rmtree(folder)
    return found

"""Damaged and hostile inputs: each must be refused with a line, at once, in little memory, and run nothing."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.torture import damage, mirrors
from benchmarks.torture.cases import Case, cases
from benchmarks.torture.sandbox import (
    ACCEPTED,
    MEGABYTES,
    MEGABYTES_TRAINING,
    complaints,
    copied,
    litter,
    run,
    tree,
)


def hostile(base: Path) -> list[tuple[str, list[str]]]:
    """Each case and what went wrong in it. `base` is a copy of the repository in which the pipeline has run."""
    with TemporaryDirectory() as folder, mirrors.serving(Path(folder)) as addresses, ThreadPoolExecutor(2) as pool:
        inputs = list(cases(base, addresses))
        numbered = [(case, Path(folder) / f"case {number}") for number, case in enumerate(inputs)]
        results = list(pool.map(lambda pair: tried(base, *pair), numbered))
    harmless = [case.name for case, found in zip(inputs, results) if found == [ACCEPTED] and case.may_pass]
    print(f"hostile: of {len(inputs)} inputs, {len(harmless)} were accepted, whose damage nobody can know:")
    print("\n".join(f"  {name}" for name in harmless))
    return [(case.name, [] if case.name in harmless else found) for case, found in zip(inputs, results)]


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

"""Odd surroundings: a run ends well or with a line, and afterwards a run in usual ones is whole."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.torture.sandbox import (
    Found,
    copied,
    in_plain_words,
    made,
    recovered,
    run,
    surroundings,
    tree,
    two_at_a_time,
)

PLACES = ("Müller's  Zahlen $HOME #1 %s", "-rf", "x" * 200, "ﾃｽﾄ 🙂")
CLOSED = (".git", ".dvc", "data", "models", "metrics", "reports", ".")
VARIABLES: dict[str, dict[str, str | None]] = {
    "HOME unset": {"HOME": None},
    "HOME missing": {"HOME": "/nowhere/at all"},
    "HOME read-only": {"HOME": "/proc"},
    "TMPDIR missing": {"TMPDIR": "/nowhere/at all"},
    "TMPDIR read-only": {"TMPDIR": "/proc"},
    "LANG=C": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "an unknown locale": {"LANG": "xx_XX.UTF-8", "LC_ALL": "xx_XX.UTF-8"},
    "PATH without Git": {"PATH": "/nowhere"},
    "COLUMNS=0": {"COLUMNS": "0"},
    "TERM=unknown": {"TERM": "unknown"},
}


def no_home(base: Path) -> Found:
    """Each kind of surroundings and what went wrong in them. `base` is a copy of the repository with a finished run."""
    reference = tree(base)
    with TemporaryDirectory() as name:
        parent = Path(name)
        fresh = made(parent / "fresh")
        at = partial(tried, fresh, reference)
        tasks = [(what, partial(at, parent / what, variables)) for what, variables in VARIABLES.items()]
        tasks += [(f"in the folder {place[:30]}", partial(at, parent / place, {})) for place in PLACES]
        tasks += [(f"{closed} read-only", partial(at, parent / f"closed {closed}", {}, closed)) for closed in CLOSED]
        yield from two_at_a_time(tasks)


def tried(
    fresh: Path, reference: dict[str, str], folder: Path, variables: dict[str, str | None], closed: str = ""
) -> list[str]:
    """What goes wrong in a copy of `fresh` at `folder`, in which the folder `closed` cannot be written."""
    copied(fresh, folder)
    settings = surroundings(folder)
    if "HOME" in variables:
        del settings["DVC_SITE_CACHE_DIR"]  # else DVC needs no home
    own = {key: value for key, value in (settings | variables).items() if value is not None}
    with read_only(folder / closed if closed else None):
        ended = run(folder, "dvc", "repro", "--no-run-cache", seconds=300, env=own)
    return in_plain_words(ended) + recovered(folder, reference)


@contextmanager
def read_only(folder: Path | None) -> Iterator[None]:
    """Nobody can write to `folder`; for root, whom permissions do not stop, it is mounted."""
    if folder is None:
        yield
    elif os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
    else:
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)

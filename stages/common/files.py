"""Writing so that a reader never sees half a file, and finding what a user's path means."""

import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`: renamed to `path` if the block succeeds, removed otherwise.

    It keeps the suffix, since Keras and others choose the format by it. What a killed process left there is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for killed in path.parent.glob(f".{glob.escape(path.stem)}.*{glob.escape(path.suffix)}"):
        number = killed.name.removeprefix(f".{path.stem}.").removesuffix(path.suffix)
        if number.isdecimal() and not _runs(int(number)):
            killed.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process with this number is there."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it is somebody else's
    return True


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in the order given, floats as given (NaN is refused)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def found(path: str) -> Path:
    """The file or folder that a user means by `path`; `~` is the home folder.

    `dvc exp run --temp` and `--queue` run a stage in a copy of the repository, in its `.dvc/tmp/exps`. There a relative
    path that leads to nothing is taken from the repository itself.
    """
    try:
        plain = Path(path).expanduser()
    except RuntimeError:  # `~name` of nobody
        plain = Path(path)
    for folder in Path.cwd().parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps") and not plain.exists():
            return folder.parents[2] / plain  # an absolute path stays as it is
    return plain

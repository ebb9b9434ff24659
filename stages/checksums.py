"""Lists of SHA-256 checksums beside the files that a stage wrote, so that the stage that reads them notices damage.

DVC trusts the files in its cache: a bit that flips there is restored without a word. A list has the form of
`sha256sum`, which can check it too.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from stages.common.entry import UserError
from stages.common.files import write_text


def write(listing: Path, files: Iterable[Path]) -> None:
    """Write the checksums of `files`, which lie in the folder of `listing` or below it."""
    lines = [f"{digest(path)}  {path.relative_to(listing.parent).as_posix()}\n" for path in sorted(files)]
    write_text(listing, "".join(lines))


def check(listing: Path, *names: str) -> None:
    """Raise `UserError` if a file is not the one that `listing` means; with `names`, only these are looked at.

    Without the list, as for files that a person made, there is nothing to compare with.
    """
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines() if listing.exists() else []
    for line in lines:
        checksum, _, name = line.partition("  ")
        if not re.fullmatch(r"[0-9a-f]{64}  \S+", line):
            raise UserError(f"{listing} is damaged: `make verify` finds the damage and says how to repair it")
        path = listing.parent / name
        if names and name not in names:
            continue
        if not path.exists():
            problem = f"is missing, although {listing} names it"
        elif digest(path) != checksum:
            problem = f"is damaged: its checksum is not the one in {listing}"
        else:
            continue
        raise UserError(
            f"{path} {problem}; `make verify` finds the damage and says how to repair it"
            f" (if you put the file there yourself, delete {listing})"
        )


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The checksum of the file at `path`, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()

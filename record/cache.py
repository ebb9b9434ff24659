"""DVC's cache, checked: the name of each object is the MD5 of its content, and DVC trusts what is read-only."""

import errno
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

FOLDER = Path(".dvc/cache")
OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")  # in a folder of the first two digits
TEMPORARY = re.compile(r".*\.[\w-]{22}\.tmp")  # what DVC writes before it renames
COPIES = Path(".dvc/tmp/exps")  # where `dvc exp run --queue` and `--temp` work, each with a lock of its own
ASIDE = Path(".dvc/tmp/damaged")
HOUR = 3600
SECONDS = 10  # between two lines where no bar can be drawn


def objects(folder: Path) -> dict[str, Path]:
    """Checksum: file of each object in `folder`, the files/md5 of a cache."""
    found = (path for path in folder.glob("[0-9a-f][0-9a-f]/*") if OBJECT.fullmatch(path.name))
    return {path.parent.name + path.name: path for path in found}


def checksums(paths: Iterable[Path], what: str) -> dict[Path, str]:
    """The MD5 of each file, read in parallel; empty if the disk cannot read it. Shows how far it is."""
    sizes = {path: path.stat().st_size for path in paths}
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda path: (path, checksum(path)), sizes)
        return dict(_shown(found, sizes, what))


def damaged(held: Mapping[str, Path], what: str) -> set[str]:
    """The checksums of those objects that do not have the content that their name promises."""
    found = checksums(held.values(), what)
    return {md5 for md5, path in held.items() if found[path] != md5.removesuffix(".dir")}


def checksum(path: Path) -> str:
    """The MD5 of a file; empty if the disk cannot read it."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        if error.errno != errno.EIO:  # a bad sector is damage, too; a refused permission is not
            raise
        return ""


def _shown(found: Iterator[tuple[Path, str]], sizes: Mapping[Path, int], what: str) -> Iterator[tuple[Path, str]]:
    """`found`, with a bar on a terminal and a line every few seconds elsewhere."""
    done, total, last = 0, sum(sizes.values()), time.monotonic()
    with tqdm(total=total, desc=what, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        for path, md5 in found:
            yield path, md5
            done += sizes[path]
            bar.update(sizes[path])
            if bar.disable and time.monotonic() - last > SECONDS:
                last = time.monotonic()
                print(f"{what}: {done / total:.0%} of {total:,} bytes", file=sys.stderr, flush=True)


def listing(path: Path) -> dict[str, str]:
    """Relative path: checksum of each file in a folder, as the sound .dir object `path` has it."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}


def put_aside(path: Path, name: str) -> None:
    """Move a damaged file out of the way; it may be the only copy."""
    ASIDE.mkdir(parents=True, exist_ok=True)
    shutil.move(path, ASIDE / name)


def litter(*folders: Path) -> list[Path]:
    """What interrupted writes of DVC left below `folders`."""
    return [path for each in folders for path in each.rglob("*.tmp") if TEMPORARY.fullmatch(path.name)]


def sweep(*folders: Path) -> int:
    """Remove the `litter` and return how much it was; the caller holds DVC's lock.

    Where processes with another lock write too, as in a cache that several projects share, what is new stays.
    """
    shared = any(COPIES.glob("*/.dvc")) or any(Path.cwd() not in each.resolve().parents for each in folders)
    old = time.time() - (HOUR if shared else 0)
    found = [path for path in litter(*folders) if path.lstat().st_mtime <= old]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)

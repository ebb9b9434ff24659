"""`make import FROM=path`: look at a data set, say what it is, and add its entry to datasets.yaml.

It may be a folder of pictures, four IDX files, an .npz file, CSV or Parquet. Nothing is copied: the entry says where
the data lie, what their checksums are and which bounds they keep today.
"""

import argparse
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from catalog.entries import add
from catalog.look import look
from catalog.measure import entry_of
from record.parameters import NAME
from stages import datasets
from stages.common import parameters
from stages.common.entry import UserError, printable, run
from stages.common.files import found as meant
from stages.download.contents import MirrorError

# What reading a damaged file raises in the libraries that read it.
DAMAGED = (MirrorError, ValueError, TypeError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, re.error)
FEW, BATCH, STEPS = 5_000, 32, 3_000  # fewer training images need smaller batches and more epochs than MNIST


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tools.import", description=__doc__)
    options.add_argument("path", help="a file or a folder")
    options.add_argument("--name", help="of the entry; the name of the file or folder by default")
    options.add_argument("--group", help="a folder: a pattern, or a column of labels.csv, that says who made a picture")
    chosen = options.parse_args(arguments)
    path = meant(chosen.path)
    if not chosen.path or not path.exists():
        raise UserError(f"FROM is {chosen.path!r}, must be a file or a folder that exists: make import FROM=/path")
    name = chosen.name or named(path)
    if not re.fullmatch(NAME, name):
        raise UserError(f"NAME is {name!r}, must begin with a letter and have letters, digits, - and _ only")

    try:
        found = look(path, chosen.group)
        place = path if path.is_dir() else path.parent
        inside = place.resolve().is_relative_to(Path.cwd())
        found.source["mirrors"] = [os.path.relpath(place) if inside else str(place.resolve())]
        found.source["mirror_variable"] = f"{name.upper().replace('-', '_')}_MIRROR"
        if known := there(found.source):
            print(known)
            return
        with TemporaryDirectory() as contents:
            entry, lines = entry_of(name, found, Path(contents))
        add(name, entry)
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    print("\n".join(f"import: {printable(line)}" for line in [*found.lines, *lines]))
    print(f"import: added to {datasets.FILE} as {name}; its title, licence and citation are yours to fill in")
    print(f"next:   {command(name, entry)}")


def there(source: dict[str, Any]) -> str:
    """What to say if the catalog has the data of `source` already; empty if it has not."""
    for name, entry in parameters.load(datasets.FILE).items():
        known = entry.get("source") if isinstance(entry, dict) else None
        if isinstance(known, dict) and known.get("files") == source["files"]:
            said = f"import: {datasets.FILE} has these data already, as {name}: nothing changed"
            if source["mirrors"][0] not in (known.get("mirrors") or []):
                said += f"\nimport: they lie elsewhere now: write {source['mirrors'][0]} among its mirrors"
            return f"{said}\nnext:   {command(name, entry)}"
    return ""


def named(path: Path) -> str:
    """A name for the data at `path`: its file name up to the first dot, in lower case, `_` for all but letters."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", path.resolve().name.partition(".")[0]).strip("_").lower()
    return words if re.match("[a-z]", words) else f"data_{words}".rstrip("_")


def command(name: str, entry: dict[str, Any]) -> str:
    """What to run next; a network that takes colour, and more epochs of smaller batches for a small set."""
    line = f"dvc exp run -S download.dataset={name}"
    if entry["source"].get("channels") == 3:
        line += f" -S preprocess.channels=3 -S preprocess.image_size={min(64, entry['expect']['image_size'])}"
    images = entry.get("expect", {}).get("train_images", FEW)
    if images >= FEW:
        return line
    epochs = max(16, min(200, round(STEPS / max(1, images // BATCH))))
    return f"{line} -S train.batch_size={BATCH} -S train.epochs={epochs}"


if __name__ == "__main__":
    run("import", partial(main, sys.argv[1:]))

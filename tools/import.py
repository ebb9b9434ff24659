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
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from catalog.look import look
from catalog.measure import entry_of
from record.parameters import NAME
from stages import datasets
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import write_text
from stages.download.contents import MirrorError

FEW, BATCH, STEPS = 5_000, 32, 3_000  # fewer training images need smaller batches and more epochs than MNIST


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tools.import", description=__doc__)
    options.add_argument("path", help="a file or a folder")
    options.add_argument("--name", help="of the entry; the name of the file or folder by default")
    options.add_argument("--group", help="a folder: a pattern, or a column of labels.csv, that says who made a picture")
    chosen = options.parse_args(arguments)
    path = Path(chosen.path).expanduser()
    if not chosen.path or not path.exists():
        raise UserError(f"FROM is {chosen.path!r}, must be a file or a folder that exists: make import FROM=/path")
    name = chosen.name or named(path)
    if not re.fullmatch(NAME, name):
        raise UserError(f"NAME is {name!r}, must begin with a letter and have letters, digits, - and _ only")

    try:
        found = look(path, chosen.group)
    except (MirrorError, ValueError, EOFError, zlib.error, zipfile.BadZipFile, re.error) as error:  # damaged files
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    place = path if path.is_dir() else path.parent
    inside = place.resolve().is_relative_to(Path.cwd())
    found.source["mirrors"] = [os.path.relpath(place) if inside else str(place.resolve())]
    found.source["mirror_variable"] = f"{name.upper().replace('-', '_')}_MIRROR"
    catalog = parameters.load(datasets.FILE)
    for other, entry in catalog.items():
        if isinstance(entry, dict) and entry.get("source", {}).get("files") == found.source["files"]:
            print(f"import: {datasets.FILE} has these data already, as {other}: nothing changed")
            print(f"next:   {command(other, entry)}")
            return
    if name in catalog:
        raise UserError(f"{datasets.FILE} has an entry {name} of other data: choose another NAME")
    entry, lines = entry_of(name, found)
    write_text(datasets.FILE, f"{datasets.FILE.read_text(encoding='utf-8').rstrip()}\n\n{as_yaml(name, entry)}")
    print("\n".join(f"import: {line}" for line in [*found.lines, *lines]))
    print(f"import: added to {datasets.FILE} as {name}; its title, licence and citation are yours to fill in")
    print(f"next:   {command(name, entry)}")


def named(path: Path) -> str:
    """A name for the data at `path`: its file name up to the first dot, in lower case, `_` for all but letters."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", path.resolve().name.partition(".")[0]).strip("_").lower()
    return words if re.match("[a-z]", words) else f"data_{words}".rstrip("_")


def as_yaml(name: str, entry: dict[str, Any]) -> str:
    """The entry as text of datasets.yaml, its lists on one line."""

    def laid_out(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: laid_out(inner) for key, inner in value.items()}
        if isinstance(value, list):
            value = CommentedSeq(value)
            value.fa.set_flow_style()
        return value

    writer = YAML()
    writer.width, writer.allow_unicode = 120, True
    text = StringIO()
    writer.dump({name: laid_out(entry)}, text)
    return text.getvalue()


def command(name: str, entry: dict[str, Any]) -> str:
    """What to run next; a network that takes colour, and more epochs of smaller batches for a small set."""
    line = f"dvc exp run -S download.dataset={name}"
    if entry["source"].get("channels") == 3:
        line += f" -S preprocess.channels=3 -S preprocess.image_size={min(64, entry['expect']['image_size'])}"
    images = entry["expect"]["train_images"]
    if images >= FEW:
        return line
    epochs = max(16, min(200, round(STEPS / max(1, images // BATCH))))
    return f"{line} -S train.batch_size={BATCH} -S train.epochs={epochs}"


if __name__ == "__main__":
    run("import", partial(main, sys.argv[1:]))

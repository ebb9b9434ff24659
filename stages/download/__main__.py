"""Bring the data set that params.yaml names to data/raw/: all of it, verified, or nothing."""

import argparse
import hashlib
import shutil
from pathlib import Path

from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import write_json
from stages.download.folders import replacing_folder
from stages.download.mirrors import answers, in_order
from stages.download.params import About, Download, Source
from stages.download.sources import KEPT, bring_images, bring_writers

RAW = Path("data/raw")
PROBE_SECONDS = 4
PROBE_FILE = "t10k-labels-idx1-ubyte"


def main() -> None:
    settings, about, source = read_parameters()

    with replacing_folder(RAW) as folder:
        bring_images(settings, source, folder)
        writers = source.writers is not None and bring_writers(settings, source.writers, folder)
        sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
        description = {"name": settings.dataset, **about.model_dump(), "files": sums, "writers": writers}
        write_json(folder / "dataset.json", description)

    shutil.rmtree(KEPT, ignore_errors=True)
    print(f"download: {RAW} holds {about.title}, verified{', and its writers' if writers else ''}")


def probe() -> None:
    """Say within seconds whether any source offers the data set, writing nothing; exit code 1 where none does."""
    settings, _, source = read_parameters()
    if source.embedded:
        print(f"download: {settings.dataset} comes with {source.embedded}, no network needed")
        return
    mirrors = in_order(source.mirrors, source.mirror_variable)
    offering = answers(mirrors, PROBE_FILE, PROBE_SECONDS)
    if not offering:
        raise UserError(f"no source of {settings.dataset} answers: {', '.join(mirrors)}")
    print(f"download: {settings.dataset} is offered by {offering[0]}")


def read_parameters() -> tuple[Download, About, Source]:
    settings = parameters.read("download", Download)
    values = parameters.load()
    table = values.get("datasets")
    # `datasets` looks at every name, on which this stage must not depend: only for the sentence.
    if not isinstance(table, dict) or settings.dataset not in table:
        known = ", ".join(parameters.datasets(values))
        raise UserError(f"params.yaml: download.dataset is {settings.dataset!r}, must be one of {known}")
    entry = f"datasets.{settings.dataset}"
    return settings, parameters.read(f"{entry}.about", About), parameters.read(f"{entry}.source", Source)


if __name__ == "__main__":
    options = argparse.ArgumentParser(prog="python -m stages.download", description=__doc__)
    options.add_argument("--probe", action="store_true", help="only say whether a source answers (exit code 0 or 1)")
    run("download", probe if options.parse_args().probe else main)

"""Bring the data set that params.yaml names to data/raw/: all of it, verified, or nothing."""

import argparse
import shutil
from pathlib import Path

from stages import datasets
from stages.checksums import digest
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import found, write_json
from stages.download.addresses import masked
from stages.download.folders import replacing_folder
from stages.download.mirrors import in_order, offering
from stages.download.params import Download, Downloaded
from stages.download.sources import KEPT, bring_images, bring_writers
from stages.download.threads import side_by_side

RAW = Path("data/raw")
PROBE_SECONDS = 4


def main() -> None:
    p = parameters.read("download", Download)
    source = datasets.entry(p.dataset, Downloaded).source

    with replacing_folder(RAW) as folder:
        done = bring_images(p, source, folder)
        writers = source.writers is not None and bring_writers(p, source.writers, source.largest_file_bytes, folder)
        files = sorted(folder.iterdir())
        sums = dict(zip([path.name for path in files], side_by_side(digest, files), strict=True))
        write_json(folder / "dataset.json", {"name": p.dataset, "files": sums} | ({"done": done} if done else {}))

    shutil.rmtree(KEPT, ignore_errors=True)
    print(f"download: {RAW} holds {p.dataset}, verified{', and its writers' if writers else ''}")


def probe() -> None:
    """Say within seconds whether any source offers the data set; write nothing; exit with code 1 if none does."""
    p = parameters.read("download", Download)
    source = datasets.entry(p.dataset, Downloaded).source
    if source.embedded:
        print(f"download: {p.dataset} comes with {source.embedded}, no network needed")
        return
    mirrors = in_order(source.mirrors, source.mirror_variable)
    if source.kind == "folder":
        answering = [mirror for mirror in mirrors if found(mirror).is_dir()]
    else:
        answering = offering(mirrors, min(source.files), PROBE_SECONDS)
    if not answering:
        raise UserError(f"no source of {p.dataset} answers: {', '.join(map(masked, mirrors))}")
    print(f"download: {p.dataset} is offered by {masked(answering[0])}")


if __name__ == "__main__":
    options = argparse.ArgumentParser(prog="python -m stages.download", description=__doc__)
    options.add_argument("--probe", action="store_true", help="only say whether a source answers (exit code 0 or 1)")
    run("download", probe if options.parse_args().probe else main)

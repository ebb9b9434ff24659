"""`make run`: bring the pipeline up to date, and say what came out and what to do next.

The pipeline itself never switches its data set. This command does, if no source has the one that params.yaml names: it
says so and runs the embedded digits as a DVC experiment.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from record import environment, leftovers, lock, readable
from record import parameters as every
from record.children import called
from record.git import WORKING_TREE, on_disk, stray_note
from stages import datasets
from stages.common import parameters
from stages.common.entry import UserError, no_arguments, run
from stages.datasets import Part
from stages.download.params import Downloaded

EMBEDDED = "digits"
RAW = Path("data/raw/dataset.json")
# An experiment is a Git commit: without a name and an address, DVC would fail at its end.
NOBODY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in {"NAME": "nobody", "EMAIL": "nobody@localhost"}.items()
}


class Titled(Part):
    """What the summary shows of an entry of datasets.yaml."""

    about: datasets.About


def main() -> None:
    leftovers.restore_lock()
    readable.check([lock.FILE])
    every.check()
    leftovers.sweep()
    if note := stray_note():
        print(f"run: {note}", file=sys.stderr)
    asked = parameters.load()["download"]["dataset"]
    if offered(asked):
        command = ["repro"]
    else:
        print(f"No source of {asked} answers: running the embedded {EMBEDDED} instead.", flush=True)
        command = ["exp", "run", "-S", f"download.dataset={EMBEDDED}"]

    with TemporaryDirectory() as folder:
        record = Path(folder) / "seconds.jsonl"
        variables = ({} if known_to_git() else NOBODY) | os.environ | {"STAGE_SECONDS": str(record)}
        if called("dvc", *command, env=variables):
            raise UserError("the pipeline stopped: the reason is above")
        forget_training()
        lines = record.read_text().splitlines() if record.exists() else []
    print("\n" + summary([json.loads(line) for line in lines], asked))


def forget_training() -> None:
    """Remove what a killed training left: once the pipeline is up to date, none goes on with it."""
    if any(Path("data").glob(".training/*")):
        from stages.train import checkpoint  # brings NumPy

        shutil.rmtree(checkpoint.folder(Path("models")), ignore_errors=True)


def offered(dataset: str) -> bool:
    """Whether `dataset` is here already, the user has set a mirror, or some source answers within seconds."""
    with suppress(OSError, ValueError, TypeError, KeyError):  # absent or broken, and then downloaded again
        if dataset_here() == dataset:
            return True
    variable = datasets.entry(dataset, Downloaded).source.mirror_variable
    if variable and os.environ.get(variable, "").strip():
        return True  # the user has named a source: `download` says why it fails, if it does
    probe = [sys.executable, "-m", "stages.download", "--probe"]
    return subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0


def dataset_here() -> str:
    """The name of the data set in data/raw."""
    return str(json.loads(RAW.read_text(encoding="utf-8"))["name"])


def known_to_git() -> bool:
    return subprocess.run(["git", "config", "user.email"], stdout=subprocess.DEVNULL).returncode == 0


def summary(stages: Sequence[Mapping[str, Any]], asked: str) -> str:
    """The lines that are printed after a run; `stages` are the stages that ran, with their seconds."""
    name = dataset_here()
    images = json.loads(Path("data/prepared/dataset.json").read_text(encoding="utf-8"))["images"]
    numbers = json.loads(Path("metrics/evaluate.json").read_text(encoding="utf-8"))
    trained = json.loads(Path("metrics/train.json").read_text(encoding="utf-8"))
    times = ", ".join(f"{stage['stage']} {stage['seconds']:.1f} s" for stage in stages)
    lines = [
        f"Data set   {datasets.entry(name, Titled).about.title}: {images['train']:,} train, "
        f"{images['validation']:,} validation, {images['test']:,} test images",
        f"Model      {parameters.load()['train']['model']}, {trained['parameters']:,} parameters",
        f"Trained    {environment.parse(WORKING_TREE, on_disk).sentence}",
        f"Accuracy   {numbers['accuracy']:.2%} on the test images (95 % interval {numbers['accuracy_low']:.2%} to "
        f"{numbers['accuracy_high']:.2%}), {numbers['mistakes']} mistakes",
        f"Time       {times}" if stages else "Time       nothing changed, so nothing ran",
        "Report     reports/index.html (data: reports/data/index.html)",
        "Next       source .venv/bin/activate, then: dvc metrics diff · dvc exp run -S train.model=fnn · dvc dag",
    ]
    if name != asked:
        variable = datasets.entry(asked, Downloaded).source.mirror_variable
        lines.append(
            f"           params.yaml now names {name}; back to {asked}: git restore params.yaml, "
            f"{f'set {variable} or ' if variable else ''}find a network, make run"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    no_arguments(__doc__)
    run("run", main)

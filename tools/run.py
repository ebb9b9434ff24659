"""`make run`: the pipeline from wherever it stands to a number and a page, and what to do next.

The pipeline itself never chooses its data; this launcher does, once: where nothing offers the data
set that params.yaml names, it says so and runs the embedded digits as a DVC experiment.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.common import parameters
from stages.common.entry import UserError, no_arguments, run
from stages.download.params import Source
from tools import check

EMBEDDED = "digits"
# An experiment is a Git commit; on a machine where Git knows nobody, DVC would fail at its end.
NOBODY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in {"NAME": "nobody", "EMAIL": "nobody@localhost"}.items()
}


def main() -> None:
    check.main()
    asked = parameters.load()["download"]["dataset"]
    if offered(asked):
        command = ["repro"]
    else:
        print(f"No source of {asked} answers: running the embedded {EMBEDDED} instead.", flush=True)
        command = ["exp", "run", "-S", f"download.dataset={EMBEDDED}"]

    with TemporaryDirectory() as folder:
        record = Path(folder) / "seconds.jsonl"
        environment = (NOBODY if unknown_to_git() else {}) | os.environ | {"STAGE_SECONDS": str(record)}
        finished = subprocess.run([sys.executable, "-m", "dvc", *command], env=environment)
        if finished.returncode:
            raise UserError("the pipeline stopped: the reason is above")
        lines = record.read_text().splitlines() if record.exists() else []
    print("\n" + summary([json.loads(line) for line in lines], asked))


def offered(dataset: str) -> bool:
    """Whether `dataset` is here already, or some source of it answers within seconds."""
    with suppress(OSError, ValueError, TypeError, KeyError):  # absent or broken, and then downloaded again
        if json.loads(Path("data/raw/dataset.json").read_text(encoding="utf-8"))["name"] == dataset:
            return True
    return (
        subprocess.run([sys.executable, "-m", "stages.download", "--probe"], stderr=subprocess.DEVNULL).returncode == 0
    )


def unknown_to_git() -> bool:
    return subprocess.run(["git", "config", "user.email"], stdout=subprocess.DEVNULL).returncode != 0


def summary(stages: list[dict], asked: str) -> str:
    """The lines a person wants after a run: `stages` are those that ran, with their seconds."""
    dataset = json.loads(Path("data/prepared/dataset.json").read_text(encoding="utf-8"))
    numbers = json.loads(Path("metrics/evaluate.json").read_text(encoding="utf-8"))
    model = json.loads(Path("models/training.json").read_text(encoding="utf-8"))
    times = ", ".join(f"{stage['stage']} {stage['seconds']:.1f} s" for stage in stages)
    lines = [
        f"Data set   {dataset['title']}: {dataset['images']['train']:,} train, "
        f"{dataset['images']['validation']:,} validation, {dataset['images']['test']:,} test images",
        f"Model      {model['model']}, {model['parameters']:,} parameters",
        f"Accuracy   {numbers['accuracy']:.2%} on the test images (95 % interval {numbers['accuracy_low']:.2%} to "
        f"{numbers['accuracy_high']:.2%}), {numbers['mistakes']} mistakes",
        f"Time       {times}" if stages else "Time       nothing changed, so nothing ran",
        f"Report     {Path('reports/index.html')} (data: {Path('reports/data/index.html')})",
        "Next       source .venv/bin/activate, then: dvc metrics diff · dvc exp run -S train.model=fnn · "
        "dvc dag dvc.yaml",
    ]
    if dataset["name"] != asked:
        variable = parameters.read(f"datasets.{asked}.source", Source).mirror_variable
        lines.append(
            f"           params.yaml now names {dataset['name']}; back to {asked}: git restore params.yaml, "
            f"{f'set {variable} or ' if variable else ''}find a network, make run"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    no_arguments(__doc__)
    run("run", main)

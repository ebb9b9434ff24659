"""The time that DVC and six processes add to one plain script that does the same work in one process.

    python -m benchmarks.pipeline            # the data set and parameters of params.yaml

It works in a copy of the repository in a temporary folder, with an empty cache. If MNIST_MIRROR is a folder, it must
be an absolute path. It prints the time, the import time and the peak resident memory of each stage. Then it prints the
time of the script, of a `dvc repro` without a cache, after each kind of change, and with nothing to do.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from record.copies import copy_repository
from record.documents import dump
from record.parameters import STAGES
from stages.common import parameters
from stages.common.entry import no_arguments

IMPORTS = {  # what a stage imports only after checking its input
    "validate": ["stages.validate.suite", "stages.validate.pictures"],
    "train": ["stages.train.environment", "stages.train.fitting", "stages.train.export"],
}
PLAIN = "from stages.{0}.__main__ import main as {0}"


def main() -> None:
    """Measure the stages, the script and DVC; print a line for each."""
    with TemporaryDirectory() as parent:
        print(f"{'stage':12} {'time':>8} {'imports':>12} {'peak memory':>12}")
        alone = copy(Path(parent) / "stages")
        for stage in STAGES:
            modules = [f"stages.{stage}.__main__", *IMPORTS.get(stage, [])]
            imports, _ = timed(alone, sys.executable, "-c", f"import {', '.join(modules)}")
            seconds, memory = timed(alone, sys.executable, "-m", f"stages.{stage}")
            print(f"{stage:12} {seconds:>6.1f} s {imports:>10.1f} s {memory:>8.0f} MB", flush=True)

        script = "\n".join([*(PLAIN.format(stage) for stage in STAGES), *(f"{stage}()" for stage in STAGES)])
        plain, _ = timed(copy(Path(parent) / "plain"), sys.executable, "-c", script)
        folder = copy(Path(parent) / "dvc")
        cold = repro(folder)
        print(f"\none plain script     {plain:6.1f} s")
        print(f"cold dvc repro       {cold:6.1f} s   {cold / plain:.2f} × the script", flush=True)
        for stage, key, value in (
            ("report", "gallery_images", 59),
            ("evaluate", "reliability_bins", 14),
            ("train", "seed", 12345),
        ):
            change(folder, stage, key, value)
            print(f"after {stage:14} {repro(folder):6.1f} s   ({stage}.{key} changed)", flush=True)
        status = min(timed(folder, sys.executable, "-m", "dvc", "status", "-q", "dvc.yaml")[0] for _ in range(3))
        nothing = min(repro(folder) for _ in range(3))
        print(f"dvc status           {status:6.1f} s")
        print(f"nothing to do        {nothing:6.1f} s   {nothing / status:.2f} × dvc status")


def copy(folder: Path) -> Path:
    """Copy the repository to `folder`, which is returned."""
    copy_repository(folder)
    return folder


def repro(folder: Path) -> float:
    """Seconds of `dvc repro` in `folder`."""
    return timed(folder, sys.executable, "-m", "dvc", "repro", "--quiet")[0]


def timed(folder: Path, *command: str) -> tuple[float, float]:
    """Seconds and peak resident memory in MB of `command`, run in `folder`; its output is hidden.

    Ends the process if the command fails.
    """
    start = time.perf_counter()
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(command, cwd=folder, stdout=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def change(folder: Path, stage: str, key: str, value: int) -> None:
    """Set one parameter in the params.yaml of `folder`."""
    path = folder / "params.yaml"
    values = parameters.load(path)
    values[stage][key] = value
    path.write_text(dump(values), encoding="utf-8")


if __name__ == "__main__":
    no_arguments(__doc__)
    main()

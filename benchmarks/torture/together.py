"""Two runs in one folder at once: each ends well or with a line, and the next run is whole."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.torture.sandbox import Found, copied, in_plain_words, made, recovered, run, tree
from record.parameters import STAGES

WHOLE, LAUNCHER = ("dvc", "repro", "--no-run-cache"), ("tools.run",)
PAIRS = {"two dvc repro": (WHOLE, WHOLE), "two launchers": (LAUNCHER, LAUNCHER), "one of each": (WHOLE, LAUNCHER)}
PAIRS |= {f"two of {stage}": ((f"stages.{stage}",), (f"stages.{stage}",)) for stage in STAGES}


def together(base: Path) -> Found:
    """Each pair and what went wrong. `base` is a copy of the repository with a finished run."""
    reference = tree(base)
    with TemporaryDirectory() as parent, ThreadPoolExecutor(2) as pool:
        fresh = made(Path(parent) / "fresh")
        for name, pair in PAIRS.items():
            folder = copied(base if name.startswith("two of") else fresh, Path(parent) / name)
            ended = list(pool.map(lambda command, here=folder: run(here, *command, seconds=300), pair))
            wrong = [line for each in ended for line in in_plain_words(each)]
            yield name, wrong + recovered(folder, reference)

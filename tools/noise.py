"""`make noise`: measure how much the accuracy varies across seeds.

Trains and scores the model of params.yaml with several seeds, from `train.seed` on, by the stages' own code on
`data/prepared`, and writes metrics/noise.json. The pipeline's files stay as they are. With `--model`, it takes a model
of comparison/params.yaml instead and writes comparison/noise/MODEL.json.
"""

import argparse
import fcntl
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from record import results
from record.children import called
from record.documents import dump
from record.freshness import checksum
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import write_json
from stages.train.params import Train

COMPARISON = Path("comparison/params.yaml")
SCRATCH, LOCK = Path("data/.noise"), Path("data/.noise.lock")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tools.noise", description=__doc__)
    options.add_argument("--seeds", type=int, default=5, help="how many trainings, at least 2")
    options.add_argument("--model", help="a model of comparison/params.yaml instead of the pipeline's own")
    chosen = options.parse_args()
    if chosen.seeds < 2:
        raise UserError(f"--seeds is {chosen.seeds}, must be at least 2")
    if not Path("data/prepared/dataset.json").exists():
        raise UserError("data/prepared is missing: make it with `dvc repro preprocess`")
    parameters.read("train", Train)  # checks the block; below it is used as the file has it, as dvc.lock records it
    block, output = parameters.load()["train"], Path(results.NOISE)
    if chosen.model:
        block, output = compared(chosen.model), Path("comparison/noise") / f"{chosen.model}.json"
    recipe = results.recipe(block, *(checksum("train", path) for path in results.TRAINED_ON))
    measured = {"test_data": checksum("preprocess", results.TEST_DATA), "recipe": recipe}
    seeds = seeds_apart(block, chosen.seeds)
    with alone():
        accuracies = [scored(block | {"seed": seed})["accuracy"] for seed in seeds]
    write_json(output, noise(seeds, accuracies) | measured)
    print(output.read_text(encoding="utf-8"))


@contextmanager
def alone() -> Iterator[None]:
    """Raise `UserError` if another `make noise` works in this repository: both would use the same folder."""
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError("another `make noise` is running here: wait until it has ended") from None
        yield


def compared(model: str) -> dict[str, Any]:
    """The block of `model` in comparison/params.yaml. Raises `UserError` if there is none."""
    blocks = parameters.load(COMPARISON).get("models")
    if not isinstance(blocks, dict):
        raise UserError(f"{COMPARISON}: models is missing, or not a block for each model")
    if model not in blocks:
        raise UserError(f"--model is {model}, must be one of {COMPARISON}: {', '.join(blocks)}")
    parameters.read(f"models.{model}", Train, COMPARISON)
    block: dict[str, Any] = blocks[model]
    return block


def seeds_apart(block: Mapping[str, Any], count: int) -> list[int]:
    """`count` seeds, beginning with the seed of `block`, so far apart that no two ensembles share a member."""
    return [block["seed"] + number * block["ensemble"] for number in range(count)]


def scored(block: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of metrics/evaluate.json for a training with `block`, by the two stages, in a folder of its own.

    The folder is always the same: `train` finds the state of a stopped training in data/.training by its name.
    """
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    params = SCRATCH / "params.yaml"
    params.write_text(dump({"train": block}), encoding="utf-8")
    train = ["stages.train", "--params", str(params), "--models", str(SCRATCH), "--metrics", str(SCRATCH)]
    paths = {"--model": "model.tflite", "--numbers": "evaluate.json", "--tables": "", "--predictions": ""}
    evaluate = ["stages.evaluate", *(part for key, name in paths.items() for part in (key, f"{SCRATCH}/{name}"))]
    for stage in (train, evaluate):
        if called(*stage):
            raise UserError(f"training with seed {block['seed']} failed: the reason is above")
    numbers = results.json_object("evaluate.json", (SCRATCH / "evaluate.json").read_bytes())
    shutil.rmtree(SCRATCH)
    return numbers


def noise(seeds: Sequence[int], accuracies: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation and range of the `accuracies`, one for each seed."""
    return {
        "accuracy_mean": round(statistics.mean(accuracies), 5),
        "accuracy_sd": round(statistics.stdev(accuracies), 5),
        "accuracy_low": min(accuracies),
        "accuracy_high": max(accuracies),
        "seeds": seeds,
        "accuracies": accuracies,
    }


if __name__ == "__main__":
    run("noise", main)

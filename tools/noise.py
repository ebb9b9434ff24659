"""`make noise`: what the seed alone does to the accuracy, so that a reader knows what a difference of one run is worth.

Trains and scores the model of params.yaml with the seeds from `train.seed` on, by the stages' own
code on `data/prepared`, and writes metrics/noise.json. Nothing of the pipeline is touched. With
`--model`, a model of comparison/params.yaml in its place, and comparison/noise/MODEL.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo

from review import results
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import write_json
from stages.train.params import Train

NOISE = Path("metrics/noise.json")
COMPARISON = Path("comparison/params.yaml")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tools.noise", description=__doc__)
    options.add_argument("--seeds", type=int, default=5, help="how many trainings, at least 2")
    options.add_argument("--model", help="one of comparison/params.yaml in place of the pipeline's own")
    chosen = options.parse_args()
    count = chosen.seeds
    if count < 2:
        raise UserError(f"--seeds is {count}, must be at least 2")
    if not Path("data/prepared/dataset.json").exists():
        raise UserError("data/prepared is missing: make it with `dvc repro preprocess`")
    parameters.read("train", Train)  # as the file has it, it must be sound: dvc.lock has the values so
    block, output = parameters.load()["train"], NOISE
    if chosen.model:
        block, output = compared(chosen.model), Path("comparison/noise") / f"{chosen.model}.json"
    recipe = results.recipe(block, *(checksum("train", path) for path in results.TRAINED_ON))
    measured = {"test_data": checksum("preprocess", results.TEST_DATA), "recipe": recipe}
    seeds = seeds_apart(block, count)
    scores = [scored(block | {"seed": seed}) for seed in seeds]
    write_json(output, noise(seeds, [each["accuracy"] for each in scores]) | measured)
    print(output.read_text(encoding="utf-8"))


def checksum(stage: str, path: str) -> str:
    """Of what `stage` reads or writes at `path`, as it is now and as `dvc repro` records it: a lock may be older."""
    try:
        with Repo() as repo:
            [entry] = [entry for entry in repo.index.stages if entry.addressing == stage]
            [item] = [item for item in [*entry.deps, *entry.outs] if item.fs_path == str(Path(path).resolve())]
            return item.get_hash().value
    except DvcException as error:
        raise UserError(" ".join(str(error).split())) from None


def compared(model: str) -> dict:
    """The block of `model` in comparison/params.yaml. Raises `UserError` where it has none."""
    blocks = parameters.load(COMPARISON).get("models")
    if not isinstance(blocks, dict):
        raise UserError(f"{COMPARISON}: models is missing, or not a block for each model")
    if model not in blocks:
        raise UserError(f"--model is {model}, must be one of {COMPARISON}: {', '.join(blocks)}")
    parameters.read(f"models.{model}", Train, COMPARISON)
    return blocks[model]


def seeds_apart(block: dict, count: int) -> list[int]:
    """`count` seeds from that of `block` on, of which no two ensembles share a member."""
    return [block["seed"] + number * block["ensemble"] for number in range(count)]


def scored(block: dict) -> dict[str, float]:
    """The numbers of metrics/evaluate.json for a training with `block`, by the two stages in a folder of their own."""
    with TemporaryDirectory() as folder:
        params = Path(folder) / "params.yaml"
        params.write_text(yaml.safe_dump({"train": block}), encoding="utf-8")
        train = ["stages.train", "--params", str(params), "--models", folder, "--metrics", folder]
        paths = {"--model": "model.tflite", "--numbers": "evaluate.json", "--tables": "", "--predictions": ""}
        evaluate = ["stages.evaluate", *(part for key, name in paths.items() for part in (key, f"{folder}/{name}"))]
        for stage in (train, evaluate):
            if subprocess.run([sys.executable, "-m", *stage]).returncode:
                raise UserError(f"training with seed {block['seed']} failed: the reason is above")
        return json.loads((Path(folder) / "evaluate.json").read_text(encoding="utf-8"))


def noise(seeds: list[int], accuracies: list[float]) -> dict:
    """Mean, sample standard deviation and range of the `accuracies`, one a seed."""
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

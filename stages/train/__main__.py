"""Train the model that params.yaml names and save it for Keras and for LiteRT."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import parameters
from stages.common.entry import run
from stages.common.files import replacing, write_json, write_text
from stages.common.quiet import silence
from stages.train.params import Train
from stages.train.transfer import check as check_start

PREPARED = Path("data/prepared")


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    p, where = parameters.read(options.block, Train, options.params), f"{options.params}: {options.block}"
    if p.init_from:
        check_start(p.init_from, where)
    classes = len(json.loads((PREPARED / "dataset.json").read_text(encoding="utf-8"))["classes"])

    # TensorFlow takes seconds to import: a mistake in the parameters is told before that.
    from stages.train import calibration, environment, export, fitting, models, training

    strategy = environment.fix(p.seed, p.threads)
    precision = environment.choose_precision(p.precision)
    build = partial(getattr(models, p.model), classes, **p.model_options)
    model = fitting.checked(build, p, where)
    print(f"train: {p.model}, {model.count_params():,} parameters, {precision}, {p.threads} threads")
    train, validation = read("train"), read("validation")
    with strategy.scope():
        cross_validation, out_of_fold = fitting.cross_validate(build, train, validation, p, precision)
        start = time.perf_counter()
        members, history = fitting.fit_members(build, train, validation, p, precision)
        seconds = time.perf_counter() - start
    if environment.is_helper(strategy):
        return  # every worker ends with the same weights: the first one writes them

    shipped = export.shippable(build, members, p.model)
    probabilities = training.answers(shipped, validation["images"])
    temperature = {}
    if p.temperature_scaling:
        temperature["temperature"] = calibration.fit_temperature(probabilities, validation["labels"])
        shipped = export.tempered(shipped, **temperature)
        probabilities = training.answers(shipped, validation["images"])
    validation_loss, validation_accuracy = fitting.score(probabilities, validation["labels"])

    with replacing(options.models / "model.keras") as path:
        export.save_keras(shipped, path)
    with replacing(options.models / "model.tflite") as path, silence():
        path.write_bytes(export.litert(shipped))
    with replacing(options.models / "out_of_fold.npz") as path, path.open("wb") as file:
        parts = out_of_fold[: len(train["labels"])], out_of_fold[len(train["labels"]) :]
        np.savez(file, train=parts[0], validation=parts[1])
    provenance = {
        "model": p.model,
        "parameters": shipped.count_params(),
        "precision": precision,
        "threads": p.threads,
        "seed": p.seed,
        "processor": environment.processor(),
        "versions": environment.versions(),
    }
    write_json(options.models / "training.json", provenance)
    numbers = {
        "loss": history[-1]["loss"],
        "accuracy": history[-1]["accuracy"],
        "validation_loss": validation_loss,
        "validation_accuracy": validation_accuracy,
        **temperature,
        **cross_validation,
    }
    counts = {"epochs": len(history), "parameters": shipped.count_params()}
    write_json(options.metrics / "train.json", {name: round(value, 5) for name, value in numbers.items()} | counts)
    table = pd.DataFrame(history).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(options.metrics / "history.csv", table)
    if options.seconds:
        write_json(options.seconds, {"training_seconds": round(seconds, 1)})


def read(part: str) -> dict[str, np.ndarray]:
    """`images` (N, 28, 28), `labels` (N,) and, where known, `writers` (N,) of a prepared part."""
    folder = PREPARED / part
    names = ["images", "labels"] + ["writers"] * (folder / "writers.npy").exists()
    return {name: np.load(folder / f"{name}.npy") for name in names}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What to train and where to write; the defaults are the pipeline's own."""
    options = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    options.add_argument("--block", default="train", help="the block of parameters to read")
    options.add_argument("--params", type=Path, default=parameters.FILE, help="the file it is in")
    options.add_argument("--models", type=Path, default=Path("models"), help="the folder for the trained model")
    options.add_argument("--metrics", type=Path, default=Path("metrics"), help="the folder for its numbers")
    options.add_argument("--seconds", type=Path, help="a file for the time that training took")
    return options.parse_args(arguments)


if __name__ == "__main__":
    run("train", partial(main, sys.argv[1:]))

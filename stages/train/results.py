"""What a training leaves: the model that ships, where it comes from, and its metrics."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from stages import checksums
from stages.common.files import replacing, write_json, write_text
from stages.quiet import silence
from stages.train import calibration, environment, export, fitting, processor, training
from stages.train.blocks import Examples
from stages.train.fitting import Build, Folds
from stages.train.params import Train
from stages.train.training import Row

DIGITS = 5  # decimals of a metric


def shipped(
    build: Build, members: list[keras.Model], validation: Examples, p: Train
) -> tuple[keras.Model, dict[str, float]]:
    """One float32 model of all `members`, from pixels to probabilities, and its scores on the validation images."""
    model = export.shippable(build, members, p.model)
    probabilities = training.outputs(model, validation["images"])
    temperature = {}
    if p.temperature_scaling:
        temperature["temperature"] = calibration.fit_temperature(probabilities, validation["labels"])
        model = export.tempered(model, **temperature)
        probabilities = training.outputs(model, validation["images"])
    loss, accuracy = fitting.score(probabilities, validation["labels"])
    return model, {"validation_loss": loss, "validation_accuracy": accuracy, **temperature}


def write_models(folder: Path, model: keras.Model, folds: Folds) -> None:
    """Write the model for Keras and for LiteRT, the out-of-fold probabilities, which are empty without folds, and the
    checksums of the three."""
    with replacing(folder / "model.keras") as path:
        export.save_keras(model, path)
    with replacing(folder / "model.tflite") as path, silence():
        path.write_bytes(export.litert(model))
    with replacing(folder / "out_of_fold.npz") as path, path.open("wb") as file:
        np.savez(file, allow_pickle=False, **folds.out_of_fold)
    files = ("model.keras", "model.tflite", "out_of_fold.npz")
    checksums.write(folder / "model.sha256", [folder / name for name in files])


def write_environment(path: Path, precision: str) -> None:
    """Write what decided the bits of this training besides code, data and parameters."""
    decided = {
        "precision": precision,
        "processor": processor.kind(precision),
        "versions": environment.versions(),
    }
    write_json(path, decided)


def write_metrics(folder: Path, history: list[Row], scores: Mapping[str, float], parameters: int) -> None:
    """Write train.json, of the last epoch and of the model that ships, and history.csv, a row for each epoch."""
    numbers = {"loss": history[-1]["loss"], "accuracy": history[-1]["accuracy"], **scores}
    counts = {"epochs": len(history), "parameters": parameters}
    write_json(folder / "train.json", {name: round(value, DIGITS) for name, value in numbers.items()} | counts)
    table = pd.DataFrame(history).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(folder / "history.csv", table)


def write_seconds(path: Path, seconds: float) -> None:
    """Write the wall-clock time of the training, apart from every output that must be the same each time."""
    write_json(path, {"training_seconds": round(seconds, 1)})

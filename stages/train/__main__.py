"""Train the model that params.yaml names and save it for Keras and for LiteRT."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import parameters
from stages.common.entry import run
from stages.common.files import replacing, write_json, write_text
from stages.common.quiet import silence
from stages.train.params import Train

PREPARED, MODELS, METRICS = Path("data/prepared"), Path("models"), Path("metrics")
DECIMALS = 5


def main() -> None:
    p = parameters.read("train", Train)
    classes = len(json.loads((PREPARED / "dataset.json").read_text(encoding="utf-8"))["classes"])

    # TensorFlow takes seconds to import: a mistake in the parameters is told before that.
    from stages.train import environment

    environment.fix(p.seed, p.threads)
    import keras
    import tensorflow as tf

    from stages.train import export, models, training

    several = "TF_CONFIG" in os.environ
    strategy = tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.get_strategy()
    precision = environment.choose_precision(p.precision)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    build = getattr(models, p.model)
    with strategy.scope():
        model = build(classes)
        print(f"train: {p.model}, {model.count_params():,} parameters, {precision}, {p.threads} threads")
        validation = read("validation")
        history = training.train(model, *read("train"), validation, p)
        validation_loss, validation_accuracy = training.evaluation_function(model)(*validation)
    if several and strategy.cluster_resolver.task_id > 0:
        return  # every worker ends with the same weights: the first one writes them

    shipped = export.shippable(build, classes, model)
    with replacing(MODELS / "model.keras") as path:
        export.save_keras(shipped, path)
    with replacing(MODELS / "model.tflite") as path, silence():
        path.write_bytes(export.litert(shipped))
    write_json(
        MODELS / "training.json",
        {
            "model": p.model,
            "parameters": model.count_params(),
            "precision": precision,
            "threads": p.threads,
            "seed": p.seed,
            "processor": environment.processor(),
            "versions": environment.versions(),
        },
    )
    write_json(
        METRICS / "train.json",
        {
            "loss": round(history[-1]["loss"], DECIMALS),
            "accuracy": round(history[-1]["accuracy"], DECIMALS),
            "validation_loss": round(validation_loss, DECIMALS),
            "validation_accuracy": round(validation_accuracy, DECIMALS),
            "epochs": len(history),
            "parameters": model.count_params(),
        },
    )
    table = pd.DataFrame(history).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(METRICS / "history.csv", table)


def read(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) and labels (N,), uint8, of a prepared part."""
    return tuple(np.load(PREPARED / part / f"{name}.npy") for name in ("images", "labels"))


if __name__ == "__main__":
    run("train", main)

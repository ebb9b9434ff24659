"""Score the shipped model on the test images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from stages.common import parameters
from stages.common.entry import run
from stages.common.files import replacing, write_json, write_text
from stages.evaluate import scores
from stages.evaluate.model import predict
from stages.evaluate.params import Evaluate

TEST, MODEL = Path("data/prepared/test"), Path("models/model.tflite")
METRICS, PREDICTIONS = Path("metrics"), Path("data/predictions")


def main() -> None:
    p = parameters.read("evaluate", Evaluate)
    names = json.loads(Path("data/prepared/dataset.json").read_text(encoding="utf-8"))["classes"]
    images, labels = np.load(TEST / "images.npy", mmap_mode="r"), np.load(TEST / "labels.npy")

    probabilities = predict(MODEL, images)
    predicted = probabilities.argmax(axis=1)
    numbers = scores.summary(probabilities, labels, p.reliability_bins)
    series = TEST / "series.npy"
    if series.exists():
        by_series = scores.accuracy_by(np.load(series), predicted, labels)
        numbers |= {f"accuracy_series_{name}": value for name, value in by_series.items()}

    write_json(METRICS / "evaluate.json", numbers)
    write_table(METRICS / "mistakes.csv", scores.mistakes(probabilities, labels))
    write_table(METRICS / "classes.csv", scores.per_class(predicted, labels, names))
    write_table(METRICS / "roc.csv", scores.roc(probabilities, labels, names))
    write_table(METRICS / "reliability.csv", scores.reliability(probabilities, labels, p.reliability_bins))
    write_predictions(probabilities, labels, names)
    print(
        f"evaluate: accuracy {numbers['accuracy']:.2%} (95 % interval {numbers['accuracy_low']:.2%} to "
        f"{numbers['accuracy_high']:.2%}), {numbers['mistakes']} mistakes in {numbers['images']:,} images"
    )


def write_table(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def write_predictions(probabilities: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """`test.csv`, by class name, for `dvc plots`; its counts; every class's probability for whoever wants more."""
    predicted = probabilities.argmax(axis=1)
    matrix = confusion_matrix(labels, predicted, labels=range(len(names)))
    counts = pd.DataFrame(matrix, columns=names).assign(actual=names)[["actual", *names]]
    write_table(PREDICTIONS / "confusion_matrix.csv", counts)
    table = pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            "label": np.array(names)[labels],
            "predicted": np.array(names)[predicted],
            "confidence": probabilities.max(axis=1).round(4),
        }
    )
    write_table(PREDICTIONS / "test.csv", table)
    with replacing(PREDICTIONS / "probabilities.npy") as path:
        np.save(path, probabilities)


if __name__ == "__main__":
    run("evaluate", main)

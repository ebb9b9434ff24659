"""Score the shipped model on the test images."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
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

PREPARED = Path("data/prepared")


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    p = parameters.read("evaluate", Evaluate)
    dataset = json.loads((PREPARED / "dataset.json").read_text(encoding="utf-8"))
    names = dataset["classes"]
    test = {path.stem: np.load(path, mmap_mode="r") for path in sorted((PREPARED / "test").glob("*.npy"))}
    labels = np.asarray(test["labels"])

    probabilities = predict(options.model, test["images"])
    predicted = probabilities.argmax(axis=1)
    numbers = scores.summary(probabilities, labels, p.reliability_bins)
    if dataset.get("disputed"):
        numbers["accuracy_undisputed"] = scores.accuracy_without(dataset["disputed"], predicted, labels)
    if "writers" in test:
        numbers |= scores.writer_interval(test["writers"], predicted, labels)
    if "series" in test:
        by_series = scores.accuracy_by(test["series"], predicted, labels)
        numbers |= {f"accuracy_series_{name}": value for name, value in by_series.items()}

    write_json(options.numbers, numbers)
    write_table(options.tables / "mistakes.csv", scores.mistakes(probabilities, labels))
    write_table(options.tables / "classes.csv", scores.per_class(predicted, labels, names))
    write_table(options.tables / "roc.csv", scores.roc(probabilities, labels, names))
    write_table(options.tables / "reliability.csv", scores.reliability(probabilities, labels, p.reliability_bins))
    write_predictions(options.predictions, probabilities, labels, names)
    print(
        f"evaluate: accuracy {numbers['accuracy']:.2%} (95 % interval {numbers['accuracy_low']:.2%} to "
        f"{numbers['accuracy_high']:.2%}), {numbers['mistakes']} mistakes in {numbers['images']:,} images"
    )


def write_table(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def write_predictions(folder: Path, probabilities: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """`test.csv`, by class name, for `dvc plots`; its counts; every class's probability for whoever wants more."""
    predicted = probabilities.argmax(axis=1)
    matrix = confusion_matrix(labels, predicted, labels=range(len(names)))
    counts = pd.DataFrame(matrix, columns=names).assign(actual=names)[["actual", *names]]
    write_table(folder / "confusion_matrix.csv", counts)
    table = pd.DataFrame(
        {
            "index": np.arange(len(labels)),
            "label": np.array(names)[labels],
            "predicted": np.array(names)[predicted],
            "confidence": probabilities.max(axis=1).round(4),
        }
    )
    write_table(folder / "test.csv", table)
    with replacing(folder / "probabilities.npy") as path:
        np.save(path, probabilities)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Where to read and write; the defaults are the pipeline's own."""
    options = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    options.add_argument("--model", type=Path, default=Path("models/model.tflite"), help="the model to score")
    options.add_argument("--numbers", type=Path, default=Path("metrics/evaluate.json"), help="the file for its numbers")
    options.add_argument("--tables", type=Path, default=Path("metrics"), help="the folder for tables and curves")
    options.add_argument("--predictions", type=Path, default=Path("data/predictions"), help="the folder for answers")
    return options.parse_args(arguments)


if __name__ == "__main__":
    run("evaluate", partial(main, sys.argv[1:]))

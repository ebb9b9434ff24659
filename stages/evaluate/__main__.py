"""Score the shipped model on the test images."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages import arrays, checksums, datasets
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import replacing, write_json
from stages.evaluate import robustness, scores, suspects
from stages.evaluate.model import Model, probabilities_of
from stages.evaluate.params import Evaluate, Scored

TEST = Path("data/prepared/test")
HEADLINE = ("accuracy", "accuracy_low", "accuracy_high", "loss", "mistakes", "images")
LISTED = 1000  # suspect labels of the test and of the training images each, at most


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    p, dataset = parameters.read("evaluate", Evaluate), datasets.chosen(Scored)
    checksums.check(TEST.with_suffix(".sha256"))
    checksums.check(options.model.with_name("model.sha256"), options.model.name, "out_of_fold.npz")
    test = {path.stem: arrays.opened(path) for path in sorted(TEST.glob("*.npy"))}
    if not {"images", "labels"} <= test.keys():
        raise UserError(f"{TEST} lacks images.npy or labels.npy: make them with `dvc repro preprocess`")
    labels, classes = np.asarray(test["labels"]), dataset.classes
    if test["images"].dtype != np.uint8 or not 0 < len(labels) == len(test["images"]):
        raise UserError(f"{TEST}: not as many uint8 images as labels: make them again with `dvc repro preprocess`")

    probabilities = probabilities_of(options.model, TEST / "images.npy")
    if probabilities.shape != (len(labels), len(classes)):
        raise UserError(f"{options.model}: its outputs are not for {len(classes)} classes: train again")
    predicted = probabilities.argmax(axis=1)
    series = scores.accuracy_by(test.get("series", labels[:0]), predicted, labels)
    chosen = scores.stratified_sample(labels, p.robustness_images)
    model, sample = Model(options.model), arrays.some(test["images"], chosen)
    corrupted = robustness.accuracy_by_corruption(
        lambda images: model.predict(images).argmax(axis=1), sample, labels[chosen]
    )
    suspected = suspects.find(probabilities, labels, {"test": len(labels)})
    suspected_in_training = suspects.find_in_training(options.model.with_name("out_of_fold.npz"))

    numbers = scores.summary(probabilities, labels, p.reliability_bins)
    if dataset.disputed:
        numbers["accuracy_undisputed"] = scores.accuracy_without(dataset.disputed, predicted, labels)
    if "writers" in test:
        numbers |= scores.writer_interval(test["writers"], predicted, labels)
    numbers |= {f"accuracy_series_{group}": accuracy for group, accuracy in zip(series["group"], series["accuracy"])}
    numbers |= robustness.summary(corrupted)
    numbers["suspect_labels"] = len(suspected)
    if suspected_in_training is not None:
        numbers["suspect_labels_training"] = len(suspected_in_training)

    write_json(options.numbers, numbers)
    if options.headline:
        write_json(options.headline, {key: numbers[key] for key in HEADLINE})
    tables, predictions = options.tables, options.predictions
    write_table(tables / "mistakes.csv", scores.mistakes(probabilities, labels))
    write_table(tables / "classes.csv", scores.per_class(predicted, labels, classes))
    write_table(tables / "roc.csv", scores.roc(probabilities, labels, classes))
    write_table(tables / "reliability.csv", scores.reliability(probabilities, labels, p.reliability_bins))
    write_table(tables / "robustness.csv", corrupted)
    write_table(predictions / "test.csv", scores.predictions(probabilities, labels, classes))
    write_table(predictions / "confusion_matrix.csv", scores.confusion_counts(predicted, labels, classes))
    write_array(predictions / "probabilities.npy", probabilities)
    write_table(predictions / "series.csv", series)
    both = [suspected] if suspected_in_training is None else [suspected, suspected_in_training]
    write_table(predictions / "suspects.csv", pd.concat([table.head(LISTED) for table in both]))
    write_array(predictions / "corrupted.npy", robustness.examples(sample))
    print(
        f"evaluate: accuracy {numbers['accuracy']:.2%} (95 % interval {numbers['accuracy_low']:.2%} to "
        f"{numbers['accuracy_high']:.2%}), {numbers['mistakes']} mistakes in {numbers['images']:,} images"
    )


def write_table(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def write_array(path: Path, values: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.save(temporary, values)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Where to read and write; the defaults are the pipeline's own."""
    options = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    options.add_argument(
        "--model", type=Path, default=Path("models/model.tflite"), help="the model; beside it lies out_of_fold.npz"
    )
    options.add_argument("--numbers", type=Path, default=Path("metrics/evaluate.json"), help="the file for its numbers")
    options.add_argument("--headline", type=Path, help="a file for the few numbers that a table of models has room for")
    options.add_argument("--tables", type=Path, default=Path("metrics"), help="the folder for tables and curves")
    options.add_argument(
        "--predictions", type=Path, default=Path("data/predictions"), help="the folder for predictions"
    )
    return options.parse_args(arguments)


if __name__ == "__main__":
    run("evaluate", partial(main, sys.argv[1:]))

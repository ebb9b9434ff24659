"""Score the shipped model on the test images."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import replacing, write_json, write_text
from stages.evaluate import robustness, scores, suspects
from stages.evaluate.model import Model
from stages.evaluate.params import Evaluate

PREPARED = Path("data/prepared")
HEADLINE = ("accuracy", "accuracy_low", "accuracy_high", "loss", "mistakes", "images")
LISTED = 1000  # suspect labels of the test and of the training images each, at most


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    p = parameters.read("evaluate", Evaluate)
    dataset = json.loads((PREPARED / "dataset.json").read_text(encoding="utf-8"))
    names = dataset["classes"]
    test = {path.stem: np.load(path, mmap_mode="r") for path in sorted((PREPARED / "test").glob("*.npy"))}
    labels = np.asarray(test["labels"])

    model = Model(options.model)
    probabilities = model.predict(test["images"])
    predicted = probabilities.argmax(axis=1)
    numbers = scores.summary(probabilities, labels, p.reliability_bins)
    if dataset.get("disputed"):
        numbers["accuracy_undisputed"] = scores.accuracy_without(dataset["disputed"], predicted, labels)
    if "writers" in test:
        numbers |= scores.writer_interval(test["writers"], predicted, labels)
    series = scores.accuracy_by(test.get("series", labels[:0]), predicted, labels)
    numbers |= {f"accuracy_series_{row.group}": row.accuracy for row in series.itertuples()}
    chosen = scores.stratified_sample(labels, p.robustness_images)
    corrupted = robustness.accuracy_by_corruption(
        lambda images: model.predict(images).argmax(axis=1), test["images"][chosen], labels[chosen]
    )
    numbers |= robustness.summary(corrupted)
    suspected = [suspects.find(probabilities, labels, {"test": len(labels)})]
    numbers["suspect_labels"] = len(suspected[0])
    if options.out_of_fold and (training := suspects_in_training(options.out_of_fold)) is not None:
        suspected.append(training)
        numbers["suspect_labels_training"] = len(training)

    write_json(options.numbers, numbers)
    if options.headline:
        write_json(options.headline, {key: numbers[key] for key in HEADLINE})
    write_table(options.tables / "mistakes.csv", scores.mistakes(probabilities, labels))
    write_table(options.tables / "classes.csv", scores.per_class(predicted, labels, names))
    write_table(options.tables / "roc.csv", scores.roc(probabilities, labels, names))
    write_table(options.tables / "reliability.csv", scores.reliability(probabilities, labels, p.reliability_bins))
    write_table(options.tables / "robustness.csv", corrupted)
    write_table(options.predictions / "test.csv", scores.answers(probabilities, labels, names))
    write_table(options.predictions / "confusion_matrix.csv", scores.confusion_counts(predicted, labels, names))
    write_array(options.predictions / "probabilities.npy", probabilities)
    write_table(options.predictions / "series.csv", series)
    write_table(options.predictions / "suspects.csv", pd.concat([table.head(LISTED) for table in suspected]))
    write_array(options.predictions / "corrupted.npy", robustness.examples(test["images"][chosen]))
    print(
        f"evaluate: accuracy {numbers['accuracy']:.2%} (95 % interval {numbers['accuracy_low']:.2%} to "
        f"{numbers['accuracy_high']:.2%}), {numbers['mistakes']} mistakes in {numbers['images']:,} images"
    )


def suspects_in_training(out_of_fold: Path) -> pd.DataFrame | None:
    """`suspects.find` in the training and validation images, or None where the training made no folds.

    Raises `UserError` where the probabilities are not those of the prepared images.
    """
    with np.load(out_of_fold) as parts:
        probabilities = {part: parts[part] for part in ("train", "validation")}
    labels = {part: np.load(PREPARED / part / "labels.npy") for part in probabilities}
    counts = {part: len(rows) for part, rows in probabilities.items()}
    if not any(counts.values()):
        return None
    if counts != {part: len(rows) for part, rows in labels.items()}:
        raise UserError(f"{out_of_fold}: has {counts}, other numbers of images than {PREPARED}; run `dvc repro`")
    return suspects.find(*(np.concatenate(list(of.values())) for of in (probabilities, labels)), counts)


def write_table(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def write_array(path: Path, values: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.save(temporary, values)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Where to read and write; the defaults are the pipeline's own."""
    options = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    options.add_argument("--model", type=Path, default=Path("models/model.tflite"), help="the model to score")
    options.add_argument("--numbers", type=Path, default=Path("metrics/evaluate.json"), help="the file for its numbers")
    options.add_argument("--headline", type=Path, help="a file for the few numbers that a table of models has room for")
    options.add_argument("--tables", type=Path, default=Path("metrics"), help="the folder for tables and curves")
    options.add_argument("--predictions", type=Path, default=Path("data/predictions"), help="the folder for answers")
    options.add_argument(
        "--out-of-fold",
        type=Path,
        help="the training's out-of-fold probabilities, to look for wrong labels of training images too",
    )
    return options.parse_args(arguments)


if __name__ == "__main__":
    run("evaluate", partial(main, sys.argv[1:]))

"""Write the page and the model card from what the stages before left under data, metrics and models."""

from pathlib import Path

import numpy as np

from stages import datasets
from stages.common import parameters
from stages.common.entry import no_arguments, run
from stages.common.files import write_text
from stages.report import inputs, pictures, tables
from stages.report.page import render
from stages.report.params import Report, Reported

RAW = Path("data/raw/dataset.json")
DATA = Path("data/prepared")
METRICS = Path("metrics")
PREDICTIONS = Path("data/predictions")
REPORTS = Path("reports")
CURVES = ("loss", "accuracy")
PARTS = ("train", "validation", "test")


def main() -> None:
    """Read, draw, render, write."""
    report = parameters.read("report", Report)
    blocks = tables.parameter_blocks(parameters.load())

    chosen = datasets.chosen(Reported)
    described = inputs.read_json(RAW) | inputs.read_json(DATA / "dataset.json")
    dataset = described | chosen.model_dump() | chosen.about.model_dump()
    training = inputs.read_json(Path("models/training.json"))
    trained = inputs.read_json(METRICS / "train.json")
    metrics = inputs.read_json(METRICS / "evaluate.json")
    classes = dataset["classes"]
    matrix = inputs.read_confusion_matrix(PREDICTIONS / "confusion_matrix.csv", classes)
    scores = inputs.read_table(
        METRICS / "classes.csv", ("class", "precision", "recall", "f1", "recall_low", "recall_high")
    )
    mistakes = inputs.read_table(METRICS / "mistakes.csv", ("index", "label", "predicted", "confidence"))
    history = inputs.read_table(METRICS / "history.csv", ("epoch", *CURVES, *(f"validation_{key}" for key in CURVES)))
    curves = inputs.read_table(METRICS / "roc.csv", ("class", "false_positive_rate", "true_positive_rate"))
    shares = ("accuracy", "accuracy_low", "accuracy_high")
    bins = inputs.read_table(METRICS / "reliability.csv", ("images", "confidence", *shares))
    robustness = inputs.read_table(METRICS / "robustness.csv", ("corruption", "accuracy", "images"))
    series = inputs.read_table(PREDICTIONS / "series.csv", ("group", "images", "right", *shares))
    suspects = inputs.read_table(
        PREDICTIONS / "suspects.csv", ("part", "index", "label", "suggested", "probability_of_suggested")
    )
    predictions = inputs.read_table(PREDICTIONS / "test.csv", ("label", "predicted", "confidence"))
    corrupted = inputs.read_images(PREDICTIONS / "corrupted.npy")
    images = {part: inputs.read_images(DATA / part / "images.npy") for part in PARTS}

    names = pictures.labels(classes)
    class_rows = tables.class_rows(scores, matrix, names)
    series_rows = tables.series_rows(series)
    robustness_rows = tables.robustness_rows(robustness)
    for row, strip in zip(robustness_rows, corrupted, strict=True):
        row["images"] = [pictures.png(image) for image in strip]
    galleries = {
        "worst": [row | {"part": "test"} for row in tables.worst(mistakes, names, report.gallery_images)],
        "suspects": tables.suspects(suspects, ("test",), names, report.gallery_images),
        "suspects_training": tables.suspects(suspects, ("train", "validation"), names, report.gallery_images),
    }
    disputed = {int(row["index"]) for row in suspects if row["part"] == "test"} & {*chosen.disputed}
    for row in (row for gallery in galleries.values() for row in gallery):
        row["image"] = pictures.png(images[row["part"]][row["index"]])

    column = {key: np.array([float(row[key]) for row in history]) for key in history[0]}
    confidence = np.array([float(row["confidence"]) for row in predictions])
    right = np.array([row["label"] == row["predicted"] for row in predictions])
    drawn = {
        key: pictures.training_curve(column["epoch"], column[key], column[f"validation_{key}"], key) for key in CURVES
    }
    drawn["confusion"] = pictures.confusion_matrix(matrix, names)
    drawn["recall"] = pictures.proportions(class_rows, names, metrics["accuracy"], "recall")
    drawn["roc"] = pictures.roc(curves, classes, names)
    drawn["confidence"] = pictures.confidence_histogram(confidence, right)
    drawn["reliability"] = pictures.reliability(bins)
    drawn["robustness"] = pictures.robustness(robustness_rows, metrics["accuracy"])
    if series_rows:
        series_names = [row["name"] for row in series_rows]
        drawn["series"] = pictures.proportions(series_rows, series_names, metrics["accuracy"], "accuracy")

    known = {
        "dataset": dataset,
        "training": training,
        "trained": trained,
        "metrics": metrics,
        "blocks": blocks,
        "class_rows": class_rows,
        "series_rows": series_rows,
        "robustness_rows": robustness_rows,
        "corrupted_images": int(robustness[0]["images"]),
        "confusions": tables.confusions(matrix, names),
    }
    page = {**known, **galleries, "suspects_disputed": len(disputed), "pictures": drawn, "many_classes": pictures.MANY}
    write_text(REPORTS / "index.html", render("page.html.j2", **page))
    write_text(REPORTS / "model_card.md", render("model_card.md.j2", **known))


if __name__ == "__main__":
    no_arguments(__doc__)
    run("report", main)

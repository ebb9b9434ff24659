"""Write the page and the model card from what the earlier stages left under data, metrics and models."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from stages import datasets
from stages.common import parameters
from stages.common.entry import no_arguments, run
from stages.common.files import write_text
from stages.pages.png import data_address
from stages.report import cells, inputs, pictures, tables
from stages.report.inputs import Inputs
from stages.report.page import render
from stages.report.params import Report, Reported

REPORTS = Path("reports")


def main() -> None:
    """Load the parameters, read the inputs, compute the tables, draw, render, write."""
    limit = parameters.read("report", Report).gallery_images
    blocks = tables.parameter_blocks(parameters.load())

    found = inputs.read(datasets.chosen(Reported))
    names = pictures.labels(found.dataset["classes"])

    computed = compute(found, names)
    galleries = tables.galleries(found.mistakes, found.probabilities, found.suspects, names, limit)

    members = cells.members(found.mistakes, found.predictions, found.probabilities)
    of_cells = cells.shown(found.confusion_matrix, members, names, limit) if limit else []

    drawn = draw(found, computed, names, of_cells)
    for row in chain(*galleries.values(), *(cell["shown"] for cell in of_cells)):
        row["image"] = data_address(found.images[row["part"]][row["index"]])
    corrupted = [[data_address(image) for image in strip] for strip in found.corrupted]

    both = {
        "dataset": found.dataset,
        "environment": found.environment,
        "trained": found.trained,
        "metrics": found.metrics,
        "model_bytes": found.model_bytes,
        "blocks": blocks,
        **computed,
    }
    shown = {**galleries, "cells": of_cells, "pictures": drawn, "corrupted": corrupted, "many_classes": pictures.MANY}
    page = render("page.html.j2", **both, **shown)
    card = render("model_card.md.j2", **both)

    write_text(REPORTS / "index.html", page)
    write_text(REPORTS / "model_card.md", card)


def compute(found: Inputs, names: list[str]) -> dict[str, Any]:
    """The tables that the page and the model card show, by the name that the templates use."""
    return {
        "class_rows": tables.class_rows(found.classes, found.confusion_matrix, names),
        "series_rows": tables.series_rows(found.series),
        "coverage_rows": tables.coverage_rows(found.predictions),
        "robustness_rows": tables.robustness_rows(found.robustness),
        "confusions": tables.confusions(found.confusion_matrix, names),
        "corrupted_images": int(found.robustness[0]["images"]),
        "suspects_disputed": tables.disputed_suspects(found.suspects, found.dataset["disputed"]),
    }


def draw(found: Inputs, computed: dict[str, Any], names: list[str], of_cells: list[dict[str, Any]]) -> dict[str, str]:
    """The pictures of the page, by the name that its template uses."""
    accuracy = found.metrics["accuracy"]
    history = {key: np.array([float(row[key]) for row in found.history]) for key in found.history[0]}
    drawn = {
        key: pictures.training_curve(history["epoch"], history[key], history[f"validation_{key}"], key)
        for key in ("loss", "accuracy")
    }
    drawn |= {
        "confusion": pictures.confusion_matrix(found.confusion_matrix, names, of_cells),
        "recall": pictures.proportions(computed["class_rows"], names, accuracy, "recall"),
        "roc": pictures.roc(found.roc, found.dataset["classes"], names),
        "confidence": pictures.confidence_histogram(found.predictions["confidence"], found.predictions["right"]),
        "reliability": pictures.reliability(found.reliability),
        "coverage": pictures.coverage(
            found.predictions["confidence"], found.predictions["right"], computed["coverage_rows"]
        ),
        "robustness": pictures.robustness(computed["robustness_rows"], accuracy),
    }
    if series := computed["series_rows"]:
        drawn["series"] = pictures.proportions(series, [row["name"] for row in series], accuracy, "accuracy")
    return drawn


if __name__ == "__main__":
    no_arguments(__doc__)
    run("report", main)

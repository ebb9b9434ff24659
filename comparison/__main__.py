"""Summarise the comparison: the accuracy of every model beside the published one, its size and its training time."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from comparison.pictures import accuracy_against_cost
from stages.common import parameters
from stages.common.entry import no_arguments, run
from stages.common.files import write_text

FOLDER = Path("comparison")


def main() -> None:
    """Read the scores of every model; write the table (CSV and Markdown) and the picture."""
    settings = parameters.load(FOLDER / "params.yaml")
    published = settings.get("published") or {}
    table = pd.DataFrame([row(name, published.get(name)) for name in settings["models"]])
    table = table.sort_values(["accuracy", "model"], ascending=[False, True])

    write_text(FOLDER / "summary.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(FOLDER / "summary.md", markdown(table))
    write_text(FOLDER / "summary.svg", accuracy_against_cost(table))
    print(markdown(table))


def row(name: str, published: float | None) -> dict[str, str | float | None]:
    """The summary of one model: its test accuracy with Wilson's 95 % interval, size and training time.

    It is `reproduced` if the accuracy is at most two standard errors below the `published` one; None if nothing was
    published.
    """
    scores = read(FOLDER / "scores" / name / "evaluate.json")
    training = read(FOLDER / "models" / name / "train.json")
    accuracy = scores["accuracy"]
    error = (published * (1 - published) / scores["images"]) ** 0.5 if published else 0.0
    return {
        "model": name,
        "accuracy": accuracy,
        "accuracy_low": scores["accuracy_low"],
        "accuracy_high": scores["accuracy_high"],
        "accuracy_undisputed": scores.get("accuracy_undisputed"),
        "published": published,
        "reproduced": None if published is None else accuracy >= published - 2 * error,
        "mistakes": scores["mistakes"],
        "training_accuracy": training["accuracy"],
        "validation_accuracy": training["validation_accuracy"],
        "parameters": training["parameters"],
        "epochs": training["epochs"],
        "training_seconds": read(FOLDER / "seconds" / f"{name}.json")["training_seconds"],
    }


def read(path: Path) -> dict[str, Any]:
    """The JSON object at `path`."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown: accuracies in percent, a dash if nothing was published."""
    lines = [
        "| model | test accuracy | 95 % interval | published | parameters | epochs | training |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for _, r in table.iterrows():
        published = "–" if pd.isna(r.published) else f"{r.published:.2%}{'' if r.reproduced else ' (not reached)'}"
        lines.append(
            f"| `{r.model}` | {r.accuracy:.2%} | {r.accuracy_low:.2%} – {r.accuracy_high:.2%} | {published} "
            f"| {r.parameters:,} | {r.epochs} | {r.training_seconds:.0f} s |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    no_arguments(__doc__)
    run("comparison", main)

"""`make pictures FOLDER=…`: score the trained model on people's pictures, and show what it read wrong.

Labels are the names of sub-folders, or labels.csv with the columns `file` and `label`. If that has a column `kind`,
each kind has a row of its own; if it has `person`, the interval resamples people, since pictures by one are alike.
"""

import argparse
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from serving.reading import Digit, Reader, opened
from stages.common.entry import UserError, printable, run
from stages.common.files import found, write_text
from stages.download.pictures import TABLE, described
from stages.evaluate import scores
from stages.pages.png import data_address
from stages.pages.templates import environment

PAGE = Path("reports/pictures.html")
THUMBNAIL = 96  # pixels of the longer side
REFUSED = 0.03  # of the pictures, the least sure ones
NOTHING = "nothing"  # the answer if no digit is found


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m tools.pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", help="the pictures")
    options.add_argument("--models", type=Path, default=Path("models"), help="folder with model.tflite, package.json")
    chosen = options.parse_args()
    folder = found(chosen.folder)
    if not (chosen.folder and folder.is_dir()):
        raise UserError(f"FOLDER={chosen.folder} is no folder: name the one that holds your pictures")

    reader = Reader(chosen.models)
    pictures = described(folder, None)
    rows = [row | extra for row, extra in zip(pictures, columns(folder, len(pictures)), strict=True)]
    labels = numbered(rows, reader.classes)
    digits = [read(reader, folder / row["file"]) for row in rows]

    table = summary(rows, labels, digits)
    wrong = [failure(folder, row, digit, reader.classes) for row, digit in zip(rows, digits) if not right(row, digit)]
    wrong.sort(key=lambda each: -each["confidence"])
    page = environment(Path(__file__).parent).get_template("pictures.html.j2")
    write_text(PAGE, page.render(title=reader.title, folder=folder.resolve().name, table=table, wrong=wrong))
    print(written(table, refusing(labels, digits), len({row.get("person") for row in rows})))
    print(f"\nsee {PAGE}")


def columns(folder: Path, count: int) -> list[dict[str, str]]:
    """What labels.csv says besides: the columns `kind` and `person` of each of `count` pictures, if it has them."""
    if not (folder / TABLE).exists():
        return [{}] * count
    rows = csv.DictReader(io.StringIO((folder / TABLE).read_text(encoding="utf-8-sig")))
    return [{key: printable(row[key]) for key in ("kind", "person") if row.get(key)} for row in rows]


def numbered(rows: list[dict[str, str]], classes: list[str]) -> np.ndarray:
    """The class number of each row's label: int64 (N,). Raises `UserError` if the model has no such class."""
    for row in rows:
        if row["label"] not in classes:
            raise UserError(f"{row['file']}: has the label {row['label']!r}; the model has {', '.join(classes)}")
    return np.array([classes.index(row["label"]) for row in rows])


def read(reader: Reader, path: Path) -> Digit | None:
    with path.open("rb") as file:
        return next(iter(reader.read(opened(file, str(path)))), None)


def right(row: dict[str, str], digit: Digit | None) -> bool:
    return digit is not None and digit.label == row["label"]


def summary(rows: list[dict[str, str]], labels: np.ndarray, digits: list[Digit | None]) -> list[dict[str, Any]]:
    """For each kind, and for all: pictures, accuracy, the ends of its 95 % interval, mistakes."""
    predicted = np.array([-1 if digit is None else digit.probabilities.argmax() for digit in digits])
    kinds = np.array([row.get("kind", "") for row in rows])
    people = np.array([row.get("person", "") for row in rows])
    table = []
    for kind in [*sorted(set(kinds.tolist()) - {""}), "all"]:
        chosen = np.full(len(rows), True) if kind == "all" else kinds == kind
        correct = predicted[chosen] == labels[chosen]
        low, high = scores.wilson(int(correct.sum()), len(correct))
        if len(set(people[chosen].tolist())) > 1:
            by_people = scores.writer_interval(people[chosen], predicted[chosen], labels[chosen])
            low, high = by_people.values() or (low, high)
        numbers = {"accuracy": correct.mean(), "low": low, "high": high, "mistakes": int((~correct).sum())}
        table.append({"kind": kind, "pictures": len(correct)} | numbers)
    return table


def refusing(labels: np.ndarray, digits: list[Digit | None]) -> float:
    """The part of wrong answers if the least sure pictures, `REFUSED` of all, are not answered."""
    confidence = np.array([0 if digit is None else digit.confidence for digit in digits])
    wrong = np.array([digit is None or digit.probabilities.argmax() != label for digit, label in zip(digits, labels)])
    answered = np.argsort(confidence, kind="stable")[round(REFUSED * len(digits)) :]
    return float(wrong[answered].mean())


def failure(folder: Path, row: dict[str, str], digit: Digit | None, classes: list[str]) -> dict[str, Any]:
    """What the page shows of a picture that was read wrong: itself, what the model saw, the three best answers."""
    with (folder / row["file"]).open("rb") as file:
        picture = Image.fromarray(opened(file, row["file"]))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    shown = {"file": row["file"], "label": row["label"], "picture": data_address(np.asarray(picture))}
    if digit is None:
        return shown | {"seen": None, "answer": NOTHING, "top": [], "done": [], "confidence": 0.0}
    best = np.argsort(-digit.probabilities, kind="stable")[:3]
    return shown | {
        "seen": data_address(digit.image),
        "answer": digit.label,
        "top": [(classes[k], float(digit.probabilities[k])) for k in best],
        "done": digit.done,
        "confidence": digit.confidence,
    }


def written(table: list[dict[str, Any]], wrong: float, people: int) -> str:
    """The table as lines of text."""
    width = max(len(row["kind"]) for row in table)
    means = f"95 % interval, resampling {people} people" if people > 1 else "95 % interval"
    lines = [f"{'':<{width}}  pictures  accuracy  {means}  mistakes"]
    for row in table:
        interval = f"{row['low']:.1%} to {row['high']:.1%}"
        lines.append(
            f"{row['kind']:<{width}}  {row['pictures']:8,}  {row['accuracy']:8.2%}  {interval:>{len(means)}}"
            f"  {row['mistakes']:8,}"
        )
    return "\n".join([*lines, "", f"Refusing the least sure {REFUSED:.0%} leaves {wrong:.2%} wrong."])


if __name__ == "__main__":
    run("pictures", main)

"""`make score DATASET=digits`: score the trained model on the test images of another data set, without training.

The data set, an entry of datasets.yaml, is downloaded, checked and prepared by the stages' own code in a temporary
folder. The pipeline's files stay as they are.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from record.documents import dump
from stages import checksums, datasets
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.datasets import About, Classes, Part
from stages.download.params import Source
from stages.evaluate import scores
from stages.evaluate.model import Model

ROOT = Path(__file__).parent.parent
MODEL, TRAINED_ON = Path("models/model.tflite"), Path("data/raw/dataset.json")
BEFORE = ("download", "validate", "preprocess")


class Scored(Part):
    """What is needed of an entry of datasets.yaml."""

    about: About
    classes: Classes
    source: Source


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tools.score", description=__doc__)
    options.add_argument("dataset", help="an entry of datasets.yaml")
    options.add_argument("--json", action="store_true", help="print JSON")
    chosen = options.parse_args()
    dataset = same_classes(chosen.dataset)
    checksums.check(MODEL.with_name("model.sha256"), MODEL.name)
    with TemporaryDirectory() as folder:
        images, labels = prepared(chosen.dataset, dataset.source, Path(folder))
    result = scored(Model(MODEL).predict(images), labels, dataset.classes)
    as_json = json.dumps({"dataset": chosen.dataset, **result}, indent=2)
    print(as_json if chosen.json else written(result, dataset.about.title))


def same_classes(name: str) -> Scored:
    """The entry `name`, which has the same classes as the model.

    Raises `UserError` if there is no model or no such entry, or if its classes are not the same.
    """
    for path in (MODEL, TRAINED_ON):
        if not path.exists():
            raise UserError(f"{path} is missing: `dvc repro` first, so that there is a model and its classes are known")
    known = parameters.load(datasets.FILE)
    if name not in known:
        raise UserError(f"{name!r} is not in {datasets.FILE}, which has {', '.join(map(str, known))}")
    try:
        trained_on = json.loads(TRAINED_ON.read_text(encoding="utf-8"))["name"]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{TRAINED_ON} cannot be read: `dvc checkout` or `dvc repro` mends it") from None
    classes, found = datasets.entry(trained_on, Scored).classes, datasets.entry(name, Scored)
    if classes != found.classes:
        raise UserError(
            f"{name} has the classes {', '.join(found.classes)}; the model, trained on {trained_on}, has "
            f"{', '.join(classes)}: only a data set of the same classes can be scored"
        )
    return found


def prepared(name: str, source: Source, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Test images uint8 (N, size, size) and labels (N,) of the data set `name`, made in `folder` as the pipeline does.

    Raises `UserError` if a stage fails; the stage has printed the reason.
    """
    # Scoring does not need to know who wrote the digits: one download less.
    taken = source.model_dump(exclude={"writers"}, exclude_none=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # The stages run in another folder, so the path of a mirror must be absolute.
    taken["mirrors"] = [absolute(mirror) for mirror in taken["mirrors"]]
    variable = taken.get("mirror_variable")
    if variable in environment:
        environment[variable] = absolute(environment[variable])
    values, catalog = parameters.load(), parameters.load(datasets.FILE)
    values["download"] |= {"dataset": name}
    (folder / parameters.FILE).write_text(dump(values), encoding="utf-8")
    (folder / datasets.FILE).write_text(dump({name: catalog[name] | {"source": taken}}), encoding="utf-8")
    for stage in BEFORE:
        command = [sys.executable, "-m", f"stages.{stage}"]
        if subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL).returncode:
            raise UserError(f"{name} could not be prepared: the reason is above")
    images, labels = (np.load(folder / "data/prepared/test" / f"{array}.npy") for array in ("images", "labels"))
    return images, labels


def absolute(mirror: str) -> str:
    return str(Path(mirror).resolve()) if Path(mirror).is_dir() else mirror


def scored(probabilities: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Accuracy with its interval, mistakes, images, and each class's recall with its interval and images."""
    predictions = probabilities.argmax(axis=1)
    right, total = int((predictions == labels).sum()), len(labels)
    low, high = scores.wilson(right, total)
    table = scores.per_class(predictions, labels, classes)
    numbers = {"accuracy": right / total, "accuracy_low": low, "accuracy_high": high}
    rounded = {key: round(value, scores.DIGITS) for key, value in numbers.items()}
    columns = ["class", "recall", "recall_low", "recall_high", "support"]
    return rounded | {"mistakes": total - right, "images": total, "classes": table[columns].to_dict("records")}


def written(result: dict[str, Any], title: str) -> str:
    """The result as lines of text."""
    lines = [
        f"{title}: {result['images']:,} test images, scored with {MODEL}",
        f"accuracy {result['accuracy']:.2%} (95 % interval {result['accuracy_low']:.2%} to "
        f"{result['accuracy_high']:.2%}), {result['mistakes']:,} mistake{'' if result['mistakes'] == 1 else 's'}",
        "",
    ]
    width = max(5, *(len(row["class"]) for row in result["classes"]))
    lines.append(f"{'class':<{width}}   recall        95 % interval  images")
    for row in result["classes"]:
        interval = f"{row['recall_low']:.2%} to {row['recall_high']:.2%}"
        lines.append(f"{row['class']:<{width}}  {row['recall']:7.2%}  {interval:>19}  {row['support']:6,}")
    return "\n".join(lines)


if __name__ == "__main__":
    run("score", main)

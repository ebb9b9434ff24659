"""`make transfer DATASET=digits`: how the trained model does on the test images of another data set, without training.

The data set, an entry of `datasets` in params.yaml, is downloaded, checked and prepared by the stages' own code in
a temporary folder. Nothing of the pipeline is touched.
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
import yaml

from stages.common import parameters
from stages.common.entry import UserError, run
from stages.download.params import About, Download, Source
from stages.evaluate import scores
from stages.evaluate.model import Model

ROOT = Path(__file__).parent.parent
MODEL, TRAINED_ON = Path("models/model.tflite"), Path("data/prepared/dataset.json")
BEFORE = ("download", "validate", "preprocess")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tools.transfer", description=__doc__)
    options.add_argument("dataset", help="an entry of `datasets` in params.yaml")
    options.add_argument("--json", action="store_true", help="print JSON")
    chosen = options.parse_args()
    values = parameters.load()
    classes = same_classes(values, chosen.dataset)
    with TemporaryDirectory() as folder:
        images, labels = prepared(values, chosen.dataset, Path(folder))
    result = scored(Model(MODEL).predict(images), labels, classes)
    title = values["datasets"][chosen.dataset]["about"]["title"]
    print(json.dumps({"dataset": chosen.dataset, **result}, indent=2) if chosen.json else written(result, title))


def same_classes(values: dict[str, Any], name: str) -> list[str]:
    """The classes of the model, which must be those of the data set `name`.

    Raises `UserError` where there is no model, no such data set, or its classes are others.
    """
    for path in (MODEL, TRAINED_ON):
        if not path.exists():
            raise UserError(f"{path} is missing: `dvc repro` first, so that there is a model and its classes are known")
    known = parameters.datasets(values)
    if name not in known:
        raise UserError(f"{name!r} is no data set of params.yaml: it has {', '.join(known)}")
    try:
        dataset = json.loads(TRAINED_ON.read_text(encoding="utf-8"))
        classes = dataset["classes"]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{TRAINED_ON} cannot be read: `dvc checkout` or `dvc repro` mends it") from None
    other = parameters.read(f"datasets.{name}.about", About).classes
    if classes != other:
        raise UserError(
            f"{name} has the classes {', '.join(other)}, the model, trained on {dataset['name']}, has "
            f"{', '.join(classes)}: only a data set of the same classes can be scored"
        )
    return classes


def prepared(values: dict[str, Any], name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Test images uint8 (N, 28, 28) and labels (N,) of the data set `name`, made in `folder` as the pipeline does.

    Raises `UserError` where a stage fails, which has said why.
    """
    # Who wrote the digits plays no part here: one download less.
    source = parameters.read(f"datasets.{name}.source", Source).model_dump(exclude={"writers"}, exclude_none=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # The stages run elsewhere, so a folder must not be named relative to here.
    source["mirrors"] = [absolute(mirror) for mirror in source["mirrors"]]
    variable = source.get("mirror_variable")
    if variable in environment:
        environment[variable] = absolute(environment[variable])
    own = values | {"download": parameters.read("download", Download).model_dump() | {"dataset": name}}
    own |= {"datasets": {name: values["datasets"][name] | {"source": source}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    for stage in BEFORE:
        command = [sys.executable, "-m", f"stages.{stage}"]
        if subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL).returncode:
            raise UserError(f"{name} could not be prepared: the reason is above")
    return tuple(np.load(folder / "data/prepared/test" / f"{array}.npy") for array in ("images", "labels"))


def absolute(mirror: str) -> str:
    return str(Path(mirror).resolve()) if Path(mirror).is_dir() else mirror


def scored(probabilities: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Accuracy with its interval, mistakes, images, and each class's recall with its interval and images."""
    right, total = int((probabilities.argmax(axis=1) == labels).sum()), len(labels)
    low, high = scores.wilson(right, total)
    table = scores.per_class(probabilities.argmax(axis=1), labels, classes)
    numbers = {"accuracy": right / total, "accuracy_low": low, "accuracy_high": high}
    rounded = {key: round(value, scores.DIGITS) for key, value in numbers.items()}
    columns = ["class", "recall", "recall_low", "recall_high", "support"]
    return rounded | {"mistakes": total - right, "images": total, "classes": table[columns].to_dict("records")}


def written(result: dict[str, Any], title: str) -> str:
    """The lines that a person reads."""
    lines = [
        f"{title}: {result['images']:,} test images, read by {MODEL}",
        f"accuracy {result['accuracy']:.2%} (95 % interval {result['accuracy_low']:.2%} to "
        f"{result['accuracy_high']:.2%}), {result['mistakes']:,} wrong",
        "",
    ]
    width = max(5, *(len(row["class"]) for row in result["classes"]))
    lines.append(f"{'class':<{width}}   recall        95 % interval  images")
    for row in result["classes"]:
        interval = f"{row['recall_low']:.2%} to {row['recall_high']:.2%}"
        lines.append(f"{row['class']:<{width}}  {row['recall']:7.2%}  {interval:>19}  {row['support']:6,}")
    return "\n".join(lines)


if __name__ == "__main__":
    run("transfer", main)

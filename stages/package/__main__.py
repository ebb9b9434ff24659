"""Bundle what a served model needs: its threshold, what requests are compared with, the page that works offline."""

from pathlib import Path
from typing import Any

import numpy as np

from stages import arrays, checksums, datasets
from stages.common import parameters
from stages.common.entry import no_arguments, run
from stages.common.files import replacing, write_json, write_text
from stages.evaluate.model import Model, probabilities_of
from stages.package import network, page
from stages.package.params import Package, Packaged
from stages.package.reference import as_pictures, reference
from stages.preprocess.digit import SIDE

MODEL, PREPARED = Path("models/model.tflite"), Path("data/prepared")


def main() -> None:
    p, dataset = parameters.read("package", Package), datasets.chosen(Packaged)
    checksums.check(MODEL.with_name("model.sha256"), MODEL.name)
    train, validation = (images(part) for part in ("train", "validation"))

    probabilities = probabilities_of(MODEL, PREPARED / "validation/images.npy")
    height, width, *channels = train.shape[1:]
    package: dict[str, Any] = {
        "title": dataset.about.title,
        "classes": dataset.classes,
        "shape": [height, width, *(channels or [1])],
        "threshold": threshold(probabilities.max(axis=1), p.refused_fraction),
        "refused": p.refused_fraction,
    }
    standard = package["shape"] == [SIDE, SIDE, 1]
    missing = network.unsupported(MODEL) if standard else [f"images of {'×'.join(map(str, package['shape']))} pixels"]
    html = page.render(package | {"unsupported": missing}, None if missing else network.as_json(MODEL))

    write_json(MODEL.with_name("package.json"), package)
    compared = reference(train, probabilities)
    if standard:
        read = Model(MODEL).predict(as_pictures(validation))
        compared |= {f"picture_{name}": values for name, values in reference(as_pictures(train), read).items()}
    with replacing(MODEL.with_name("reference.npz")) as path:
        np.savez(path, allow_pickle=False, **compared)
    write_text(Path("reports/draw.html"), html)
    print(f"package: sure from a confidence of {package['threshold']:.1%} on; reports/draw.html is the page to try")


def images(part: str) -> np.ndarray:
    """The images uint8 (N, height, width) or (N, height, width, 3) of a prepared part, a memory map.

    Raises `UserError` if the file is damaged.
    """
    name = f"{part}/images.npy"
    checksums.check(PREPARED / f"{part}.sha256", name)
    return arrays.opened(PREPARED / name)


def threshold(confidences: np.ndarray, fraction: float) -> float:
    """The confidence below which `fraction` of `confidences` (N,) lie, with four decimals."""
    return round(float(np.quantile(confidences, fraction)), 4)


if __name__ == "__main__":
    no_arguments(__doc__)
    run("package", main)

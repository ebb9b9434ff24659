"""Train the model that params.yaml names and save it for Keras and for LiteRT."""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from stages import arrays, checksums, cluster
from stages.common import parameters
from stages.common.entry import run
from stages.train import initialization, processor
from stages.train.params import Train

PREPARED = Path("data/prepared")
IN_MEMORY = 2**27  # bytes of images that are held as a whole: twice a block of training


def main(arguments: Sequence[str] = ()) -> None:
    options = parse(arguments)
    p = parameters.read(options.block, Train, options.params)
    processor.choose_precision(p.precision)
    if p.init_from:
        initialization.check(p.init_from, place(options))
    if cluster.asked_for():
        from stages.train import workers

        if (number := workers.count(p)) > 1:
            return workers.train(partial(train, options, p), number, options.models)
    try:
        train(options, p)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            ": whole epochs are kept, and `dvc repro` goes on after the last one;"
            " `git restore metrics && dvc checkout` brings back the model before"
        ) from None


def train(options: argparse.Namespace, p: Train) -> None:
    """Train and write; of several workers each trains, and the first one writes."""
    train, validation = read("train"), read("validation")

    # TensorFlow takes seconds to import: a mistake in the parameters is reported before that.
    from stages.train import checkpoint, environment, fitting, models, results
    from stages.train.training import Run

    precision = processor.choose_precision(p.precision)
    strategy = environment.fix(p.seed, precision)
    # `validate` has made sure that no class lacks images.
    classes = 1 + int(max(train["labels"].max(), validation["labels"].max()))
    shape = train["images"].shape[1:]
    build = partial(getattr(models, p.model), classes, shape, **p.model_options)
    model = fitting.checked(build, p, shape, place(options))
    print(f"train: {p.model}, {model.count_params():,} parameters, {precision}", flush=True)
    decided = [p.model_dump(), precision, processor.kind(precision), environment.versions()]
    data = [*train.values(), *validation.values()]
    store = checkpoint.opened(options.models, checkpoint.fingerprint(decided, data))
    run = Run(precision, strategy, store)
    folds = fitting.cross_validate(build, train, validation, p, run)
    start = time.perf_counter() - checkpoint.seconds(store, fitting.names(p))
    members, history = fitting.fit_members(build, train, validation, p, run)
    seconds = time.perf_counter() - start
    if environment.worker(strategy) > 0:
        return  # every worker ends with the same weights

    shipped, scores = results.shipped(build, members, validation, p)
    results.write_models(options.models, shipped, folds)
    results.write_environment(options.metrics / "environment.json", precision)
    results.write_metrics(options.metrics, history, scores | folds.metrics, shipped.count_params())
    if options.seconds:
        results.write_seconds(options.seconds, seconds)
    checkpoint.forget(store)


def place(options: argparse.Namespace) -> str:
    """The block of parameters, as messages name it."""
    return f"{options.params}: {options.block}"


def read(part: str) -> dict[str, np.ndarray]:
    """`images` (N, height, width, channels), `labels` (N,) and, if known, `writers` (N,) of a prepared part.

    Images that are too many to be kept in memory are a memory map. Raises `UserError` if a file is damaged.
    """
    folder = PREPARED / part
    checksums.check(folder.with_suffix(".sha256"))
    names = ["images", "labels"] + ["writers"] * (folder / "writers.npy").exists()
    found = {name: np.array(arrays.opened(folder / f"{name}.npy")) for name in names if name != "images"}
    images = arrays.opened(folder / "images.npy")
    if images.nbytes <= IN_MEMORY:
        images = np.array(images)
    return {"images": images.reshape(*images.shape[:3], -1), **found}  # grey images have no axis of channels


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What to train and where to write; the defaults are the pipeline's own."""
    options = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    options.add_argument("--block", default="train", help="the block of parameters to read")
    options.add_argument("--params", type=Path, default=parameters.FILE, help="the file it is in")
    options.add_argument("--models", type=Path, default=Path("models"), help="the folder for the trained model")
    options.add_argument("--metrics", type=Path, default=Path("metrics"), help="the folder for its metrics")
    options.add_argument("--seconds", type=Path, help="a file for the time that training took")
    return options.parse_args(arguments)


if __name__ == "__main__":
    run("train", partial(main, sys.argv[1:]))

"""The training loop compared with stock `model.fit`, and the training time until a given accuracy.

    python -m benchmarks.training                       # dense 128-64 (batch 32) and cnn_5x5 (batch 128)
    python -m benchmarks.training --models tiny lenet5  # other networks of the comparison
    python -m benchmarks.training --ladder              # what each speed-up gains
    python -m benchmarks.training --to 0.99 --seeds 5   # seconds of training until the test accuracy is reached

It reads `data/prepared`, so run `dvc repro preprocess` first. Every run is a process of its own, and the kinds
alternate, so that none profits from caches that another filled. The time includes the first tracing of the graph and
the validation after every epoch, but no imports.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from stages.common import parameters
from stages.train import processor
from stages.train.params import Train

# Each includes the ones before it; the first is a whole epoch as one graph, on images kept in memory.
RUNGS = ["epoch graph", "fused Adam", "byte dropout", "auto precision"]
TAKEN = ("model", "batch_size", "precision", "micro_batches")  # from a network's block in comparison/params.yaml
PLAIN = {  # as `fit` trains: Adam at a constant rate, no averaged weights, no augmentation
    "model_options": {},
    "learning_rate": 0.001,
    "optimizer": {"name": "adam"},
    "schedule": {"name": "constant"},
    "weight_average": 0,
    "augmentation": None,
}

Block = dict[str, Any]  # of parameters of the stage train


def main() -> None:
    """Run the benchmark that the command line chooses."""
    blocks = parameters.load(Path("comparison/params.yaml"))["models"]
    raw = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__, formatter_class=raw)
    options.add_argument("--epochs", type=int, default=10, help="of each run")
    options.add_argument(
        "--models",
        nargs="+",
        default=["fnn", "cnn_5x5"],
        choices=blocks,
        metavar="NAME",
        help="networks of the comparison",
    )
    options.add_argument("--rounds", type=int, default=3, help="runs of each kind")
    options.add_argument("--ladder", action="store_true", help="each speed-up on its own line")
    options.add_argument("--to", type=float, metavar="ACCURACY", help="time the training to this test accuracy")
    options.add_argument("--seeds", type=int, default=5, help="with --to: runs of each recipe")
    options.add_argument("--once", nargs=2, metavar=("KIND", "BLOCK"), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.once:
        kind, block = chosen.once
        p = Train.model_validate(json.loads(block))
        print(json.dumps(stock(p) if kind == "stock" else ours(p, RUNGS.index(kind))))
    elif chosen.to:
        time_to_accuracy(blocks, chosen.to, chosen.seeds)
    else:
        kinds = ["stock", *(RUNGS if chosen.ladder else RUNGS[-1:])]
        against_stock({name: blocks[name] for name in chosen.models}, kinds, chosen.epochs, chosen.rounds)


def against_stock(blocks: dict[str, Block], kinds: list[str], epochs: int, rounds: int) -> None:
    """Print a line for each model of `blocks` and each of `kinds`; ratios compare with the first kind."""
    default = parameters.load()["train"]
    print(f"{'model':18} {'batch':>5}  {'':14} {'seconds':>8} {'ratio':>6}   median of {rounds}, {epochs} epochs")
    for model, compared in blocks.items():
        block = default | PLAIN | {key: compared[key] for key in TAKEN} | {"epochs": epochs}
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            for kind, taken in seconds.items():
                taken.append(once(kind, block)["seconds"])
        for kind, taken in seconds.items():
            median = statistics.median(taken)
            ratio = statistics.median(seconds[kinds[0]]) / median
            print(f"{model:18} {block['batch_size']:>5}  {kind:14} {median:>8.1f} {ratio:>5.1f}×", flush=True)


def time_to_accuracy(blocks: dict[str, Block], accuracy: float, seeds: int) -> None:
    """Print recipes, the quickest first, until the mean test accuracy over the seeds reaches `accuracy`.

    The recipes are the fast network of the comparison, then the default, with more and more epochs, each with a
    learning-rate schedule for its number of epochs.
    """
    for name, epochs in (*(("fast", n) for n in (1, 2)), *(("default", n) for n in (2, 3, 4, 5, 6, 8, 12))):
        runs = [once(RUNGS[-1], blocks[name] | {"epochs": epochs, "seed": seed}) for seed in range(1, seeds + 1)]
        mean = statistics.mean(run["test_accuracy"] for run in runs)
        seconds = statistics.median(run["seconds"] for run in runs)
        print(
            f"{name}, {epochs} epochs: mean test accuracy {mean:.3%} over {seeds} seeds, median {seconds:.1f} s",
            flush=True,
        )
        if mean >= accuracy:
            return


def once(kind: str, block: Block) -> dict[str, float]:
    """What `ours` or `stock` returns in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training", "--once", kind, json.dumps(block)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    values: dict[str, float] = json.loads(printed.splitlines()[-1])
    return values


def ours(p: Train, rung: int) -> dict[str, float]:
    """Train as the stage does, with the speed-ups up to `rung` of RUNGS.

    Returns the seconds of training and the test accuracy of the model that the stage would save.
    """
    from stages.train import environment, export, fitting, models, optimizers, training
    from stages.train.__main__ import read

    environment.fix(p.seed, p.precision)
    if rung < RUNGS.index("fused Adam"):
        optimizers.Adam = environment.keras.optimizers.Adam
    if rung < RUNGS.index("byte dropout"):
        models.Dropout = environment.keras.layers.Dropout
    if rung < RUNGS.index("auto precision") and p.precision == "auto":
        p = p.model_copy(update={"precision": "float32"})
    train, validation = read("train"), read("validation")
    build = partial(getattr(models, p.model), 10, **p.model_options)
    start = time.perf_counter()
    members, _ = fitting.fit_members(build, train, validation, p, training.Run(processor.choose_precision(p.precision)))
    seconds = time.perf_counter() - start
    test, shipped = read("test"), export.shippable(build, members, p.model)
    return {
        "seconds": seconds,
        "test_accuracy": fitting.score(training.outputs(shipped, test["images"]), test["labels"])[1],
    }


def stock(p: Train) -> dict[str, float]:
    """Train the same model with `compile` and `fit` on float32 arrays: same batch size and epochs, Keras defaults."""
    from stages.train import environment, models
    from stages.train.__main__ import read

    keras = environment.keras
    models.Dropout = keras.layers.Dropout
    with environment.silence():
        keras.utils.set_random_seed(p.seed)
        model = getattr(models, p.model)(10)
    arrays = [
        (part["images"].astype("float32"), part["labels"].astype("int64"))
        for part in (read("train"), read("validation"))
    ]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    start = time.perf_counter()
    model.compile(keras.optimizers.Adam(p.learning_rate), loss, metrics=["accuracy"])
    model.fit(*arrays[0], batch_size=p.batch_size, epochs=p.epochs, validation_data=arrays[1], verbose=0)
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    main()

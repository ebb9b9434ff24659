"""Our training loop against stock `model.fit`, and the time it takes to an accuracy.

    python -m benchmarks.training                       # dense 128-64 (batch 32) and cnn_5x5 (batch 128)
    python -m benchmarks.training --to 0.99 --seeds 5   # seconds of training until the test accuracy is reached

It reads `data/prepared`, so run `dvc repro preprocess` first. Every run is a process of its own and
the two kinds alternate, so that neither profits from what the other left warm; what is timed is the
training with its validation after every epoch, imports apart, first tracing included.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from functools import partial

import yaml

from stages.train.params import Train

CONFIGURATIONS = {"fnn": {"batch_size": 32}, "cnn_5x5": {"batch_size": 128}}
PLAIN = {  # what `fit` does too: Adam at a constant rate, nothing averaged, no augmentation
    "model_options": {},
    "learning_rate": 0.001,
    "optimizer": {"name": "adam"},
    "schedule": {"name": "constant"},
    "weight_average": 0,
    "augmentation": None,
}


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--rounds", type=int, default=3, help="runs of each kind")
    options.add_argument("--to", type=float, help="a test accuracy: how long does the default model take to it")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--once", nargs=2, metavar=("KIND", "BLOCK"), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.once:
        kind, block = chosen.once
        print(json.dumps({"ours": ours, "stock": stock}[kind](Train.model_validate(json.loads(block)))))
    elif chosen.to:
        time_to_accuracy(chosen.to, chosen.seeds)
    else:
        against_stock(chosen.epochs, chosen.rounds)


def against_stock(epochs: int, rounds: int) -> None:
    print(f"{'model':10} {'batch':>5} {'ours':>8} {'stock fit':>10} {'ratio':>6}   median of {rounds}, {epochs} epochs")
    for model, changes in CONFIGURATIONS.items():
        block = default_block() | PLAIN | changes | {"model": model, "epochs": epochs}
        seconds = {"ours": [], "stock": []}
        for _ in range(rounds):
            for kind, taken in seconds.items():
                taken.append(once(kind, block)["seconds"])
        ours_median, stock_median = (statistics.median(taken) for taken in seconds.values())
        print(
            f"{model:10} {block['batch_size']:>5} {ours_median:>6.1f} s {stock_median:>8.1f} s "
            f"{stock_median / ours_median:>5.1f}×"
        )


def time_to_accuracy(accuracy: float, seeds: int) -> None:
    """The fewest epochs, as a schedule of its own, whose mean test accuracy over the seeds reaches `accuracy`."""
    for epochs in (1, 2, 3, 4, 6, 8, 12):
        runs = [once("ours", default_block() | {"epochs": epochs, "seed": seed}) for seed in range(1, seeds + 1)]
        mean = statistics.mean(run["test_accuracy"] for run in runs)
        seconds = statistics.median(run["seconds"] for run in runs)
        print(f"{epochs} epochs: mean test accuracy {mean:.3%} over {seeds} seeds, median {seconds:.1f} s", flush=True)
        if mean >= accuracy:
            return


def default_block() -> dict:
    with open("params.yaml", encoding="utf-8") as file:
        return yaml.safe_load(file)["train"]


def once(kind: str, block: dict) -> dict:
    command = [sys.executable, "-m", "benchmarks.training", "--once", kind, json.dumps(block)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def ours(p: Train) -> dict[str, float]:
    """Train as the stage does; seconds of training and the test accuracy of what it would ship."""
    from stages.train import environment, fitting, models
    from stages.train.__main__ import read

    environment.fix(p.seed, p.threads)
    train, validation = read("train"), read("validation")
    build = partial(getattr(models, p.model), 10, **p.model_options)
    start = time.perf_counter()
    members, _ = fitting.fit_members(build, train, validation, p, environment.choose_precision(p.precision))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "test_accuracy": fitting.score(members, read("test"))[1]}


def stock(p: Train) -> dict[str, float]:
    """The same model, batch size and epochs by `compile` and `fit` on float32 arrays, the rest as Keras has it."""
    from stages.train import environment, models
    from stages.train.__main__ import read

    keras = environment.keras
    with environment.silence():
        keras.utils.set_random_seed(p.seed)
        model = getattr(models, p.model)(10)
    arrays = [
        (part["images"][..., None].astype("float32"), part["labels"].astype("int64"))
        for part in (read("train"), read("validation"))
    ]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    start = time.perf_counter()
    model.compile(keras.optimizers.Adam(p.learning_rate), loss, metrics=["accuracy"])
    model.fit(*arrays[0], batch_size=p.batch_size, epochs=p.epochs, validation_data=arrays[1], verbose=0)
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    main()

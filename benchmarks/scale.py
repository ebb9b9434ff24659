"""Time and memory of the stages as the number of images grows; a training step in blocks, and on two workers.

    MNIST_MIRROR=/path/to/mnist python -m benchmarks.scale                        # 60,000, 600,000 and 6,000,000 images
    python -m benchmarks.scale --images 60000 600000 --processes 1 --folder /mnt/large
    python -m benchmarks.scale --steps           # a training step on MNIST in one block and in several
    python -m benchmarks.scale --workers         # epochs of MNIST on one worker and on two, by Ray on this machine

It works in a copy of the repository below --folder, grows the sets from MNIST and runs the stages on each, with one
process on one core and with two. The peak is the resident memory of the largest process of a stage. The exponent e says
that time grows as N^e from one number of images to the next. `train` is one epoch of --model. 6,000,000 images need
20 GB of disk. --steps reads data/prepared.
"""

import argparse
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import psutil

from record.copies import copy_repository
from record.documents import dump
from stages.common import parameters

MNIST = "mnist"
DATA = ("download", "validate", "preprocess")
STAGES = (*DATA, "train", "evaluate", "package", "report")
LOOK_SECONDS = 0.05
ROUNDS = 3
COLUMNS = {"images": 9, "processes": 9, "stage": 10, "seconds": 8, "images/s": 9, "peak MB": 8, "exponent": 8}


class Cost(NamedTuple):
    """Seconds, and the peak resident memory in MB of the largest process."""

    seconds: float
    memory: float


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    options = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__, formatter_class=raw)
    options.add_argument("--images", type=int, nargs="+", default=[60_000, 600_000, 6_000_000])
    options.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    options.add_argument("--model", default="cnn_fast", help="the network that is trained")
    options.add_argument("--folder", type=Path, help="where there is room (default: the system's temporary folder)")
    options.add_argument("--steps", action="store_true", help="only the training step in blocks")
    options.add_argument("--workers", action="store_true", help="only the training on two workers")
    chosen = options.parse_args()
    if chosen.steps:
        return print_steps()
    with TemporaryDirectory(dir=chosen.folder) as parent:
        folder = Path(parent) / "copy"
        copy_repository(folder)
        configure(folder, MNIST, chosen.model)
        run(folder, 1, "stages.download")
        if chosen.workers:
            return print_workers(folder)
        before: dict[tuple[int, str], tuple[int, float]] = {}
        print(" ".join(f"{title:>{width}}" for title, width in COLUMNS.items()))
        for images in chosen.images:
            line(images, 1, "(grow)", run(folder, 1, "tools.grow", str(images)))
            configure(folder, f"{MNIST}_{images}", chosen.model)
            for processes in chosen.processes:
                for stage in STAGES:
                    cost = run(folder, processes, f"stages.{stage}")
                    less, seconds = before.get((processes, stage), (0, 0.0))
                    before[processes, stage] = images, cost.seconds
                    line(
                        images,
                        processes,
                        stage,
                        cost,
                        math.log(cost.seconds / seconds, images / less) if less else None,
                    )
                rate = images / sum(before[processes, stage][1] for stage in DATA) / processes
                print(f"download to preprocess: {rate:,.0f} images/s for each core", flush=True)
            configure(folder, MNIST, chosen.model)
            run(folder, 1, "stages.download")
            shutil.rmtree(folder / "grown")


def line(images: int, processes: int, stage: str, cost: Cost, exponent: float | None = None) -> None:
    values = (
        f"{images:,}",
        str(processes),
        stage,
        f"{cost.seconds:.1f}",
        f"{images / cost.seconds:,.0f}",
        f"{cost.memory:.0f}",
        "" if exponent is None else f"{exponent:.2f}",
    )
    print(" ".join(f"{value:>{width}}" for value, width in zip(values, COLUMNS.values())), flush=True)


def configure(folder: Path, dataset: str, model: str, epochs: int = 1) -> None:
    """Set the data set, and so many epochs of `model`."""
    values = parameters.load(folder / "params.yaml")
    values["download"]["dataset"] = dataset
    values["train"] |= {"model": model, "epochs": epochs}
    (folder / "params.yaml").write_text(dump(values), encoding="utf-8")


def run(folder: Path, processes: int, module: str, *arguments: str) -> Cost:
    """Run `module` in `folder` on so many cores and processes. Ends this process if it fails."""
    start, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=os.environ | {"STAGE_PROCESSES": str(processes)},
        stdout=subprocess.DEVNULL,
        preexec_fn=partial(os.sched_setaffinity, 0, {0}) if processes == 1 else None,
    )
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):
            peak = max([peak, *(each.memory_info().rss for each in [watched, *watched.children(recursive=True)])])
        time.sleep(LOOK_SECONDS)
    if process.returncode:
        sys.exit(f"{module} failed")
    return Cost(time.perf_counter() - start, peak / 2**20)


def print_workers(folder: Path) -> None:
    """Print the seconds of the quickest epoch of the default model on a worker with one core, and on two of these."""
    from ray.cluster_utils import Cluster

    for stage in DATA[1:]:
        run(folder, 2, f"stages.{stage}")
    configure(folder, MNIST, "cnn", epochs=3)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    seconds = []
    for variables in ({}, {"RAY_ADDRESS": nodes.address}):
        output = subprocess.run(
            [sys.executable, "-m", "stages.train"],
            cwd=folder,
            env=os.environ | {"STAGE_PROCESSES": "1"} | variables,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        seconds.append(min(float(each) for each in re.findall(r"([\d.]+) s$", output, re.MULTILINE)))
    nodes.shutdown()
    one, two = seconds
    print(f"an epoch on one worker of one core {one:.1f} s, on two workers {two:.1f} s: {one / two:.2f} times as fast")


def print_steps() -> None:
    """Print the seconds of an epoch in one block and in several, of the same number of images."""
    from stages.train import blocks, environment, models, training
    from stages.train.__main__ import read
    from stages.train.params import Train

    p = parameters.read("train", Train)
    environment.fix(p.seed, "float32")
    part = read("train")
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "images.npy", part["images"])
        part["images"] = np.load(Path(folder) / "images.npy", mmap_mode="r")
        for model in ("cnn_fast", "cnn"):
            seconds = {}
            for size in (blocks.BYTES, blocks.BYTES // 8):
                blocks.BYTES = size
                plan = blocks.plan(part["images"], p.batch_size)
                network = getattr(models, model)(10)
                optimizer = training.make_optimizer(p, len(part["labels"]) // p.batch_size)
                optimizer.build(network.trainable_variables)
                average = training.WeightAverage(network, p.weight_average)
                run = training.Run("float32")
                train = training.block_function(network, optimizer, average, plan.images, p.batch_size, p, run)
                seconds[plan] = min(timed(train, part, plan, p.seed, number) for number in range(ROUNDS))
            blocks.BYTES *= 8
            (whole, alone), (several, together) = seconds.items()
            steps = [
                alone / (whole.images // p.batch_size),
                together / several.blocks / (several.images // p.batch_size),
            ]
            print(f"{model}: {1000 * steps[0]:.2f} ms a step in one block,", end=" ")
            print(f"{1000 * steps[1]:.2f} ms in {several.blocks}: {steps[1] / steps[0]:.3f} times as long")


def timed(train: Callable[..., object], part: "dict[str, np.ndarray]", plan: "object", seed: int, number: int) -> float:
    """Seconds of the epoch `number`, its reading included."""
    from stages.train import blocks, environment

    (epoch,) = blocks.epochs(part, plan, seed, number, number + 1)  # type: ignore[arg-type]
    start = time.perf_counter()
    for k, block in enumerate(epoch):
        [float(value) for value in train(*block, environment.tf.constant(k), True)]  # type: ignore[attr-defined]
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

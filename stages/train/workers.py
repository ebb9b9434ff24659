"""Training on several machines of a Ray cluster, which share every batch and all end with the same bytes."""

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from stages import cluster
from stages.common.entry import UserError
from stages.train import checkpoint, processor
from stages.train.params import Train

RESTARTS = 5  # after a worker died, from the last whole epoch
LOOK_SECONDS = 0.5


def count(p: Train) -> int:
    """How many machines of the cluster share a batch: as many as there are, if its parts can be shared out equally.

    Raises `UserError` if these machines would not compute the same bits, or if they do not see this folder.
    """
    ray = cluster.connect()
    found = _answers(ray, [_on(ray, machine)(_kind).remote(str(Path.cwd()), p.precision) for machine in _machines(ray)])
    if None in found:
        raise UserError(f"a machine of the cluster does not see {Path.cwd()}: work in a folder that all share")
    workers = max(number for number in range(1, max(1, len(found)) + 1) if not p.micro_batches % number)
    if workers > 1 and len(set(found)) > 1:
        kinds = ", ".join(sorted(map(str, set(found))))
        raise UserError(
            f"the machines of the cluster are of several kinds ({kinds}), which compute other bits: take one kind, or"
            " set train.precision to portable"
        )
    return workers


def _answers(ray: Any, asked: list[Any]) -> list[str | None]:
    """What those answer that still run: Ray lists a machine that died for some seconds more."""
    found = []
    for each in asked:
        try:
            found.append(ray.get(each))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError:
            continue
    return found


def _machines(ray: Any) -> dict[str, float]:
    """The machines of the cluster that compute, and how many cores each has."""
    nodes = (node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))
    return {node["NodeID"]: node["Resources"]["CPU"] for node in nodes}


def _on(ray: Any, node: str) -> Any:
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=strategy)


def _kind(folder: str, asked: str) -> str | None:
    """The kind of this machine's processor; None if it does not see `folder`."""
    return processor.kind(processor.choose_precision(asked)) if Path(folder, "data/prepared").is_dir() else None


def train(stage: Callable[[], None], workers: int, models: Path) -> None:
    """Run `stage`, which writes to the folder `models`, on so many machines.

    A worker that dies is replaced, and all go on after the last whole epoch. Raises `UserError` as the stage does, or
    if workers died too often.
    """
    from stages.train import environment  # TensorFlow as this project wants it, before Ray imports it

    ray = cluster.connect()
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    cores = sorted(_machines(ray).values())
    storage = checkpoint.folder(models).with_suffix(".ray").resolve()
    lines = storage / "lines.txt"
    shutil.rmtree(storage, ignore_errors=True)
    storage.mkdir(parents=True)
    trainer = TensorflowTrainer(
        partial(_work, str(Path.cwd()), stage, str(lines)),
        scaling_config=ScalingConfig(
            num_workers=workers, resources_per_worker={"CPU": cores[-workers]}, placement_strategy="STRICT_SPREAD"
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # an older class of this name is what the types know
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=RESTARTS),
            worker_runtime_env={"env_vars": environment.FIXED},  # Ray imports TensorFlow before our code could set them
        ),
    )
    try:
        with _printed(lines):
            reported = trainer.fit().metrics or {}
    except ray.train.TrainingFailedError as error:
        last = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UserError(f"the workers failed more than {RESTARTS} times, at last with: {last}") from None
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if "mistake" in reported:
        raise UserError(reported["mistake"])


def _work(folder: str, stage: Callable[[], None], lines: str) -> None:
    import ray.train

    os.chdir(folder)
    first = ray.train.get_context().get_world_rank() == 0
    try:
        with Path(lines if first else os.devnull).open("a", buffering=1) as output, redirect_stdout(output):
            stage()
        ray.train.report({})
    except UserError as error:
        ray.train.report({"mistake": str(error)})  # raised here, it would count as a death


@contextmanager
def _printed(path: Path) -> Iterator[None]:
    """Print what the first worker writes to the file at `path`, as it comes, until the block ends."""
    ended = threading.Event()

    def follow() -> None:
        done = 0
        while True:
            last = ended.wait(LOOK_SECONDS)
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            sys.stdout.write(text[done:])
            sys.stdout.flush()
            done = len(text)
            if last:
                return

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()

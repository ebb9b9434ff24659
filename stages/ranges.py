"""One pure function over many ranges of images: in this process, in several, or on a Ray cluster. See docs/scale.md.

Who computes a range changes no byte of a result, so that environment variables decide it, and not parameters:
RAY_ADDRESS names a cluster; without it, STAGE_PROCESSES is the number of processes (as many as there are cores).
STAGE_RANGE is the number of images in a range.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from stages import cluster
from stages.common.entry import UserError

IMAGES = 65_536  # of a range: 50 MB of MNIST's
AHEAD = 2  # tasks for each process that are given out before the first result is taken: bounds what waits in memory
RETRIES = 10  # of a range whose machine died

R = TypeVar("R")


def ranges(count: int) -> list[tuple[int, int]]:
    """Where each range of `count` images starts, and where it stops."""
    size = cluster.whole("STAGE_RANGE", IMAGES)
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def in_order(function: Callable[..., R], tasks: Iterable[tuple[Any, ...]], count: int, label: str) -> Iterator[R]:
    """`function(*task)` for each of the `count` tasks, in their order; a bar called `label` shows how far they are.

    `function` is one of a module, not of `__main__`; it may run in another process on another machine, which sees the
    same folder. What it raises is raised here.
    """
    if count == 1 or not (cluster.asked_for() or processes() > 1):
        results: Iterator[R] = (function(*task) for task in tasks)
    else:
        results = (_on_ray if cluster.asked_for() else _in_processes)(function, tasks)
    yield from tqdm(results, label, count, disable=count == 1 or not sys.stderr.isatty(), leave=False)


def processes() -> int:
    """How many processes of this machine share the work."""
    return cluster.whole("STAGE_PROCESSES", cluster.cores())


def _in_processes(function: Callable[..., R], tasks: Iterable[tuple[Any, ...]]) -> Iterator[R]:
    count = processes()
    # Started afresh: a fork of a process that has threads may hang.
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _end_with_parent) as pool:

        def begin(task: tuple[Any, ...]) -> Future[R]:
            # Ctrl-C goes to every process of a terminal. Those that start here inherit what is blocked.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return pool.submit(function, *task)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

        try:
            yield from _given_out(begin, Future.result, tasks, count)
        except BrokenProcessPool:
            raise UserError(
                "a process was killed, perhaps for lack of memory: fewer at a time need less of it,"
                " such as STAGE_PROCESSES=1"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, even if that was killed."""

    def watch() -> None:
        multiprocessing.parent_process().join()  # type: ignore[union-attr]  # it has one
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_ray(function: Callable[..., R], tasks: Iterable[tuple[Any, ...]]) -> Iterator[R]:
    ray = cluster.connect()
    remote = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(_in_folder)
    here, cores = str(Path.cwd()), max(1, int(ray.cluster_resources().get("CPU", 1)))
    try:
        yield from _given_out(lambda task: remote.remote(here, function, task), ray.get, tasks, cores)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise UserError(f"the Ray cluster gave up ({str(error).strip().splitlines()[0]})") from None


def _given_out(
    begin: Callable[[tuple[Any, ...]], Any], end: Callable[[Any], R], tasks: Iterable[tuple[Any, ...]], count: int
) -> Iterator[R]:
    """The results of `tasks` in order: `begin` gives out enough for `count` processes, `end` waits for one of them."""
    waiting: deque[Any] = deque()
    for task in tasks:
        waiting.append(begin(task))
        if len(waiting) >= AHEAD * count:
            yield end(waiting.popleft())
    while waiting:
        yield end(waiting.popleft())


def _in_folder(folder: str, function: Callable[..., R], task: tuple[Any, ...]) -> R:
    """`function(*task)` in the folder of the repository, which a worker of a cluster does not start in."""
    os.chdir(folder)
    return function(*task)

"""Several files at a time. Waiting, hashing, decompressing and writing let other threads run."""

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

THREADS = 4

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`function(item)` for each of `items`, a few at a time, in their order.

    After an exception, what was begun is ended and nothing more is begun; then it is raised. Ctrl-C waits for nobody:
    for this, the threads are daemons.
    """
    waiting: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[int, R | None, Exception | None]] = queue.SimpleQueue()
    for numbered in enumerate(items):
        waiting.put(numbered)

    def work() -> None:
        with suppress(queue.Empty):
            while True:
                number, item = waiting.get_nowait()
                try:
                    ended.put((number, function(item), None))
                except Exception as error:
                    ended.put((number, None, error))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(THREADS, len(items)))]
    for thread in threads:
        thread.start()
    results: dict[int, R] = {}
    for _ in items:
        number, result, error = ended.get()
        if error:
            with suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
            for thread in threads:
                thread.join()
            raise error
        results[number] = result  # type: ignore[assignment]
    return [results[number] for number in range(len(items))]

"""The threads that read pictures: as many as there are Readers, with room for so many requests and no more."""

import asyncio
import queue
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import HTTPException
from starlette.requests import ClientDisconnect

from serving.reading import Reader

Answer = TypeVar("Answer")


class Pool:
    """`readers`, of which each serves one request at a time, and places for `waiting` requests more."""

    def __init__(self, readers: list[Reader], waiting: int) -> None:
        self.threads = ThreadPoolExecutor(len(readers), "reader")
        self.free: queue.SimpleQueue[Reader] = queue.SimpleQueue()
        for reader in readers:
            self.free.put(reader)
        self.size, self.places, self.taken = len(readers), len(readers) + waiting, 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request. It is taken before the body is read, so that bodies in memory are bounded too.

        Raises `HTTPException` 429 if there is none.
        """
        if self.taken == self.places:
            raise HTTPException(429, f"{self.places} requests are waiting: try again", {"Retry-After": "1"})
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def run(self, job: Callable[[Reader], Answer], left: Callable[[], Awaitable[object]]) -> Answer:
        """What `job` returns, given a Reader that it has for itself.

        `left` returns once the client has gone, which raises `ClientDisconnect`: a job that has not begun by then, or
        when this is cancelled, never begins. Else they who give up and ask again would fill all places.
        """
        result = asyncio.get_running_loop().run_in_executor(self.threads, self._with_reader, job)
        if self.taken <= self.size:  # it has begun
            return await result
        leaving = asyncio.ensure_future(left())
        either: set[asyncio.Future[Any]] = {result, leaving}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise ClientDisconnect
            return result.result()
        finally:
            leaving.cancel()
            result.cancel()

    def _with_reader(self, job: Callable[[Reader], Answer]) -> Answer:
        reader = self.free.get_nowait()  # there are as many as threads
        try:
            return job(reader)
        finally:
            self.free.put(reader)

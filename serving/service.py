"""The way of a request: its body, a thread that reads it, its rows in the log, its place in the metrics."""

import asyncio
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from serving.log import Correction, Log, Read
from serving.metrics import Metrics
from serving.pool import Pool
from serving.reading import Reader

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Settings:
    """How a server is set up. Sizes are in bytes, times in seconds."""

    port: int = 8000
    hosts: frozenset[str] | None = None  # by which it may be asked; None: by any
    token: str | None = None
    commit: str | None = None  # that the model came from
    body: int = 8 << 20
    queue: int = 64  # requests that may wait
    threads: int = os.cpu_count() or 1
    seconds: float = 10  # for a request, its body included


class Service:
    """What the routes share."""

    def __init__(self, reader: Reader, log: Log, settings: Settings) -> None:
        self.reader, self.log, self.settings = reader, log, settings
        others = [Reader(reader.path.parent) for _ in range(settings.threads - 1)]
        self.pool = Pool([reader, *others], settings.queue)
        self.metrics = Metrics(reader.classes, lambda: self.pool.taken)

    async def answered(self, request: Request, job: Callable[[Reader, bytes, float], tuple[Answer, Read]]) -> Answer:
        """What `job` makes of a Reader, the body, and the `time.perf_counter` at which the body was there.

        It runs in a thread. What it read has been committed to the log on return.
        """
        with self.pool.place():
            body = await received(request, self.settings.body)
            start = time.perf_counter()
            answer, read = await self.pool.run(lambda reader: job(reader, body, start), request.receive)
            if len(read.predicted):
                await self.logged(read)
        if len(read.predicted):
            self.metrics.read(read.predicted, int((read.confidence < self.reader.threshold).sum()))
        else:
            self.metrics.empty.inc()
        return answer

    async def logged(self, entry: Read | Correction) -> None:
        """Return once `entry` is committed."""
        try:
            await asyncio.wrap_future(self.log.add(entry))
        except sqlite3.Error as error:
            raise HTTPException(503, f"the log cannot be written ({error}): see {self.log.path}") from error

    def close(self) -> None:
        self.pool.threads.shutdown(wait=False, cancel_futures=True)


async def received(request: Request, limit: int) -> bytes:
    """The body of `request`, of at most `limit` bytes, counted as they come.

    Raises `HTTPException` 413 if there are more, and `ClientDisconnect`.
    """
    too_much = HTTPException(413, f"the body has more than {limit:,} bytes: send less")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_much
    parts, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_much
        more = message.get("more_body", False)
    return b"".join(parts)


def new_id() -> str:
    """A ULID: 26 characters, of which the first ten are the time in milliseconds, so that later ones sort later."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))

"""What was read, and what people corrected, in a SQLite file that stays bounded.

A digit's row is committed before its answer is sent. One thread writes; everything that waits for it while it commits
goes into its next commit, so that many requests share the cost of one.
"""

import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stages.common.entry import UserError
from stages.statistics import measures

LARGEST = 1e12  # of any number in it, a time since 1970 included
ROWS = 1_000_000  # of each table; the oldest go first
GROUP = 10_000  # images in a commit, or little more: bounds the memory and the time that others wait
STATISTICS = tuple(measures(np.zeros((1, 28, 28), np.uint8)))
DIGITS = ("request", "digit", "time", "predicted", "confidence", "milliseconds", "prepared", *STATISTICS, "picture")
CORRECTIONS = ("request", "digit", "label", "image", "time")
TYPES = dict.fromkeys(("digit", "predicted", "prepared", "label"), "INTEGER")
TYPES |= {"request": "TEXT", "picture": "BLOB", "image": "BLOB"}


@dataclass(frozen=True)
class Read:
    """The digits of one request."""

    request: str
    milliseconds: float
    predicted: np.ndarray  # int (N,): class numbers
    confidence: np.ndarray  # float (N,)
    images: np.ndarray  # uint8 (N, height, width): what the model saw
    prepared: bool  # whether they were found in a picture and prepared, or came as they are
    time: float = field(default_factory=time.time)  # seconds since 1970


class Correction(NamedTuple):
    """What a person says that a digit is."""

    request: str
    digit: int  # its place in the request, from 0
    label: int  # class number
    image: np.ndarray  # uint8 (784,), row by row
    time: float  # seconds since 1970


class Log:
    """The file at `path`, made if it is missing, and the thread that writes to it.

    With `pictures` the pixels of each digit are kept as well. Each table has at most `rows` rows. Raises `UserError`
    if `path` is no such log.
    """

    def __init__(self, path: Path, pictures: bool = False, rows: int = ROWS) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.pictures, self.rows = path, pictures, rows
        self.step = max(1, rows // 100)  # deleting a share at once is cheaper than one row for each new one
        try:
            self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            # In WAL mode a commit has been written to the file once it returns, so it survives the death of this
            # process however it dies. NORMAL does not wait for the disk at each commit: a power cut may cost the last
            # rows, though not the file. FULL would add milliseconds to each answer, for rows that serve as statistics.
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self.connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
            for table, columns in (("digits", DIGITS), ("corrections", CORRECTIONS)):
                typed = ", ".join(f"{column} {TYPES.get(column, 'REAL')}" for column in columns)
                self.connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({typed})")
                found = tuple(row[1] for row in self.connection.execute(f"PRAGMA table_info({table})"))
                if found != columns:
                    raise UserError(f"{path}: table {table} has other columns than this version writes: move it away")
        except sqlite3.Error as error:
            raise UserError(
                f"{path} is no log of requests ({error}): move it away or name another with --log"
            ) from None
        self.waiting: queue.SimpleQueue[tuple[Read | Correction, Future[None]] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._write, name="log")
        self.thread.start()

    def add(self, entry: Read | Correction) -> "Future[None]":
        """Done when `entry` is committed; carries `sqlite3.Error` if it can't be."""
        future: Future[None] = Future()
        self.waiting.put((entry, future))
        return future

    def close(self) -> None:
        """Commit what waits and close the file."""
        self.waiting.put(None)
        self.thread.join()
        self.connection.close()

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self) -> None:
        for group in self._groups():
            entries = [entry for entry, _ in group]
            try:
                self._commit(entries)
            except Exception as error:  # whatever it is, this thread must go on, and they who wait must hear of it
                for _, future in group:
                    future.set_exception(error)
            else:
                for _, future in group:
                    future.set_result(None)

    def _groups(self) -> Iterator[list[tuple[Read | Correction, "Future[None]"]]]:
        """What waits, in groups, until the log is closed. Entries whose request has timed out are left out."""
        while item := self.waiting.get():
            group, images, more = [], 0, True
            while item and more:
                entry, future = item
                if future.set_running_or_notify_cancel():
                    group.append((entry, future))
                    images += len(entry.images) if isinstance(entry, Read) else 1
                more = images < GROUP and not self.waiting.empty()
                item = self.waiting.get() if more else item
            if group:
                yield group
            if item is None:
                return

    def _commit(self, entries: list[Read | Correction]) -> None:
        """One transaction with `entries`, and without the oldest rows if there are too many."""
        corrected = [entry for entry in entries if isinstance(entry, Correction)]
        tables: list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]] = [
            ("digits", DIGITS, digit_rows([entry for entry in entries if isinstance(entry, Read)], self.pictures)),
            ("corrections", CORRECTIONS, [(*each[:3], each.image.tobytes(), each.time) for each in corrected]),
        ]
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for table, columns, rows in tables:
                if rows:
                    marks = ", ".join("?" * len(columns))
                    self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
                    self._drop_oldest(table)
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def _drop_oldest(self, table: str) -> None:
        # Row numbers rise by one: the first and the last are found at once, a count would read the whole table.
        first, last = self.connection.execute(
            f"SELECT (SELECT min(rowid) FROM {table}), (SELECT max(rowid) FROM {table})"
        ).fetchone()
        if last - first + 1 > self.rows:
            self.connection.execute(f"DELETE FROM {table} WHERE rowid <= ?", (last - self.rows + self.step - 1,))


def digit_rows(entries: list[Read], pictures: bool) -> list[tuple[Any, ...]]:
    """A row of the table for each digit of `entries`. The statistics are computed for all at once, since most of
    their time is the same for one image and for many."""
    if not entries:
        return []
    columns = measures(np.concatenate([entry.images for entry in entries])).values()
    statistics = zip(*(column.tolist() for column in columns))
    return [
        (
            *(entry.request, digit, entry.time, predicted, confidence, entry.milliseconds, int(entry.prepared)),
            *next(statistics),
            entry.images[digit].tobytes() if pictures else None,
        )
        for entry in entries
        for digit, (predicted, confidence) in enumerate(zip(entry.predicted.tolist(), entry.confidence.tolist()))
    ]


def window(path: Path, last: int) -> pd.DataFrame:
    """The `last` digits of each kind, prepared or not, in the log at `path`, or all if there are fewer, in order of
    time: the columns of `stages.statistics.image_statistics` and `confidence` as float64, `predicted` and `prepared`
    as int64.

    Raises `UserError` if the log is missing or empty.
    """
    columns = [*STATISTICS, "confidence", "predicted", "prepared"]
    query = f"SELECT {', '.join(columns)}, time, rowid FROM digits WHERE prepared = ? ORDER BY rowid DESC LIMIT ?"
    check(path)
    found = [row for prepared in (0, 1) for row in selected(path, query, prepared, last)[::-1]]
    if not found:
        raise UserError(f"{path} has no digits yet: serve some requests first")
    for *values, number in found:
        for column, value in zip([*columns, "time"], values):
            may_lack = column in STATISTICS  # a blank image has no position
            if not (_is_number(value, column in TYPES) or (value is None and may_lack)):
                what = f"{column} of row {number} is {value!r}, no possible value"
                raise UserError(f"{path}: {what}: delete that row, or move the log away")
    rows = [row[:-1] for row in found]
    table = pd.DataFrame(rows, columns=[*columns, "time"]).sort_values("time", kind="stable", ignore_index=True)
    return table[columns].astype(dict.fromkeys(columns[:-2], "float64") | dict.fromkeys(columns[-2:], "int64"))


def _is_number(value: object, whole: bool) -> bool:
    """Whether `value` is a number that the log may hold; a `whole` one is none below 0."""
    return isinstance(value, int if whole else int | float) and (0 if whole else -LARGEST) <= value <= LARGEST


def corrections(path: Path) -> list[Correction]:
    """All corrections in the log at `path`, the oldest first. Raises `UserError` if the log is missing or damaged."""
    check(path)
    rows = selected(path, f"SELECT {', '.join(CORRECTIONS)} FROM corrections ORDER BY rowid")
    if any(not _is_number(row[2], whole=True) or not isinstance(row[3], bytes) for row in rows):
        raise UserError(f"{path}: a correction has a label that is no number, or no image: move the log away")
    return [Correction(*row)._replace(image=np.frombuffer(row[3], np.uint8)) for row in rows]


def check(path: Path) -> None:
    """Raise `UserError` if the file is damaged: of one that is cut, SQLite reads a part as if it were all."""
    [(verdict,)] = selected(path, "PRAGMA quick_check(1)")
    if verdict != "ok":
        raise UserError(f"{path} cannot be read as a log of requests ({' '.join(verdict.split())}): move it away")


def selected(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows that `query` finds in the log at `path`, also while a server writes to it."""
    if not path.exists():
        raise UserError(f"{path} is missing: `make serve` writes it")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()
    except (sqlite3.Error, OverflowError) as error:
        raise UserError(f"{path} cannot be read as a log of requests ({error})") from None

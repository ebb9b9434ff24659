"""How a stage starts and how it fails: one line for the person who made the mistake."""

import argparse
import errno
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT}
LONGEST = 1000  # characters of a line of a message


class UserError(Exception):
    """A mistake that its reader can mend: the message says what is wrong, where, and what to do."""


def no_arguments(description: str | None) -> None:
    """Print `description` for `--help`; refuse any other argument, which would be ignored silently otherwise."""
    argparse.ArgumentParser(description=description).parse_args()


def run(name: str, main: Callable[[], None]) -> None:
    """Run `main`. A `UserError`, or an error of files or memory, ends the process with exit code 1 and its message,
    each line of which begins with `name`. Ctrl-C ends it with 130 and one line, which the text of the
    `KeyboardInterrupt` completes.

    If STAGE_SECONDS names a file, `{"stage": name, "seconds": …}` is appended to it as a line of JSON: wall-clock time
    stays out of every output that DVC hashes.
    """
    start = time.perf_counter()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows only ASCII gets no traceback
    try:
        main()
        if record := os.environ.get("STAGE_SECONDS"):
            with Path(record).open("a") as lines:
                lines.write(json.dumps({"stage": name, "seconds": time.perf_counter() - start}) + "\n")
    except (UserError, OSError, MemoryError) as error:
        sys.exit("\n".join(f"{name}: {printable(line)}" for line in words(error).split("\n")))
    except KeyboardInterrupt as stop:
        print(f"{name}: interrupted{stop}", file=sys.stderr)
        sys.exit(130)


def words(error: Exception) -> str:
    """The message of `error`, in plain words if it is the system's."""
    text = str(error)
    if isinstance(error, MemoryError):
        return f"not enough memory: {text or 'close other programs'}"
    if not isinstance(error, OSError):
        return text
    if error.errno in FULL or "requested and" in text:  # the second: NumPy's
        return f"no space left on the disk{f' for {error.filename}' if error.filename else ''}: free some and run again"
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else text


def printable(line: str) -> str:
    """`line` without characters that would steer a terminal, cut if it is very long."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line[:LONGEST])
    return shown + (f" … ({len(line):,} characters)" if len(line) > LONGEST else "")

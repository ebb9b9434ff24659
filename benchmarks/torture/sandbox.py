"""A copy of the repository on the embedded digits, commands in it, and how their end is judged."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from record.copies import copy_repository

CHANGES = {"download": {"dataset": "digits"}, "train": {"model": "fnn", "epochs": 2, "batch_size": 32}}
FOREIGN = ("GIT_", "DVC_", "MAKE", "PYTHON", "TF_", "XDG_", "STAGE_SECONDS", "MNIST_MIRROR", "QMNIST_MIRROR")
UNCOMPARED = (".git", ".dvc/tmp")  # what has times and process numbers in it
Found = Iterator[tuple[str, list[str]]]  # what was tried, and what is wrong after it
Part = Callable[[Path], Found]
SECONDS, MEGABYTES, MEGABYTES_TRAINING = 60, 500, 1500
ACCEPTED = "accepted"
TEMPORARY = re.compile(r"(^|/)\.[^/]*\.\d+(\.[^/]*)?$|\.(new|part|tmp)(/|$)")


class Ended(NamedTuple):
    """How a command ended: a negative `code` is the signal that killed it; `megabytes` is its peak memory."""

    code: int
    output: str
    errors: str
    seconds: float
    megabytes: float


def made(folder: Path) -> Path:
    """A copy of the repository at `folder`, with a small network, committed, in which nothing has run yet."""
    copy_repository(folder, CHANGES)
    git = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    subprocess.run([*git, "add", "--all"], cwd=folder, check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "all"], cwd=folder, check=True)
    return folder


def copied(folder: Path, to: Path, *without: str) -> Path:
    """A copy of the copy `folder`, at `to`, without what has one of the names `without`."""
    return Path(shutil.copytree(folder, to, symlinks=True, ignore=shutil.ignore_patterns(*without)))


def surroundings(folder: Path) -> dict[str, str]:
    """Environment variables for commands in `folder`: this Python first, nothing that this machine's user has set."""
    home = folder.parent / f"{folder.name}.home"
    home.mkdir(exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def started(folder: Path, command: Sequence[str], **options: object) -> "subprocess.Popen[bytes]":
    """`command` (without `python -m`), begun in `folder`, in a process group of its own."""
    settings = {"env": surroundings(folder), "stdin": subprocess.DEVNULL, "start_new_session": True} | options
    return subprocess.Popen([sys.executable, "-m", *command], cwd=folder, **settings)  # type: ignore[call-overload]


def run(folder: Path, *command: str, seconds: float = SECONDS, **options: object) -> Ended:
    """`command` (without `python -m`) in `folder`, killed after so many `seconds`."""
    start = time.monotonic()
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = started(folder, command, stdout=output, stderr=errors, **options)
        status, megabytes = waited(process, start + seconds)
        for file in (output, errors):
            file.seek(0)
        printed = [file.read().decode("utf-8", "replace") for file in (output, errors)]
    return Ended(status, *printed, time.monotonic() - start, megabytes)


def waited(process: "subprocess.Popen[bytes]", end: float) -> tuple[int, float]:
    """Exit code and peak memory of `process`, whose group is killed at the time `end`."""
    killed = False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss / 1024
        if not killed and time.monotonic() > end:
            kill_group(process.pid)
            killed = True
        time.sleep(0.02)


def kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def complaints(ended: Ended, speaker: str, megabytes: float = MEGABYTES) -> list[str]:
    """What is wrong with how a command ended that was to refuse its input, in lines that begin with `speaker`."""
    lines = [line for line in ended.errors.splitlines() if line.strip()]
    strange = [line for line in lines if not line.startswith((f"{speaker}: ", f"{speaker} "))]
    found = []
    if ended.code == 0:
        found.append(ACCEPTED)
    elif ended.code < 0:
        found.append(f"killed by signal {-ended.code}")
    elif not lines:
        found.append("says nothing")
    if "Traceback (most recent call last)" in ended.errors + ended.output:
        found.append(f"a traceback: {lines[-1] if lines else ''}")
    elif strange:
        found.append(f"a line that does not begin with {speaker}: {strange[0]!r}")
    if any(ord(character) < 32 and character not in "\n\r\t" for character in ended.errors):
        found.append("control characters")
    if max(map(len, lines), default=0) > 2000:
        found.append(f"a line of {max(map(len, lines)):,} characters")
    if ended.megabytes > megabytes:
        found.append(f"{ended.megabytes:,.0f} MB of memory")
    if ended.seconds > SECONDS:
        found.append(f"{ended.seconds:.0f} seconds")
    return found


def tree(folder: Path) -> dict[str, str]:
    """Relative path: SHA-256 of every file below `folder` whose bytes do not depend on the time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(UNCOMPARED) and "__pycache__" not in path.parts:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(reference: dict[str, str], now: dict[str, str]) -> list[str]:
    """A line for each file that is missing, that is left over or that has other bytes."""
    return [
        f"{name} {'is missing' if name not in now else 'is left over' if name not in reference else 'differs'}"
        for name in sorted(reference.keys() | now.keys())
        if reference.get(name) != now.get(name)
    ]


def in_plain_words(ended: Ended) -> list[str]:
    """What is wrong with how a command ended that had to end well or with lines for a person."""
    last = (ended.errors.strip().splitlines() or ["nothing"])[-1]
    if "Traceback (most recent call last)" in ended.errors + ended.output:
        return [f"a traceback: {last}"]
    if ended.code < 0:
        return [f"killed by signal {-ended.code}"]
    return [f"exit code {ended.code}, and says nothing"] if ended.code and last == "nothing" else []


def recovered(folder: Path, reference: dict[str, str], **options: object) -> list[str]:
    """What is wrong in `folder` after one more `make run`, compared with the undisturbed run `reference`."""
    again = run(folder, "tools.run", seconds=300, **options)
    if again.code:
        return [f"the next run failed: {' '.join(again.errors.split())[-300:]}"]
    return differences(reference, tree(folder))


def litter(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The temporary files that a run left."""
    return [f"left {name}" for name in sorted(after.keys() - before.keys()) if TEMPORARY.search(name)]


def two_at_a_time(tasks: Sequence[tuple[str, Callable[[], list[str]]]]) -> Found:
    """The name of each task and what it found to be wrong, in their order."""
    with ThreadPoolExecutor(2) as pool:
        yield from zip([name for name, _ in tasks], pool.map(lambda task: task[1](), tasks), strict=True)

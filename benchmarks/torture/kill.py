"""kill -9 at moments spread over all stages: the next run ends with the bytes of an undisturbed one, and no litter."""

import os
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.torture.sandbox import Found, copied, kill_group, recovered, run, started, tree, two_at_a_time
from record.parameters import STAGES

MOMENTS = 10  # of each stage, in each of two ways: dvc and all its children, and the stage's process alone
WHOLE = 12  # of a whole `dvc repro`
GRACE = 10  # seconds in which the processes of a killed group must have ended


def kill(base: Path) -> Found:
    """Each moment and what went wrong after it. `base` is a copy of the repository in which the pipeline has run."""
    reference = tree(base)
    with TemporaryDirectory() as folder:
        spare = copied(base, Path(folder) / "durations")
        seconds = {name: duration(spare, "dvc", "repro", "--single-item", "--force", name) for name in STAGES}
        tasks = [
            (f"{name} at {at:.2f} s, {who}", at, ("dvc", "repro", "--single-item", "--force", name), who)
            for name in STAGES
            for who in ("the group", "the stage")
            for at in moments(seconds[name], MOMENTS)
        ]
        whole = ("dvc", "repro", "--force", "--no-run-cache")
        tasks += [
            (f"dvc repro at {at:.2f} s, {who}", at, whole, who)
            for number, at in enumerate(moments(sum(seconds.values()), WHOLE))
            for who in [("the group", "the stage")[number % 2]]
        ]
        yield from two_at_a_time(
            [
                (name, partial(killed, base, reference, Path(folder) / f"moment {number}", *task))
                for number, (name, *task) in enumerate(tasks)
            ]
        )


def moments(seconds: float, count: int) -> list[float]:
    """So many moments, evenly spread over so many `seconds`."""
    return [seconds * (number + 0.5) / count for number in range(count)]


def duration(folder: Path, *command: str) -> float:
    start = time.monotonic()
    if (ended := run(folder, *command, seconds=600)).code:
        raise RuntimeError(ended.errors)
    return time.monotonic() - start


def killed(
    base: Path, reference: dict[str, str], folder: Path, at: float, command: tuple[str, ...], who: str
) -> list[str]:
    """What is wrong after a kill at `at` seconds and a second run."""
    copied(base, folder)
    process = started(folder, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(at)
    if who == "the group":
        kill_group(process.pid)
    else:
        for pid in stages_of(process.pid):
            os.kill(pid, signal.SIGKILL)
    process.wait(60)
    found = survivors(process.pid)
    again = run(folder, *(part for part in command if part != "--force"), seconds=300)
    if again.code:
        found.append(f"the second run failed: {again.errors.strip().splitlines()[-1:]}")
    found += recovered(folder, reference)
    shutil.rmtree(folder)
    return found


def stages_of(group: int) -> list[int]:
    """The processes of the group that run a stage."""
    return [pid for pid in members(group) if b"stages." in command_line(pid) and b"dvc" not in command_line(pid)]


def survivors(group: int) -> list[str]:
    """A line if processes of the group live on for `GRACE` seconds."""
    end = time.monotonic() + GRACE
    while (alive := members(group)) and time.monotonic() < end:
        time.sleep(0.05)
    return [f"processes live on: {alive}"] if alive else []


def members(group: int) -> list[int]:
    """The processes of the group that are not yet dead."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, pgrp = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has ended
        if int(pgrp) == group and state != "Z":
            found.append(int(folder.name))
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""

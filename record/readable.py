"""Files of DVC's own that a full disk or a killed process leaves empty or cut: a line for each, in place of DVC's."""

import json
from collections.abc import Sequence
from pathlib import Path

from record import comparison, lock
from stages.common.entry import UserError

RUNNING = Path(".dvc/tmp/rwlock")  # which DVC process works on which path, as JSON


def problems(locks: Sequence[str] = (lock.FILE, comparison.LOCK)) -> list[str]:
    """What is wrong with each of the `locks` and with DVC's list of running processes, and what to do."""
    found = []
    for file in filter(lambda file: Path(file).exists(), locks):
        try:
            lock.parse(file, Path(file).read_bytes())
        except UserError as error:
            found.append(str(error))
    try:
        if RUNNING.exists() and not isinstance(json.loads(RUNNING.read_bytes()), dict):
            raise ValueError
    except ValueError:
        found.append(f"{RUNNING} is damaged, so no DVC command can start: if none is running, `rm {RUNNING}`")
    return found


def check(locks: Sequence[str] = (lock.FILE, comparison.LOCK)) -> None:
    """Raise `UserError` with the `problems`, if there are any."""
    if found := problems(locks):
        raise UserError("\n".join(found))

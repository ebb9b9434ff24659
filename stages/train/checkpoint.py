"""What a training keeps after each epoch, so that one that was stopped goes on and ends with the same bytes."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np

from stages import arrays
from stages.common.files import replacing

FOLDER = Path("data/.training")
STAGES = Path(__file__).parents[1]
CODE = ("arrays.py", "checksums.py", "cluster.py", "quiet.py", "common/**/*.py", "train/**/*.py")  # as in dvc.yaml
BLOCK_BYTES = 2**24


class Store(NamedTuple):
    """The folder in which a training keeps its state, and what tells whether a state there is its own."""

    folder: Path
    fingerprint: str


class State(NamedTuple):
    """A training after a whole epoch: the values of its variables, the best weights if they are asked for, the rows of
    its history, and how long it has taken, in seconds of the clock."""

    values: list[np.ndarray]
    best: list[np.ndarray] | None
    history: list[dict[str, float]]
    seconds: float


def folder(models: Path) -> Path:
    """Where the training that writes to the folder `models` keeps its state: one name for each folder."""
    return FOLDER / hashlib.blake2b(os.path.relpath(models).encode(), digest_size=8).hexdigest()


def opened(models: Path, fingerprint: str) -> Store:
    """The store of the training that writes to `models`. Raises `OSError` if nothing can be written there."""
    store = Store(folder(models), fingerprint)
    store.folder.mkdir(parents=True, exist_ok=True)
    TemporaryFile(dir=store.folder).close()
    return store


def fingerprint(decided: Any, data: Sequence[np.ndarray]) -> str:
    """32 hexadecimal digits that follow from this code, `decided` (anything for JSON) and the values of `data`."""
    digest = hashlib.blake2b(json.dumps(decided, sort_keys=True).encode(), digest_size=16)
    for path in sorted(path for pattern in CODE for path in STAGES.glob(pattern)):
        digest.update(path.read_bytes())
    for array in data:
        digest.update(f"{array.dtype} {array.shape}".encode())
        rows = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
        for start in range(0, len(array), rows):
            digest.update(arrays.rows(array, start, start + rows).tobytes())
    return digest.hexdigest()


def save(store: Store, name: str, state: State) -> None:
    """Write the `state` of the training called `name`, whole or not at all."""
    about = json.dumps({"fingerprint": store.fingerprint, "history": state.history, "seconds": state.seconds})
    lists = {"value": state.values, "best": state.best or []}
    named = {f"{kind}_{number}": each for kind, values in lists.items() for number, each in enumerate(values)}
    with replacing(store.folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.array(about), **named)
        file.flush()
        os.fsync(file.fileno())


def load(store: Store, name: str) -> State | None:
    """The state of the training called `name`, if there is one that fits and is whole."""
    try:
        with np.load(store.folder / f"{name}.npz", allow_pickle=False) as saved:
            about = json.loads(str(saved["about"]))
            if about["fingerprint"] != store.fingerprint:
                return None
            lists = {kind: _listed(saved, kind) for kind in ("value", "best")}
            return State(lists["value"], lists["best"] or None, about["history"], about["seconds"])
    except Exception:  # no file, or one in which anything may be damaged: then the training starts anew
        return None


def seconds(store: Store, names: Sequence[str]) -> float:
    """How long the trainings called `names` had taken when their states were kept."""
    return sum(state.seconds for state in (load(store, name) for name in names) if state)


def forget(store: Store) -> None:
    """Remove the states: the training has ended."""
    shutil.rmtree(store.folder, ignore_errors=True)


def _listed(saved: Any, name: str) -> list[np.ndarray]:
    return [saved[f"{name}_{number}"] for number in range(sum(each.startswith(f"{name}_") for each in saved.files))]

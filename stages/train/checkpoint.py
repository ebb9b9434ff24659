"""What a training keeps after each epoch, so that one that was stopped goes on and ends with the same bytes."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages import arrays
from stages.common.files import replacing

FOLDER = Path("data/.training")
STAGES = Path(__file__).parents[1]
CODE = ("arrays.py", "cluster.py", "quiet.py", "common/*.py", "train/*.py")  # what dvc.yaml names
BLOCK_BYTES = 2**24


class Kept(NamedTuple):
    """Where a training keeps its state, and what tells whether a state is its own."""

    folder: Path
    fingerprint: str


class State(NamedTuple):
    """A training after a whole epoch: the values of its variables, the best weights if they are asked for, the rows of
    its history."""

    values: list[np.ndarray]
    best: list[np.ndarray] | None
    history: list[dict[str, float]]


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


def save(path: Path, fingerprint: str, state: State) -> None:
    """Write `state`, whole or not at all."""
    about = json.dumps({"fingerprint": fingerprint, "history": state.history})
    lists = {"value": state.values, "best": state.best or []}
    named = {f"{name}_{number}": each for name, values in lists.items() for number, each in enumerate(values)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.array(about), **named)


def load(path: Path, fingerprint: str) -> State | None:
    """The state at `path`, if there is one that `fingerprint` fits."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            about = json.loads(str(saved["about"]))
            if about["fingerprint"] != fingerprint:
                return None
            lists = {name: _listed(saved, name) for name in ("value", "best")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # none, or a damaged one
        return None
    return State(lists["value"], lists["best"] or None, about["history"])


def _listed(saved: Any, name: str) -> list[np.ndarray]:
    return [saved[f"{name}_{number}"] for number in range(sum(each.startswith(f"{name}_") for each in saved.files))]

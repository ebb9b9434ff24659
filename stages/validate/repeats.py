"""Which images are there more than once, found by eight bytes of each, and confirmed by sixteen."""

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages import arrays

BLOCK = 4096  # images that are confirmed at a time
HASHES = 1 << 20  # that are looked up at a time


class Repeats(NamedTuple):
    """Ascending indices: of the images of each split that repeat an earlier one of it, of test images in train too."""

    again: dict[str, np.ndarray]
    shared: np.ndarray


def fingerprints(images: np.ndarray) -> np.ndarray:
    """The 32 hexadecimal digits of `corrections.fingerprint` as two numbers: uint64 [N, 2]."""
    content = memoryview(images.tobytes())
    size = len(content) // len(images)
    digests = [
        hashlib.blake2b(content[start : start + size], digest_size=16).digest()
        for start in range(0, len(content), size)
    ]
    return np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).astype(np.uint64)


def halves(names: list[str]) -> np.ndarray:
    """The first half of each fingerprint, uint64, ascending."""
    return np.sort(np.array([int(name[:16], 16) for name in names], np.uint64))


def places(hashes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The ascending indices of those `hashes` that are in `wanted`, which ascends."""
    found = [np.empty(0, np.intp)]
    for start in range(0, len(hashes) if len(wanted) else 0, HASHES):
        block = hashes[start : start + HASHES]
        nearest = np.minimum(np.searchsorted(wanted, block), len(wanted) - 1)
        found.append(start + np.flatnonzero(wanted[nearest] == block))
    return np.concatenate(found)


def repeats(hashes: dict[str, np.ndarray], images: dict[str, np.ndarray]) -> Repeats:
    """The images of train and test that are there more than once; `hashes` holds the first half of the fingerprints.

    Only images whose halves agree are read.
    """
    twice = _twice(list(hashes.values()))
    candidates = {key: places(each, twice) for key, each in hashes.items()}
    table = pd.concat(
        pd.DataFrame(_confirmed(images[key], chosen)).assign(split=key, index=chosen)
        for key, chosen in candidates.items()
    )
    table["image"] = table.groupby([0, 1], sort=False).ngroup()
    parts = {key: table[table["split"] == key] for key in hashes}
    again = {key: part["index"][part["image"].duplicated()].to_numpy() for key, part in parts.items()}
    test = parts["test"]
    return Repeats(again, test["index"][test["image"].isin(parts["train"]["image"])].to_numpy())


def _twice(hashes: list[np.ndarray]) -> np.ndarray:
    """The hashes that are there more than once in all, ascending."""
    ordered = np.concatenate(hashes)
    ordered.sort()
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _confirmed(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The fingerprints of the `chosen` images: uint64 [N, 2]."""
    blocks = [chosen[start : start + BLOCK] for start in range(0, len(chosen), BLOCK)]
    return np.concatenate(
        [np.empty((0, 2), np.uint64), *(fingerprints(arrays.some(images, block)) for block in blocks)]
    )

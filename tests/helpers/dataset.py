"""A data set in a folder, to be used as a mirror."""

import hashlib

import numpy as np
from sklearn.datasets import load_digits

from stages.idx import write_idx


def write_dataset(folder, arrays):
    """Write `arrays` by their IDX names into the new `folder`; the checksums as params.yaml states them."""
    folder.mkdir()
    for name, array in arrays.items():
        write_idx(folder / name, array)
    return {path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(folder.iterdir())}


def small_digits(train, test):
    """So many training and test images of 8×8, uint8, and their labels, by other code than the stage's."""
    data = load_digits()
    images, labels = (data.images / 16 * 255).round().astype(np.uint8), data.target
    return (images[:train], labels[:train]), (images[train : train + test], labels[train : train + test])

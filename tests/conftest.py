"""Fixtures of several test modules: the repository's parameters, real digits, and clean copies of the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.browser import browser  # noqa: F401 - a fixture
from helpers.clone import NOWHERE, ROOT, Clone
from helpers.packaged import package


@pytest.fixture
def values():
    """The whole of params.yaml as plain values, fresh for each test to change."""
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def catalog():
    """The whole of datasets.yaml as plain values, fresh for each test to change."""
    return yaml.safe_load((ROOT / "datasets.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def digits():
    """Images uint8 (1797, 28, 28) and labels uint8 (1797): scikit-learn's digits as preprocess makes them."""
    import numpy as np

    from stages.download.embedded import digits
    from stages.preprocess.images import to_network_size

    raw = digits()
    images = np.concatenate([raw["train-images-idx3-ubyte"], raw["t10k-images-idx3-ubyte"]])
    labels = np.concatenate([raw["train-labels-idx1-ubyte"], raw["t10k-labels-idx1-ubyte"]])
    return to_network_size(images, 28, 1, "box"), labels


@pytest.fixture(scope="session")
def models(tmp_path_factory, digits):
    """A folder with what is served: a model that has learnt scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("models")
    package(folder, digits, "Digits", 10)
    return folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Environment variables for subprocesses: this Python first, none of what this machine or its user has set."""
    home = tmp_path_factory.mktemp("home")
    foreign = ("GIT_", "DVC_", "MAKE", "MFLAGS", "PYTHON", "TF_", "XDG_")
    named = {"STAGE_SECONDS", "MNIST_MIRROR", "QMNIST_MIRROR"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign) and key not in named}
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
    }


@pytest.fixture(scope="session")
def clone(tmp_path_factory, environment):
    """A function that gives the repository as a fresh clone has it, on a machine where nobody offers MNIST,
    with a training that takes seconds."""

    def offline(catalog):
        source = catalog["mnist"]["source"]
        source["mirrors"] = source["writers"]["mirrors"] = [NOWHERE]

    def short(values):
        values["download"] |= {"dataset": "mnist", "timeout_seconds": 2, "attempts": 1}
        values["train"] |= {"model": "fnn", "epochs": 2, "batch_size": 32}

    def make():
        folder = tmp_path_factory.mktemp("clone")
        listed = subprocess.run(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        made = Clone(folder, environment)
        made.change(offline, "datasets.yaml")
        made.change(short)
        made.well("git", "init", "--quiet")
        made.commit()
        return made

    return make


@pytest.fixture(scope="session")
def launched(clone):
    """A clone after the launcher's first run, which found no MNIST and ran the pipeline on the embedded digits.

    Besides the clone, what the launcher printed.
    """
    made = clone()
    return made, made.well(sys.executable, "-m", "tools.run")


@pytest.fixture(scope="session")
def settled(clone):
    """A clone in which both pipelines have run on the embedded digits, the comparison with two models of one epoch
    each, and everything is committed. A test that changes something changes it back."""
    made = clone()
    made.change(lambda values: values["download"].update(dataset="digits"))
    made.compare("one", "two")
    made.dvc("repro")
    made.dvc("repro", "comparison/dvc.yaml")
    made.commit()
    return made

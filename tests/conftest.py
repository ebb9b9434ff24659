"""What several test modules share: the repository's parameters, real digits, and a clean copy of the repository."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.idx import write_idx

ROOT = Path(__file__).parent.parent
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nobody listens
# Under xdist, the modules whose fixtures train a model or run the pipeline stay with one worker each.
TOGETHER = {
    "test_train.py": "train",
    "test_train_options.py": "options",
    "test_pipeline.py": "pipeline",
    "test_launch.py": "pipeline",
    "test_rerun.py": "settled",
    "test_fresh.py": "settled",
    "test_noise.py": "settled",
    "test_share.py": "settled",
    "test_resolve.py": "settled",
    "test_declared.py": "declared",
    "test_identical.py": "identical",
    "test_rehearse.py": "rehearse",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class TogetherScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return TOGETHER.get(Path(nodeid.split("::")[0]).name, nodeid)

    return TogetherScheduling(config, log)


@pytest.fixture
def values():
    """The whole of params.yaml as plain values, fresh for each test to change."""
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def digits():
    """Images uint8 (1797, 28, 28) and labels uint8 (1797): scikit-learn's digits as preprocess makes them."""
    import numpy as np

    from stages.download.embedded import digits
    from stages.preprocess.images import to_standard_size

    raw = digits()
    images = np.concatenate([raw["train-images-idx3-ubyte"], raw["t10k-images-idx3-ubyte"]])
    labels = np.concatenate([raw["train-labels-idx1-ubyte"], raw["t10k-labels-idx1-ubyte"]])
    return to_standard_size(images), labels


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


def write_dataset(folder, arrays):
    """Write `arrays` by their IDX names into the new `folder`; the checksums as params.yaml states them."""
    folder.mkdir()
    for name, array in arrays.items():
        write_idx(folder / name, array)
    return {path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sorted(folder.iterdir())}


class GitRepository:
    """A Git repository in `folder`, made without what a user or a machine has set."""

    def __init__(self, folder):
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments):
        author = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *author, *arguments], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message="results"):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")


def alone(tmp_path, environment, monkeypatch):
    """A new folder, now the current one, out of reach of what this machine's user has set for Git."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", environment["HOME"])
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


class Clone:
    """A folder in which commands run as they would for somebody who has just cloned the repository."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = environment

    def run(self, *command, **variables):
        return subprocess.run(
            command, cwd=self.folder, env=self.environment | variables, capture_output=True, text=True, timeout=300
        )

    def python(self, *arguments, **variables):
        return self.run(sys.executable, *arguments, **variables)

    def well(self, *command, **variables):
        """What `command` prints; it must end well."""
        ended = self.run(*command, **variables)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def dvc(self, *command, **variables):
        return self.well(sys.executable, "-m", "dvc", *command, **variables)

    def reproduced(self):
        """The stages that `dvc repro` runs, in order, and what it prints."""
        record = Path(self.environment["HOME"]) / "stages.jsonl"
        record.unlink(missing_ok=True)
        output = self.dvc("repro", STAGE_SECONDS=str(record))
        lines = record.read_text().splitlines() if record.exists() else []
        return [json.loads(line)["stage"] for line in lines], output

    def change(self, change, file="params.yaml"):
        path = self.folder / file
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(values)
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    def compare(self, *names):
        """Let the comparison be of as many small networks, trained for one epoch, and its lock of no others."""
        short = {"model": "fnn", "epochs": 1, "batch_size": 32}

        def change(values):
            models = [values["models"]["fnn"] | short | {"seed": seed} for seed, _ in enumerate(names)]
            values |= {"models": dict(zip(names, models)), "published": {names[0]: 0.9746}}

        self.change(change, "comparison/params.yaml")
        (self.folder / "comparison/dvc.lock").unlink(missing_ok=True)

    def commit(self):
        # The author is named for this commit alone: whoever has just installed Git has no name in it.
        git = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
        self.well(*git, "add", "--all")
        self.well(*git, "commit", "--quiet", "--message", "all")


@pytest.fixture(scope="session")
def clone(tmp_path_factory, environment):
    """A function that gives the repository as a fresh clone has it, on a machine where nobody offers MNIST,
    with a training that takes seconds."""

    def offline_and_short(values):
        source = values["datasets"]["mnist"]["source"]
        source["mirrors"] = source["writers"]["mirrors"] = [NOWHERE]
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
        made.change(offline_and_short)
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
    return made, made.well(sys.executable, "-m", "tools.launch")


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

"""Git repositories with the numbers of an evaluation in them."""

import hashlib
import json
import os
import subprocess

import yaml

from record import environment, results
from record.results import Results

SUMS = ["c0de", "7ea1", "5e1d"]  # of results.TRAINED_ON
MACHINE = {"precision": "float32", "processor": "x86_64 with AVX2", "versions": "tensorflow 2.21.0, keras 3.15.0"}
NOISE = {"accuracy_mean": 0.9, "accuracy_sd": 0.001, "accuracy_low": 0.898, "accuracy_high": 0.902, "seeds": 5}


def scored(wrong, name="a", images=1000, test_data="f00d", noise=None):
    """Results with the images of the indices `wrong` misclassified; the class of image i is i % 10."""
    right = images - len(wrong)
    numbers = {"accuracy": right / images, "accuracy_low": 0.5, "accuracy_high": 1.0}
    numbers |= {"mistakes": len(wrong), "images": images}
    return Results(name, numbers, {index: index % 10 for index in wrong}, test_data, noise)


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


class Repository(GitRepository):
    """A Git repository of `metrics` and a dvc.lock that fits them."""

    def write(self, path, text):
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(text.encode())

    def lock(self, test_data="f00d", train=None):
        """Write the dvc.lock that `dvc repro` would leave, with an entry of the training where it is given a block."""
        outs = [
            {"path": path, "md5": hashlib.md5((self.folder / path).read_bytes()).hexdigest()}
            for path in (results.NUMBERS, results.MISTAKES)
        ]
        stage = {"deps": [{"path": results.TEST_DATA, "md5": test_data}], "outs": outs}
        stages = {"evaluate": stage}
        if train is not None:
            deps = [{"path": path, "md5": md5} for path, md5 in zip(results.TRAINED_ON, SUMS)]
            stages["train"] = {"deps": deps, "params": {"params.yaml": {"train": train}}}
        self.write("dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": stages}))

    def machine(self, **other):
        """Write what a training on this kind of machine, or on one with something other, leaves."""
        self.write(environment.FILE, json.dumps(MACHINE | other))

    def score(self, wrong, test_data="f00d", labels=None, **numbers):
        """Write what evaluating a model that misclassifies the images `wrong` leaves."""
        table = [f"{index},{(labels or {}).get(index, index % 10)},0,0.9" for index in wrong]
        self.write(results.MISTAKES, "\n".join(["index,label,predicted,confidence", *table, ""]))
        self.write(results.NUMBERS, json.dumps(dict(scored(wrong).numbers) | numbers))
        self.lock(test_data)

"""A copy of the repository in which commands run as they would after `git clone`."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from record import comparison

ROOT = Path(__file__).parent.parent.parent
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nobody listens
NOBODY = {f"GIT_{role}_{key}": "nobody@localhost" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
NOBODY |= {"GIT_EDITOR": "true"}  # what --continue would open for the message


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

    @contextmanager
    def current(self):
        """Let this process work in the clone: no second Python has to import DVC for a short question."""
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("GIT_")]:
                patch.delenv(name)
            for name in ("HOME", "DVC_SITE_CACHE_DIR", "GIT_CONFIG_NOSYSTEM"):
                patch.setenv(name, self.environment[name])
            patch.chdir(self.folder)
            yield

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
        """Let the comparison be of as many small networks, trained for one epoch, and its lock of no others.

        DVC sees it always from then on.
        """
        short = {"model": "fnn", "epochs": 1, "batch_size": 32}

        def change(values):
            models = [values["models"]["fnn"] | short | {"seed": seed} for seed, _ in enumerate(names)]
            values |= {"models": dict(zip(names, models)), "published": {names[0]: 0.9746}}

        self.change(change, "comparison/params.yaml")
        (self.folder / "comparison/dvc.lock").unlink(missing_ok=True)
        ignored = self.folder / ".dvcignore"
        ignored.write_text(ignored.read_text().replace(f"{comparison.LINE}\n", ""))

    def commit(self):
        # The author is named for this commit alone: whoever has just installed Git has no name in it.
        git = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
        self.well(*git, "add", "--all")
        self.well(*git, "commit", "--quiet", "--message", "all")

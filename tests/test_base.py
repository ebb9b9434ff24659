"""`make base`: when the base of a branch is run on this machine, and what of it the review gets."""

import json

import pytest

from helpers.clone import ROOT
from helpers.commits import MACHINE, GitRepository, alone
from record import environment, rerun
from stages.train import processor
from tools import base

PIPELINE = """\
stages:
  train:
    cmd: python train.py
    deps: [train.py]
    outs: [model]
    metrics:
      - metrics/environment.json: {cache: false}
  evaluate:
    cmd: python -c "print(open('model').read())" > metrics/evaluate.json
    deps: [model]
    metrics:
      - metrics/evaluate.json: {cache: false}
"""
TRAIN = f"""\
import json, os, sys
kind = os.environ["KIND"]
print(kind, file=open(os.environ["HERE"], "a"))
json.dump({MACHINE} | {{"processor": kind}}, open("metrics/environment.json", "w"))
open("model", "w").write(json.dumps({{"made by": kind}}))
"""


class Branch(GitRepository):
    """A branch `change` beside main, and a machine whose kind is an environment variable."""

    def start(self, monkeypatch):
        self.set, self.trained = monkeypatch.setenv, self.folder.parent / "trained"
        self.set("HERE", str(self.trained))
        self.set("STAGE_SECONDS", str(self.folder.parent / "seconds"))
        monkeypatch.setattr(base, "kind_here", lambda parameters: f"float32, {self.kind}")
        self.on("AVX2")
        for name, text in {"dvc.yaml": PIPELINE, "train.py": TRAIN, "metrics/.gitkeep": ""}.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        base.call(self.folder, "dvc", "init", "--quiet")
        self.repro()
        (self.folder / ".gitignore").open("a").write("/reports\n")
        self.left = self.commit()
        self.git("switch", "--quiet", "--create", "change")

    def on(self, kind):
        """Go on on a machine of this kind; nothing has run on it."""
        self.kind = kind
        self.set("KIND", kind)
        self.trained.unlink(missing_ok=True)

    def repro(self, *how):
        base.call(self.folder, "dvc", "repro", *how)

    def change(self):
        """Change the code, and run it."""
        (self.folder / "train.py").write_text(TRAIN + "# another\n")
        self.repro()

    @property
    def trainings(self):
        return self.trained.read_text().split() if self.trained.exists() else []

    @property
    def run(self):
        found = rerun.of(self.left, lambda path: b"committed")
        return found and (found.problem or json.loads(found.read("metrics/evaluate.json")))


@pytest.fixture
def branch(tmp_path, environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made = Branch(alone(tmp_path, environment, monkeypatch))
    made.start(monkeypatch)
    return made


def test_where_the_machines_are_of_one_kind_nothing_is_run_and_a_leftover_goes(branch, capsys):
    branch.change()
    rerun.FOLDER.mkdir(parents=True)
    (rerun.FOLDER / rerun.RUN).write_text(json.dumps({"commit": branch.left}))
    assert rerun.of(branch.left, lambda path: None)
    before = branch.trainings
    base.main(["main"])
    assert capsys.readouterr().out == "base: nothing to run: both sides were made with float32, AVX2\n"
    assert branch.trainings == before and branch.run is None


@pytest.mark.parametrize("link", [True, False])
def test_a_run_that_a_commit_brings_counts_for_nothing_and_is_not_followed(branch, link):
    planted = branch.folder / "planted" if link else rerun.FOLDER
    planted.mkdir(parents=True)
    (planted / rerun.RUN).write_text(json.dumps({"commit": branch.left}))
    if link:
        rerun.FOLDER.parent.mkdir(parents=True)
        rerun.FOLDER.symlink_to(planted, target_is_directory=True)
    branch.git("add", "--force", str(rerun.FOLDER))
    assert branch.run is None
    branch.change()
    base.main(["main"])
    assert not rerun.FOLDER.exists() and (not link or (planted / rerun.RUN).exists())


def test_a_base_from_another_kind_is_run_here_even_if_the_cache_has_that_run(branch):
    branch.on("AMX")
    branch.change()
    base.main(["main"])
    assert branch.trainings == ["AMX", "AMX"] and branch.run == {"made by": "AMX"}
    read = rerun.of(branch.left, lambda path: b"committed").read
    assert environment.parse("", read).processor == "AMX"
    assert read("train.py") == b"committed" and b"evaluate" in read("dvc.lock")
    assert "model" not in {path.name for path in rerun.FOLDER.rglob("*")}
    assert not (branch.folder.parent / "seconds").exists()
    assert (
        branch.git("status", "--porcelain", "--untracked-files=all")
        == "M dvc.lock\n M metrics/environment.json\n M metrics/evaluate.json\n M train.py"
    )

    branch.on("AMX")
    base.main(["main"])  # another job with this cache
    assert branch.trainings == [] and branch.run == {"made by": "AMX"}


def test_a_base_that_fails_here_fails_nothing_and_the_reason_is_kept(branch, capsys):
    (branch.folder / "train.py").write_text("raise SystemExit(3)")
    branch.git("switch", "--quiet", "main")
    branch.left = branch.commit("does not run")
    branch.git("switch", "--quiet", "--create", "another")
    branch.on("AMX")
    branch.change()
    base.main(["main"])
    assert branch.run == "its pipeline stopped here: the log of `make base` has the reason"
    assert f"base: not run: {branch.run}; the review takes its committed numbers" in capsys.readouterr().out


def test_a_branch_that_was_restored_from_another_kind_is_not_called_alike(branch):
    branch.on("AMX")
    branch.change()
    branch.on("AVX-512")
    base.main(["main"])
    assert branch.trainings == []
    assert branch.run == "here it would be made with float32, AVX-512, and this branch was made with float32, AMX"


@pytest.mark.parametrize("missing", ["base", "environment"])
def test_without_a_base_or_a_machine_it_is_the_review_that_tells(branch, capsys, missing):
    if missing == "environment":
        (branch.folder / environment.FILE).unlink()
    base.main(["mian" if missing == "base" else "main"])
    assert capsys.readouterr().out.startswith("base: nothing to run: ")
    assert branch.run is None


def test_the_kind_is_that_of_the_training_with_the_parameters_of_the_base():
    kinds = {asked: base.kind_here(f"train: {{precision: {asked}}}".encode()) for asked in ("auto", "portable")}
    assert kinds["portable"] == f"portable, {processor.kind('portable')}"
    assert kinds["auto"] == base.kind_here(b"train: {}")

"""Pull requests: the steps of .github/workflows, run in fresh clones of real branches, up to the comment.

A bare repository stands for GitHub's of the code, a server for its comments and a folder for the DVC remote. Each
branch goes through what the job of the pipeline runs, with the real pipeline on the embedded digits, and its page
through the job that posts it.
"""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import yaml

from helpers.clone import NOBODY, ROOT, Clone
from helpers.dataset import write_dataset
from helpers.fake_github import finished, posted, pull, serving, settings
from record.environment import FILE
from record.results import md5
from stages.download.embedded import digits as embedded

needs_make = pytest.mark.skipif(not shutil.which("make"), reason="needs make")
pytestmark = [needs_make, pytest.mark.xdist_group("pull_request")]
PAGE = "reports/review/review.md"


class Runner(Clone):
    """A fresh clone of one branch, on a machine that has the packages installed."""

    def steps(self, override="", base="origin/main"):
        """Run the commands of the workflow's job one after the other, up to the first that fails; what that one
        printed to its error output, or None where all went well."""
        commands = scripts(self.folder, "pull-request.yml", "pipeline")
        assert commands == ["make kind", "make verify", "make reproduce", "make base", "make review"]
        self.conclusion = "failure"
        for command in commands[1:]:
            ended = self.run("bash", "-e", "-c", command, BASE=base, OVERRIDE=override)
            if ended.returncode:
                return ended.stdout + ended.stderr
        self.conclusion = "success"
        return None

    def comment(self, github):
        """The one comment on the pull request once the other workflow has run, which has main's code and the page."""
        sha, branch = (self.well("git", "rev-parse", *of, "HEAD").strip() for of in ([], ["--abbrev-ref"]))
        github.pulls = [pull(7, sha, branch)]
        temporary = self.folder.parent / "temporary"
        (temporary / "comment").mkdir(parents=True, exist_ok=True)
        if (self.folder / PAGE).exists():
            shutil.copy(self.folder / PAGE, temporary / "comment")
        known = settings(github, finished(sha, branch, self.conclusion), temporary) | {"RUNNER_TEMP": str(temporary)}
        [script] = scripts(ROOT, "comment.yml", "comment")
        known["PATH"] = self.environment["PATH"]
        ended = subprocess.run(["bash", "-e", "-c", script], cwd=ROOT, env=known, capture_output=True, text=True)
        return posted(ended, github)

    def stale(self):
        """The stages whose lock does not fit; the comparison's never does in these projects, and fails nothing."""
        ended = self.run("make", "fresh")
        found = re.findall(r"^fresh: (\S+) is stale", ended.stderr, re.MULTILINE)
        assert bool(found) == bool(ended.returncode), ended.stderr
        return set(found)

    @property
    def page(self):
        return (self.folder / PAGE).read_text(encoding="utf-8")


def scripts(folder, workflow, job):
    values = yaml.safe_load((folder / ".github/workflows" / workflow).read_text(encoding="utf-8"))
    return [step["run"] for step in values["jobs"][job]["steps"] if "run" in step]


@pytest.fixture
def github():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def author(clone, environment, tmp_path_factory):
    """A project whose main has run and been pushed, code to a bare repository and data to a DVC remote."""
    made = clone()
    made.environment = environment | NOBODY
    origin, remote = tmp_path_factory.mktemp("origin") / "project.git", tmp_path_factory.mktemp("remote")

    def middling(values):
        values["download"]["dataset"] = "digits"
        values["train"] |= {"epochs": 6}

    made.change(middling)
    gate = {
        "metrics/evaluate.json": {
            "accuracy": {"better": "higher", "limit": 0.5, "tolerance": 0.005},
            "accuracy_corrupted_worst": {"better": "higher", "tolerance": 0.05},
        }
    }
    (made.folder / "review/gate.yaml").write_text(yaml.safe_dump({"metrics": gate}), encoding="utf-8")
    made.dvc("remote", "add", "-d", "storage", str(remote))
    made.well("git", "rm", "--quiet", "--cached", "metrics/noise.json")
    (made.folder / "metrics/noise.json").unlink()  # it is of other test images
    made.dvc("repro")
    made.commit()
    made.well("git", "branch", "--move", "main")
    made.well("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(origin))
    made.well("git", "remote", "add", "origin", str(origin))
    made.well("git", "push", "--quiet", "origin", "main")
    made.well("python", "-m", "tools.push")
    return made


@pytest.fixture
def pull_request(author, environment, tmp_path):
    """A function that pushes a branch with a change, run by its author or not, and gives a clone of it."""

    def make(name, change, repro=False, start="main"):
        author.well("git", "switch", "--quiet", "-c", name, start)
        change(author)
        if repro:
            author.dvc("repro")
        author.commit()
        author.well("git", "push", "--quiet", "origin", name)
        author.well("git", "switch", "--quiet", "main")
        author.dvc("checkout", "dvc.yaml")
        return runner(author, name, environment, tmp_path / "runner")

    return make


def runner(author, branch, environment, folder):
    origin = author.well("git", "remote", "get-url", "origin").strip()
    subprocess.run(["git", "clone", "--quiet", "--branch", branch, origin, str(folder)], check=True)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/.installed").touch()
    return Runner(folder, environment | NOBODY)


def ran(page):
    """The stages that took time, by the page."""
    return set(re.findall(r"^\| `?(\w+)`? \| [\d.]+ s \|", page, re.MULTILINE))


def training(**changes):
    return lambda author: author.change(lambda values: values["train"].update(changes))


def test_a_better_model_passes_and_the_comment_says_what_it_fixed(pull_request, github):
    job = pull_request("better", training(epochs=40), repro=True)
    assert job.stale() == set()
    assert job.steps() is None
    first, *_ = job.page.splitlines()
    assert "Pass" in first
    assert "fixed, " in job.page and "better, and " in job.page
    assert "`train.epochs` | `6` | `40`" in job.page
    source, verdict, *_ = job.comment(github).split("\n\n")
    assert source.startswith("*Written by the code of ")
    assert verdict == first
    assert job.comment(github).rstrip().endswith("<!-- digits-review -->")


def test_a_worse_model_is_stopped_unless_the_label_is_set(pull_request, github):
    job = pull_request("worse", training(epochs=1))
    assert job.stale() == {"train", "report"}
    assert "make: *** [Makefile" in job.steps()
    assert "Fail" in job.page.splitlines()[0]
    assert "accuracy" in job.page.splitlines()[0]
    assert "worse, and " in job.page
    assert ran(job.page) == {"train", "evaluate", "package", "report"}  # here, since its author had not run it
    assert "❌ **Fail**: accuracy" in job.comment(github)

    assert job.steps(override="the label accept-worse") is None
    assert "the label accept-worse" in job.page.splitlines()[0]
    body = job.comment(github)  # in place of the one before
    assert "⚠️ **Pass by override**: the label accept-worse" in body and "❌" not in body


def test_a_change_of_no_number_passes(pull_request, github):
    def comment(author):
        with (author.folder / "stages/report/tables.py").open("a") as file:
            file.write("\n# a remark\n")

    job = pull_request("neutral", comment, repro=True)
    assert job.stale() == set()
    assert job.steps() is None
    assert "Pass" in job.page.splitlines()[0]
    assert "0 images fixed, 0 broken" in job.comment(github)


def test_a_parameter_that_its_author_did_not_run_is_run_here(pull_request, github):
    def gallery(author):
        author.change(lambda values: values["report"].update(gallery_images=7))

    job = pull_request("parameter", gallery)
    assert job.stale() == {"report"}
    before = job.run("make", "review")
    assert before.returncode != 0
    assert "report: params.yaml report.gallery_images is 7, locked 60." in before.stderr.splitlines()[0]
    assert job.steps() is None
    assert "`report.gallery_images` | `60` | `7`" in job.comment(github)
    assert ran(job.page) == {"report"}
    assert job.stale() == set()


def test_a_base_from_another_kind_of_machine_is_restored_as_it_runs_on_this_one(pull_request, author, github):
    def forge(lock):
        for entry in [*lock["stages"]["train"]["outs"], *lock["stages"]["report"]["deps"]]:
            if entry["path"] == FILE:
                entry.update(md5=md5(text.encode()), size=len(text))

    author.well("git", "switch", "--quiet", "-c", "elsewhere", "main")
    made = json.loads((author.folder / FILE).read_text())
    text = json.dumps(made | {"processor": "an abacus"})
    (author.folder / FILE).write_text(text)
    author.change(forge, "dvc.lock")
    author.commit()
    author.well("git", "push", "--quiet", "origin", "elsewhere")

    def gallery(author):
        author.change(lambda values: values["report"].update(gallery_images=7))

    job = pull_request("here", gallery, start="elsewhere")
    assert job.steps(base="origin/elsewhere") is None
    assert f"({made['precision']}, {made['processor']}): accuracy 0." in job.page.replace("&#95;", "_")
    assert "(an abacus)." in job.page and "Not trained alike" not in job.page
    assert ran(job.page) == {"report"}  # of this branch alone


def test_bad_data_stop_the_run_before_there_is_a_page_and_the_comment_says_so(pull_request, github, tmp_path):
    arrays = embedded()
    np.random.default_rng(0).shuffle(arrays["train-labels-idx1-ubyte"])
    sums = write_dataset(tmp_path / "mislabelled", arrays)

    def mislabelled(author):
        source = {"mirrors": [str(tmp_path / "mislabelled")], "mirror_variable": "MISLABELLED", "files": sums}
        author.change(lambda values: values.update(mislabelled=values["digits"] | {"source": source}), "datasets.yaml")
        author.change(lambda values: values["download"].update(dataset="mislabelled"))

    job = pull_request("data", mislabelled)
    assert "nearest class mean" in job.steps()
    assert not (job.folder / PAGE).exists()
    assert " left no page that could be posted: [the run](https://github.example/" in job.comment(github)


def test_a_lock_that_names_the_outputs_of_other_parameters_is_not_believed(pull_request, author, environment, tmp_path):
    """As after a merge that was settled by hand: the parameters of this branch, the outputs of main."""

    def forge(author):
        training(epochs=1)(author)

        def lock(values):
            for stage in ("train", "report"):
                values["stages"][stage]["params"]["params.yaml"]["train"]["epochs"] = 1

        author.change(lock, "dvc.lock")

    job = pull_request("forged", forge)
    assert job.stale() == set()  # nothing in Git tells
    assert "make: *** [Makefile" in job.steps()
    assert "worse, and " in job.page
    assert ran(job.page) == {"train", "evaluate", "package", "report"}

    # Another job of this branch, with the cache of the first and without the remote: the run is found in it.
    again = runner(author, "forged", environment, tmp_path / "again")
    again.dvc("remote", "remove", "storage")
    shutil.copytree(job.folder / ".dvc/cache", again.folder / ".dvc/cache")
    assert "make: *** [Makefile" in again.steps()
    assert ran(again.page) == set() and "No stage ran: " in again.page


def test_a_metric_that_vanishes_is_a_failure(pull_request, github):
    def forget(author):
        robustness = author.folder / "stages/evaluate/robustness.py"
        text = robustness.read_text(encoding="utf-8")
        assert text.count('"accuracy_corrupted_worst": ') == 1
        robustness.write_text(text.replace('"accuracy_corrupted_worst": ', '"renamed": '), encoding="utf-8")

    job = pull_request("vanished", forget)
    assert job.stale() == {"evaluate"}
    assert job.steps()
    assert "Fail" in job.page.splitlines()[0]
    assert "worst has no number" in job.page.splitlines()[0]
    assert job.page.splitlines()[0] in job.comment(github)


def test_a_conflict_in_the_lock_is_resolved_by_running_again_and_then_judged(author, environment, tmp_path, github):
    """It moves main, so it comes last."""
    author.well("git", "switch", "--quiet", "-c", "conflicting", "main")
    training(epochs=40)(author)
    author.dvc("repro")
    author.commit()
    author.well("git", "switch", "--quiet", "main")
    author.change(lambda values: values["evaluate"].update(reliability_bins=9))
    author.dvc("repro")
    author.commit()
    author.well("git", "push", "--quiet", "origin", "main")

    author.well("git", "switch", "--quiet", "conflicting")
    assert author.run("git", "merge", "main").returncode != 0
    author.well("python", "-m", "tools.resolve")
    author.well("git", "-c", "core.editor=true", "merge", "--continue")
    author.well("git", "push", "--quiet", "origin", "conflicting")
    job = runner(author, "conflicting", environment, tmp_path / "runner")
    assert job.stale() == set()
    assert job.steps() is None
    assert "Pass" in job.page.splitlines()[0]
    body = job.comment(github)
    assert "✅ **Pass**" in body and "`train.epochs` | `6` | `40`" in body
    assert "reliability_bins" not in body  # it is main's own

"""`make reproduce`: what continuous integration runs, and what it takes from a cache or a remote."""

import shutil
import subprocess
import sys

import pytest

from helpers.clone import ROOT

STAGE = """\
stages:
  one:
    cmd: echo ran >> $STAGE_SECONDS && cat in.txt > out.txt
    deps: [in.txt]
    outs: [out.txt]
"""


@pytest.fixture
def project(tmp_path, environment):
    """A function that runs commands in a repository with one DVC stage; without one, `make reproduce`'s own."""

    def run(*words):
        words = words or (sys.executable, "-m", "tools.reproduce")
        known = environment | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(words, cwd=tmp_path, env=known, capture_output=True, text=True, timeout=100)

    run.folder, run.record, run.lock = tmp_path, tmp_path / "reports/review/seconds.jsonl", tmp_path / "dvc.lock"
    (tmp_path / "dvc.yaml").write_text(STAGE)
    (tmp_path / "in.txt").write_text("1")
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        assert run(*command).returncode == 0
    return run


def made(project):
    """Whether the stage ran; its output is there in any case."""
    project.folder.joinpath("out.txt").unlink(missing_ok=True)
    ended = project()
    assert ended.returncode == 0, ended.stderr
    assert (project.folder / "out.txt").read_text() == (project.folder / "in.txt").read_text()
    return project.record.read_text() != ""


def test_what_ran_before_is_taken_from_the_cache_whatever_the_lock_says(project):
    assert made(project)
    assert not made(project)
    first = project.lock.read_text()
    project.lock.write_text(
        first.replace("out.txt\n      hash: md5\n      md5: ", "out.txt\n      hash: md5\n      md5: f")
    )
    assert not made(project)
    assert project.lock.read_text() == first


def test_the_outputs_that_a_lock_names_are_not_those_of_other_inputs(project):
    assert made(project)
    first = project.lock.read_text()
    (project.folder / "in.txt").write_text("2")
    assert made(project)
    outputs = first[first.index("    outs:") :]
    project.lock.write_text(project.lock.read_text().split("    outs:")[0] + outputs)
    shutil.rmtree(project.folder / ".dvc/cache/runs")
    assert made(project)


def test_the_pipeline_takes_from_a_remote_what_has_run_and_makes_the_rest(project):
    assert made(project)
    project("dvc", "remote", "add", "--default", "shared", str(project.folder / "shared"))
    assert project("dvc", "push", "--run-cache").returncode == 0
    shutil.rmtree(project.folder / ".dvc/cache")
    assert not made(project)

    project("dvc", "remote", "modify", "shared", "url", "s3://needs-a-package-that-is-not-installed")
    shutil.rmtree(project.folder / ".dvc/cache")
    (project.folder / "out.txt").unlink()
    ended = project()
    assert ended.returncode == 0, ended.stderr
    assert "The remote cannot be read: going on without it" in ended.stderr
    assert project.record.read_text() == "ran\n"


def test_a_pipeline_that_stops_is_a_failure_and_the_lock_stays_what_it_was(project):
    assert made(project)
    before = project.lock.read_bytes()
    (project.folder / "dvc.yaml").write_text("stages:\n  one:\n    cmd: exit 3\n")
    ended = project()
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "reproduce: the pipeline stopped: the reason is above"
    assert project.lock.read_bytes() == before

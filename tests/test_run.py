"""`make run`: what it runs, what it says, and what `make` offers."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.common.entry import UserError
from tools import experiments, run

ROOT = Path(__file__).parent.parent
RAN = [{"stage": "train", "seconds": 61.26}, {"stage": "report", "seconds": 0.5}]


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """The working directory with params.yaml and what a run on the embedded digits leaves for the summary."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "datasets.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for path, content in {
        "data/raw/dataset.json": {"name": "digits", "files": {}},
        "data/prepared/dataset.json": {"images": {"train": 1293, "validation": 144, "test": 360}, "split": "digits"},
        "metrics/evaluate.json": {
            "accuracy": 0.95,
            "accuracy_low": 0.92215,
            "accuracy_high": 0.96828,
            "mistakes": 18,
        },
        "metrics/train.json": {"parameters": 390922},
        "metrics/environment.json": {
            "precision": "float32",
            "processor": "x86_64 with AVX2",
            "versions": "tensorflow 2.21.0, keras 3.15.0",
        },
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(content))


def test_the_summary_says_what_came_out_and_where_it_is(finished):
    lines = run.summary(RAN, asked="digits").splitlines()
    title = "Handwritten digits of scikit-learn (UCI, 1,797 images)"
    assert lines[:-1] == [
        f"Data set   {title}: 1,293 train, 144 validation, 360 test images",
        "Model      cnn, 390,922 parameters",
        "Trained    float32; x86_64 with AVX2; tensorflow 2.21.0, keras 3.15.0",
        "Accuracy   95.00% on the test images (95 % interval 92.22% to 96.83%), 18 mistakes",
        "Time       train 61.3 s, report 0.5 s",
        "Report     reports/index.html (data: reports/data/index.html)",
    ]
    assert lines[-1].startswith("Next       ")
    assert "dvc metrics diff" in lines[-1]


def test_the_summary_says_when_nothing_ran(finished):
    assert "Time       nothing changed, so nothing ran" in run.summary([], asked="digits").splitlines()


def test_the_summary_says_how_to_come_back_to_the_data_set_asked_for(finished):
    line = run.summary(RAN, asked="fashion_mnist").splitlines()[-1]
    assert "params.yaml now names digits" in line
    assert "git restore params.yaml, set FASHION_MNIST_MIRROR or find a network" in line


@pytest.mark.parametrize("broken", ["no json", "[]", "{}"])
def test_a_description_of_the_data_that_is_broken_is_no_data(commands, broken):
    run.RAW.write_text(broken)
    assert run.offered("digits")
    assert commands[0][0] == "-m stages.download --probe"


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "is missing"), ("{}", "in the working tree lacks precision, processor, versions")]
)
def test_a_training_that_left_no_description_is_told(finished, content, problem):
    Path("metrics/environment.json").unlink()
    if content:
        Path("metrics/environment.json").write_text(content)
    with pytest.raises(UserError, match=f"^metrics/environment.json {problem}"):
        run.summary(RAN, asked="digits")


@pytest.fixture
def commands(finished, monkeypatch):
    """The commands that the launcher gives, recorded and not run; `commands.codes` are the exit codes of some."""

    class Commands(list):
        codes = {}  # noqa: RUF012

    given = Commands()

    def record(command, **options):
        words = [Path(word).name if word == sys.executable else word for word in command]
        given.append((" ".join(words[1:]), options.get("env") or {}))
        code = next((code for part, code in given.codes.items() if part in given[-1][0]), 0)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(run.subprocess, "run", record)
    monkeypatch.setattr(
        run, "called", lambda *module, **options: record([sys.executable, "-m", *module], **options).returncode
    )
    return given


def test_where_a_source_answers_the_pipeline_runs_as_it_is(commands, capsys):
    run.main()
    assert [command for command, _ in commands if "dvc" in command] == ["-m dvc repro"]
    assert "instead" not in capsys.readouterr().out


def test_where_no_source_answers_the_embedded_digits_run_and_it_says_so(commands, capsys):
    commands.codes["--probe"] = 1
    run.main()
    assert [command for command, _ in commands if "dvc" in command] == ["-m dvc exp run -S download.dataset=digits"]
    assert "No source of mnist answers: running the embedded digits instead." in capsys.readouterr().out


def test_a_mirror_that_the_user_has_set_is_asked_and_never_replaced_by_the_digits(commands, monkeypatch):
    commands.codes["--probe"] = 1
    monkeypatch.setenv("MNIST_MIRROR", "/a/typo")
    run.main()
    assert [command for command, _ in commands if "dvc" in command] == ["-m dvc repro"]  # it tells what is wrong


def test_data_that_are_here_need_no_source(commands):
    run.RAW.write_text('{"name": "mnist"}')
    commands.codes["--probe"] = 1
    run.main()
    assert [command for command, _ in commands if "dvc" in command] == ["-m dvc repro"]


def test_an_experiment_has_an_author_where_git_knows_nobody(commands):
    commands.codes["user.email"] = 1
    run.main()
    (environment,) = [environment for command, environment in commands if "dvc" in command]
    assert environment["GIT_COMMITTER_NAME"]
    assert environment["GIT_AUTHOR_EMAIL"]


def test_a_pipeline_that_stops_is_told_in_one_line(commands):
    commands.codes["dvc"] = 255
    with pytest.raises(UserError, match=r"^the pipeline stopped: the reason is above$"):
        run.main()


def test_mistaken_parameters_are_told_before_anything_runs(commands):
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("epochs:", "epoch:"))
    with pytest.raises(UserError, match=r"train\.epochs? is (missing|unknown)"):
        run.main()
    assert commands == []


@pytest.mark.xdist_group("pipeline")
def test_a_first_run_without_network_ends_with_a_number_and_a_page(launched):
    clone, output = launched
    assert "No source of mnist answers: running the embedded digits instead." in output
    assert re.search(r"^Accuracy   \d\d\.\d\d% on the test images", output, re.MULTILINE)
    assert re.search(r"^Time       download .* s, validate .* s, .*report .* s$", output, re.MULTILINE)
    assert "params.yaml now names digits; back to mnist" in output
    assert (clone.folder / "reports" / "index.html").exists()


@pytest.mark.xdist_group("pipeline")
def test_experiments_are_a_table_with_the_accuracy_and_what_was_changed(launched, capsys):
    clone, _ = launched
    with clone.current():
        experiments.main()
    title, here, commit, *others = capsys.readouterr().out.splitlines()
    assert re.split(r" {2,}", title) == list(experiments.TITLES)
    assert re.search(r"^the working tree +\d\d\.\d\d% .* of 360  .*download.dataset=digits", here)
    assert re.search(r"^ma\w+ +\d{4}-\d\d-\d\d \d\d:\d\d +\d\d\.\d\d% .* of 10,000$", commit)
    assert any(re.search(r"\d\d\.\d\d% .* of 360  .*download.dataset=digits", line) for line in others)


def test_the_table_says_what_went_and_what_has_no_numbers():
    commit = experiments.Row("main", "2026-01-01 10:00", {}, {"train": {"epochs": 1, "old": 2}}, "no numbers")
    queued = experiments.Row("", "", {}, {"train": {"epochs": 3}}, "queued")
    *_, last = experiments.table([commit, commit, queued], 200).splitlines()
    assert re.split(r" {2,}", last.strip()) == ["queued", "train.epochs=3, ~train.old"]
    assert all(len(line) <= 40 for line in experiments.table([commit, commit, queued], 40).splitlines())


@pytest.mark.xdist_group("pipeline")
def test_a_run_with_nothing_changed_says_so(launched):
    clone, _ = launched
    clone.reproduced()  # whatever another test has changed
    output = clone.well(sys.executable, "-m", "tools.run")
    assert "Time       nothing changed, so nothing ran" in output


@pytest.mark.xdist_group("pipeline")
def test_dvc_commands_about_everything_do_not_ask_for_the_comparison(launched):
    clone, _ = launched
    assert (clone.folder / "comparison/dvc.lock").exists() and not (clone.folder / "comparison/models").exists()
    commands = (("status",), ("checkout",), ("exp", "save"), ("data", "status"))
    said = [clone.dvc(*command, **run.NOBODY) for command in commands]
    clone.dvc("install")
    said.append(clone.well("git", "switch", "--create", "elsewhere"))  # DVC's hook checks out every output
    clone.well("git", "switch", "-")
    shutil.rmtree(clone.folder / ".git/hooks")
    assert not any("comparison" in text for text in said)


@pytest.fixture
def make(tmp_path, environment):
    """A function that runs `make` in a folder with the Makefile and no virtual environment."""
    if not shutil.which("make"):
        pytest.skip("needs make")
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return lambda *arguments: subprocess.run(
        ["make", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("arguments", [(), ("help",)])
def test_make_lists_every_target(make, arguments):
    ended = make(*arguments)
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)).split()
    listed = [line.split()[1] for line in ended.stdout.splitlines()]
    assert sorted(listed) == sorted(set(phony) - {"python", "repository"})
    assert ended.stderr == ""


@pytest.mark.parametrize("target", ["run", "test", "check", "lint"])
def test_a_python_out_of_range_gets_one_line(make, tmp_path, target):
    fake = tmp_path / "python3.14"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    ended = make(target, f"PYTHON={fake}")
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if not line.startswith("make")]
    assert said == ["Python 3.11, 3.12 or 3.13 is needed: install one, or name it: make PYTHON=/path/to/python3.12"]
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("commits", [None, 0])
def test_a_folder_without_git_or_without_a_commit_is_told_before_anything_is_installed(make, tmp_path, commits):
    if commits == 0:
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    ended = make("run", f"PYTHON={sys.executable}")
    said = [line for line in ended.stderr.splitlines() if not line.startswith("make")]
    assert ended.returncode != 0 and said[0].startswith("DVC needs a Git repository with a commit")
    assert not (tmp_path / ".venv").exists()
    subprocess.run(said[1].strip(), shell=True, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert make("--dry-run", "repository").returncode == 0 and make("repository").stderr == ""


def test_an_interrupted_command_may_put_its_things_in_order_before_the_launcher_ends(tmp_path):
    """DVC does, and keeps everything locked if it is killed."""
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        "try:\n    pathlib.Path('begun').touch()\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(1)\n    pathlib.Path('in order').touch()\n"
    )
    begin = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a background job ignores it
    group = subprocess.Popen(
        [sys.executable, "-c", f"{begin}; from record.children import called; called('slow')"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not (tmp_path / "begun").exists():
        assert group.poll() is None
        time.sleep(0.05)
    os.killpg(group.pid, signal.SIGINT)
    group.wait(60)
    assert (tmp_path / "in order").exists()

"""`make fresh`, in clones that have neither data nor cache."""

import json
import shutil
import sys
from contextlib import redirect_stdout
from functools import partial
from io import StringIO

import pytest

from helpers.clone import ROOT, Clone
from stages.common.entry import run
from tools import fresh

pytestmark = pytest.mark.xdist_group("settled")


@pytest.fixture
def cloned(settled, environment, tmp_path):
    """What `git clone` gives of a repository whose pipelines have run."""
    settled.well("git", "clone", "--quiet", "--no-local", str(settled.folder), str(tmp_path / "clone"))
    made = Clone(tmp_path / "clone", environment)
    assert not (made.folder / "data/raw").exists()
    return made


def answer(clone, options=("--all",)):
    """The exit code, and the lines that it prints; any exception but the end of a command fails the test."""
    printed = StringIO()
    with clone.current(), redirect_stdout(printed):
        try:
            run("fresh", partial(fresh.main, options))
        except SystemExit as ended:
            return 1, [*printed.getvalue().splitlines(), *ended.code.splitlines()]
    return 0, printed.getvalue().splitlines()


def stale(clone, pipelines="dvc.yaml"):
    """What it says of stale stages; it must fail and say which pipelines to run, if any."""
    code, lines = answer(clone)
    assert code == 1
    if pipelines:
        commands = {"dvc.yaml": "`dvc repro`", "comparison/dvc.yaml": "`make comparison`"}
        named = " and ".join(command for file, command in commands.items() if file in pipelines.split())
        assert lines.pop() == f"fresh: run {named}, then commit the lock and the metrics"
    return [line.removeprefix("fresh: ") for line in lines]


def append(clone, file, text="\n# a comment\n"):
    with (clone.folder / file).open("a") as content:
        content.write(text)


def replaced(clone, file, old, new):
    text = (clone.folder / file).read_text()
    assert old in text
    (clone.folder / file).write_text(text.replace(old, new))


def test_a_clone_is_fresh_without_data_or_cache(cloned):
    printed = cloned.well(sys.executable, "-m", "tools.fresh", "--all")
    assert printed == "fresh: dvc.lock and comparison/dvc.lock fit this code and these parameters (12 stages)\n"
    assert cloned.well("git", "status", "--porcelain") == ""


def test_the_review_fails_where_the_working_tree_is_stale(cloned):
    def failures():
        ended = cloned.python("-m", "review", "HEAD")
        assert "Traceback" not in ended.stderr
        return (cloned.folder / "reports/review/review.md").read_text(encoding="utf-8")

    assert "does not fit this code" not in failures()
    append(cloned, "comparison/pictures.py")  # it does not belong to the pipeline
    assert "does not fit this code" not in failures()
    append(cloned, "stages/report/page.py")
    assert "parameters, run &#96;dvc repro&#96;: report: stages/report changed" in failures()


def test_a_clone_by_a_git_that_turns_line_ends_into_those_of_windows_is_fresh(settled, environment, tmp_path):
    crlf = ["-c", "core.autocrlf=true"]
    settled.well("git", "clone", "--quiet", "--no-local", *crlf, str(settled.folder), str(tmp_path / "clone"))
    made = Clone(tmp_path / "clone", environment)
    assert answer(made)[0] == 0
    assert made.well("git", "status", "--porcelain") == ""


def test_where_the_data_are_it_is_fresh_too(settled):
    assert answer(settled)[0] == 0


@pytest.mark.parametrize(
    "file", ["README.md", "params.yaml", "datasets.yaml", "tools/fresh.py", "comparison/params.yaml"]
)
def test_a_comment_outside_the_stages_leaves_it_fresh(cloned, file):
    append(cloned, file)
    assert answer(cloned)[0] == 0


def test_what_dvc_ignores_leaves_it_fresh(cloned):
    (cloned.folder / "stages/train/__pycache__").mkdir(exist_ok=True)
    append(cloned, "stages/train/__pycache__/models.pyc")
    assert answer(cloned)[0] == 0


@pytest.mark.parametrize("committed", [False, True])
def test_changed_code_is_stale_committed_or_not(cloned, committed):
    append(cloned, "stages/report/page.py")
    if committed:
        cloned.commit()
    assert stale(cloned) == ["report is stale: stages/report changed"]


def test_a_new_file_beside_the_code_is_stale(cloned):
    for name in ("page.py.orig", "page.py.rej", "page.py~"):  # a merge tool's: they are no code
        append(cloned, f"stages/report/{name}")
    assert answer(cloned)[0] == 0
    append(cloned, "stages/report/new.py")
    assert stale(cloned) == ["report is stale: stages/report changed (stages/report/new.py: not in Git)"]


def test_code_of_both_pipelines_names_the_stages_of_both(cloned):
    append(cloned, "stages/evaluate/scores.py")
    assert stale(cloned, "comparison/dvc.yaml dvc.yaml") == [
        "evaluate is stale: stages/evaluate changed",
        "comparison/dvc.yaml:evaluate@one is stale: stages/evaluate changed",
        "comparison/dvc.yaml:evaluate@two is stale: stages/evaluate changed",
    ]


def test_a_stale_comparison_is_told_and_fails_only_where_it_is_asked_for(cloned):
    append(cloned, "stages/evaluate/scores.py")
    code, lines = answer(cloned, [])
    assert (code, lines[1:]) == (
        1,
        [
            "fresh: evaluate is stale: stages/evaluate changed",
            "fresh: run `dvc repro`, then commit the lock and the metrics",
        ],
    )
    assert lines[0].startswith("fresh: stale stages of comparison/dvc.lock: 2. The pipeline does not read them")
    cloned.well("git", "restore", ".")
    append(cloned, "comparison/pictures.py")
    code, [told, fits] = answer(cloned, [])
    assert code == 0 and told.startswith("fresh: stale stages of comparison/dvc.lock: 1. ")
    assert fits == "fresh: dvc.lock fits this code and these parameters (7 stages)"
    (cloned.folder / "comparison/dvc.lock").unlink()
    assert answer(cloned, []) == (0, [fits])


def test_a_comparison_on_another_data_set_is_not_judged_unless_it_is_asked_for(cloned):
    cloned.change(lambda values: values["download"].update(dataset="mnist"))
    told, *others = answer(cloned, [])[1]
    assert told.startswith("fresh: comparison/dvc.lock is about digits, another data set: it is not judged")
    assert not any("comparison" in line for line in others)
    assert any("comparison/dvc.yaml:evaluate@one is stale" in line for line in answer(cloned)[1])


def test_changed_parameters_are_stale_and_told_with_both_values(cloned):
    cloned.change(lambda values: values["preprocess"].update(seed=7))
    cloned.change(lambda values: values["digits"]["expect"].update(image_size=9), "datasets.yaml")
    assert stale(cloned) == [
        "validate is stale: datasets.yaml digits.expect.image_size is 9, locked 8",
        "preprocess is stale: params.yaml preprocess.seed is 7, locked 20",
        "report is stale: params.yaml preprocess.seed is 7, locked 20",
    ]


def test_parameters_that_came_or_went_are_stale(cloned):
    cloned.change(lambda values: values["report"].pop("gallery_images"))
    cloned.change(lambda values: values["report"].update(images=60))
    assert stale(cloned) == [
        "report is stale: params.yaml report.gallery_images is missing; params.yaml report.images is not in the lock"
    ]


def test_another_data_set_is_stale(cloned):
    cloned.change(lambda values: values["download"].update(dataset="mnist"))
    (download, validate, *_) = stale(cloned, "comparison/dvc.yaml dvc.yaml")
    assert "params.yaml download.dataset is 'mnist', locked 'digits'" in download
    assert "datasets.yaml mnist.source is not in the lock" in download
    parts = [f"datasets.yaml mnist.{part} is not in the lock" for part in ("about", "classes", "expect")]
    assert validate == f"validate is stale: {'; '.join(parts)}"


@pytest.mark.parametrize("file", ["metrics/evaluate.json", "metrics/mistakes.csv"])
def test_an_edited_metrics_file_is_stale(cloned, file):
    append(cloned, file, "\n")
    assert stale(cloned) == [f"evaluate is stale: {file} changed"]


def test_a_missing_metrics_file_is_stale(cloned):
    (cloned.folder / "metrics/train.json").unlink()
    assert "train is stale: metrics/train.json is missing" in stale(cloned)


def test_a_dependency_outside_the_repository_is_stale_too(cloned):
    (cloned.folder.parent / "outside.txt").write_text("1")
    cloned.change(lambda values: values["stages"]["report"]["deps"].append("../outside.txt"), "dvc.yaml")
    assert stale(cloned) == ["report is stale: ../outside.txt is not in the lock"]


def test_a_changed_command_and_a_new_dependency_are_stale(cloned):
    replaced(cloned, "dvc.yaml", "cmd: python -m stages.report", "cmd: python -B -m stages.report")
    replaced(cloned, "dvc.yaml", "      - stages/preprocess\n", "      - stages/preprocess\n      - README.md\n")
    assert stale(cloned) == [
        "preprocess is stale: README.md is not in the lock",
        "report is stale: its command in dvc.yaml changed",
    ]


def test_a_stage_that_has_never_run_is_stale(cloned):
    cloned.change(lambda values: values["stages"].update(more={"cmd": "true", "deps": ["README.md"]}), "dvc.yaml")
    assert stale(cloned) == ["more is stale: it is not in the lock"]


@pytest.mark.parametrize(
    "stage, kind, path, reported",
    [
        (
            "download",
            "outs",
            "data/raw",
            "validate is stale: data/raw is not what the lock says the stage before wrote",
        ),
        ("train", "deps", "stages/train", "train is stale: stages/train changed"),
        ("evaluate", "deps", "models/model.tflite", "evaluate is stale: models/model.tflite is not what the lock says"),
        ("evaluate", "outs", "metrics/evaluate.json", "evaluate is stale: metrics/evaluate.json changed"),
    ],
)
def test_a_lock_that_was_tampered_with_is_stale(cloned, stage, kind, path, reported):
    def swap(lock):
        (entry,) = [entry for entry in lock["stages"][stage][kind] if entry["path"] == path]
        entry["md5"] = ("0" if entry["md5"][0] != "0" else "1") + entry["md5"][1:]

    cloned.change(swap, "dvc.lock")
    assert any(line.startswith(reported) for line in stale(cloned))


def test_a_comparison_whose_lock_misses_a_model_is_stale(cloned):
    cloned.change(lambda lock: lock["stages"].pop("train@two"), "comparison/dvc.lock")
    assert "comparison/dvc.yaml:train@two is stale: it is not in the lock" in stale(cloned, "comparison/dvc.yaml")


@pytest.mark.parametrize(
    "stage, kind, entry, gone, named",
    [
        ("preprocess", "deps", "stages/idx.py", "stages/idx.py", "preprocess"),
        ("train", "outs", "models/model.keras", "models/model.keras", "train"),
        ("report", "params", "train", "params.yaml train", "report"),
        ("summary", "deps", "comparison/seconds", "comparison/seconds", "comparison/dvc.yaml:summary"),
    ],
)
def test_what_the_lock_has_and_a_stage_no_longer_declares_is_stale(cloned, stage, kind, entry, gone, named):
    pipeline = "comparison/dvc.yaml" if stage == "summary" else "dvc.yaml"
    cloned.change(lambda values: values["stages"][stage][kind].remove(entry), pipeline)
    told = f"{named} is stale: {gone} is in the lock and no longer in dvc.yaml: run `dvc repro -f -s {named}`"
    assert stale(cloned, None) == [told]


def test_running_that_stage_by_itself_mends_it(settled):
    before = (settled.folder / "dvc.yaml").read_bytes()
    settled.change(lambda values: values["stages"]["report"]["params"].remove("validate"), "dvc.yaml")
    (line,) = stale(settled, None)
    settled.well(*line.split("`")[1].split())
    assert answer(settled)[0] == 0
    (settled.folder / "dvc.yaml").write_bytes(before)
    settled.dvc("repro")
    assert settled.well("git", "status", "--porcelain") == ""


def test_a_stage_that_the_lock_has_and_no_pipeline_any_more_is_stale(cloned):
    cloned.change(lambda values: values["stages"].pop("report"), "dvc.yaml")
    cloned.change(lambda lock: lock["stages"].update(gone={"cmd": "true"}), "comparison/dvc.lock")
    gone = "it is in the lock and no longer in dvc.yaml: delete its entry there"
    assert stale(cloned, None) == [f"report is stale: {gone}", f"comparison/dvc.yaml:gone is stale: {gone}"]
    cloned.change(lambda lock: lock["stages"].pop("report"), "dvc.lock")
    cloned.change(lambda lock: lock["stages"].pop("gone"), "comparison/dvc.lock")
    assert answer(cloned)[0] == 0


@pytest.mark.parametrize("name, key", [("models/two", "size"), ("seconds/two.json", "md5")])
def test_a_folder_is_held_to_what_several_stages_wrote_into_it(cloned, name, key):
    def change(lock):
        out = next(out for out in lock["stages"]["train@two"]["outs"] if out["path"] == f"comparison/{name}")
        out[key] = out[key] + 1 if key == "size" else "0" * 32

    cloned.change(change, "comparison/dvc.lock")
    folder = f"comparison/{name.split('/')[0]}"
    summary = f"comparison/dvc.yaml:summary is stale: {folder} is not what the lock says the stages before wrote"
    assert summary in stale(cloned, "comparison/dvc.yaml")


def test_a_missing_lock_of_the_comparison_is_told(cloned):
    (cloned.folder / "comparison/dvc.lock").unlink()
    told = "fresh: comparison/dvc.lock is missing: run `make comparison` and commit it"
    assert answer(cloned) == (1, [told])


def test_without_a_comparison_only_the_pipeline_counts(cloned):
    shutil.rmtree(cloned.folder / "comparison")
    assert answer(cloned) == (0, ["fresh: dvc.lock fits this code and these parameters (7 stages)"])


@pytest.mark.parametrize(
    "file, content",
    [
        ("dvc.lock", None),
        ("dvc.lock", "stages: [\n"),
        ("dvc.lock", "<<<<<<< HEAD\nschema: '2.0'\n"),
        ("dvc.lock", json.dumps({"schema": "2.0", "stages": {"train": 3}})),
        ("dvc.lock", ""),
        ("dvc.yaml", "stages: 3\n"),
        ("dvc.yaml", None),
        ("params.yaml", None),
        ("params.yaml", "train: [\n"),
        ("params.yaml", "download: {dataset: nowhere}\n"),
        ("datasets.yaml", None),
        ("datasets.yaml", "digits: [\n"),
        ("comparison/params.yaml", "models: {}\n"),
    ],
)
def test_broken_files_fail_in_words(cloned, file, content):
    path = cloned.folder / file
    path.unlink() if content is None else path.write_text(content)
    code, lines = answer(cloned)
    assert code == 1
    assert lines[0].startswith("fresh: ")


def test_outside_a_repository_it_fails_in_words(environment, tmp_path):
    ended = Clone(tmp_path, environment).python("-m", "tools.fresh", PYTHONPATH=str(ROOT))
    assert ended.returncode == 1
    assert ended.stderr.startswith("fresh: ")
    assert len(ended.stderr.splitlines()) == 1

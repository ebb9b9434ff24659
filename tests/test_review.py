"""The page about a pull request: what it says in every case, and that it stays one comment whatever is in the files."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

from helpers.commits import NOISE
from helpers.pull_requests import DATASETS, GATE, PARAMETERS, PIPELINE, begin
from record import environment, lock, rerun, results, snapshot
from review import comment, escape, gallery, gate, render
from review.page import Section, Table, Verdict

ROOT = Path(__file__).parent.parent
NASTY = [
    "a|b|c",
    "``` fence ~~~",
    "a\n\n# heading\n\n```\n",
    "`code` \\| \\` end\\",
    "<script>alert(1)</script><!-- -->",
    "</code></td></details>",
    "@somebody and @team/all, #1, GH-1",
    "![x](https://example.org/x.png) [y](z)",
    "**bold** _it_ ~~x~~ $x$ :tada:",
    "- [ ] 1. /close",
    "\x1b[31m\u202eevil\u2066\u200b\0",
    "&lt; &#64;x &commat;x",
]


@pytest.fixture
def project(tmp_path, environment, monkeypatch):
    return begin(tmp_path, environment, monkeypatch)


def first(page):
    return page.splitlines()[0]


def section(page, title):
    """The text under a heading or in the folded part of this title."""
    [text] = re.findall(
        rf"(?:### |<summary>){title}(?:</summary>)?\n\n(.*?)(?=\n\n###|\n\n<details>|\n\n<!--)", page, re.DOTALL
    )
    return text


# What the page says


def test_a_better_model_passes(project):
    project.score(range(2), loss=0.05)
    passed, page = project.review("main")
    assert passed and first(page) == "✅ **Pass**: all 3 metrics hold; accuracy 0.99 → 0.998."
    rows = section(page, "Metrics").splitlines()
    assert rows[2] == "| `accuracy` | holds | 0.99 | 0.998 | +0.008 | better | 0.5 to 1 | ≥ 0.9 | 0.001 |"
    assert rows[3] == "| `loss` | holds | 0.1 | 0.05 | -0.05 | better | - | ≤ 0.5 | 0.01 |"
    assert rows[4].startswith("| `validation_accuracy (train)` | holds | 0.99 | 0.99 | 0 | the same | - | - |")
    assert "8 images fixed, 0 broken: better, and more than noise (p = 0.0078)" in page
    assert "- Fixed: 2, 3, 4, 5, 6, 7, 8, 9\n- Broken: none" in page
    assert "different seeds differ by less than 0.39 points; this change is +0.80 points." in page
    assert "| `mistakes` | 10 | 2 | -8 |" in section(page, "Other metrics that changed")
    assert "| `9` | 0.99 | 1 | +0.01 | 100 |" in section(page, "Accuracy by class")


def test_a_worse_model_fails_and_every_failure_is_listed(project):
    project.train(validation_accuracy=0.9)
    project.score(range(100, 130), loss=0.2)
    passed, page = project.review("main")
    assert not passed
    assert first(page).startswith("❌ **Fail**: accuracy fell from 0.99 to 0.97, by 0.02; 0.001 is tolerated")
    assert first(page).endswith(", and 2 more.")
    assert re.findall("^- (.*?) (?:fell|rose)", section(page, "What fails"), re.MULTILINE) == [
        "accuracy",
        "loss",
        "validation&#95;accuracy (train)",
    ]
    assert section(page, "Metrics").count("| fails |") == 3


def test_nothing_changed_is_a_short_page(project):
    passed, page = project.review("main")
    assert passed and re.findall("^### (.*)$", page, re.MULTILINE) == ["Metrics", "Mistakes, image by image"]
    assert "<details>" not in page and page.endswith(f"\n\n{render.MARKER}\n")


def test_the_marker_is_that_of_the_comment():
    assert render.MARKER == comment.MARKER == "<!-- digits-review -->"


def test_changed_parameters_are_shown_as_params_yaml_has_them(project):
    project.parameter("epochs", "13")
    project.parameter("optimizer", {"name": "sgd", "momentum": 0.9})
    project.parameter("schedule", None)
    assert section(project.review("main")[1], "Parameters").splitlines()[2:] == [
        "| `train.epochs` | `13` | `'13'` |",
        "| `train.optimizer.name` | `adam` | `sgd` |",
        "| `train.optimizer.momentum` | `-` | `0.9` |",
        "| `train.schedule` | `-` | `null` |",
    ]


def test_stages_that_ran_and_stages_whose_lock_changed(project):
    records = [("train", 60), ("evaluate", 1.25), ("evaluate", 1), ("review", 2), ("@x", 1)]
    lines = [json.dumps({"stage": name, "seconds": spent}) for name, spent in records]
    project.write("seconds", "\n".join([*lines, "not json", "[]", '{"stage": "train", "seconds": NaN}', ""]))
    project.train(validation_accuracy=0.995)
    project.lock(model="abd")
    page = project.review("main", "--seconds", "seconds")[1]
    assert section(page, "Stages").splitlines() == [
        "2 of 2 stages ran, in 62.2 s.",
        "",
        "| Stage | Time | Changed in dvc.lock |",
        "| :-- | --: | :-- |",
        "| `train` | 60.0 s | writes models/model.tflite, metrics/train.json |",
        "| `evaluate` | 2.2 s | reads models/model.tflite |",
    ]
    unknown = section(project.review("main")[1], "Stages")
    assert "| Stage | Changed in dvc.lock |" in unknown and "ran" not in unknown
    assert section(project.review("main", "--seconds", "nowhere")[1], "Stages") == unknown
    project.write("seconds", "")
    none = section(project.review("main", "--seconds", "seconds")[1], "Stages")
    assert none.startswith("No stage ran: ") and "| `train` | did not run | writes" in none


def test_a_command_parameters_and_stages_that_come_and_go(project):
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    lock["stages"]["evaluate"] |= {"cmd": "evaluate now", "params": {"params.yaml": {"a": 1}}}
    del lock["stages"]["train"]
    lock["stages"]["report"] = {"cmd": "report"}
    project.write_yaml("dvc.lock", lock)
    rows = section(project.review("main")[1], "Stages")
    assert "| `evaluate` | its command; its parameters |" in rows
    assert "| `report` | new stage |" in rows and "| `train` | stage removed |" in rows


# The base and the head


def test_the_base_is_the_commit_that_the_branch_left(project):
    left = project.git("rev-parse", "main")
    project.git("switch", "--quiet", "main")
    project.score([])
    tip = project.commit("main went on")
    project.git("switch", "--quiet", "change")
    project.score(range(9))
    head = project.commit("change")
    page = project.review("main", "change")[1]
    assert f"Compared with {left[:7]}, the merge base of main ({tip[:7]}) and change ({head[:7]})." in page
    assert "1 image fixed, 0 broken" in page


def test_a_commit_is_judged_and_not_the_working_tree(project):
    project.score([])
    project.commit("better")
    project.score(range(500))
    assert project.review("main", "HEAD")[0]
    assert not project.review("main")[0]


def test_no_common_history_fails_and_limits_are_judged(project):
    project.git("checkout", "--quiet", "--orphan", "stranger")
    project.commit("another history")
    passed, page = project.review("main")
    assert not passed
    assert first(page).startswith("❌ **Fail**: there is no base: main and HEAD have no commit in common")
    assert "not branches of one history" in first(page)
    project.score(range(10), loss=0.7)
    assert "loss is 0.7, above its limit of 0.5" in project.review("main")[1]


def test_a_shallow_clone_fails_and_is_told_what_to_do(project, tmp_path, monkeypatch):
    project.git("switch", "--quiet", "main")
    project.commit("main went on")
    project.git("switch", "--quiet", "change")
    project.commit("change")
    clone = tmp_path / "shallow"
    project.git("clone", "--quiet", "--depth=1", "--no-single-branch", project.folder.as_uri(), str(clone))
    monkeypatch.chdir(clone)
    project.folder = clone
    passed, page = project.review("origin/main")
    assert not passed and "this clone is shallow" in first(page) and "fetch-depth: 0" in first(page)
    passed, page = project.review("0123456")
    assert not passed and "unknown revision 0123456, and this clone is shallow" in first(page)


def test_without_a_base_it_is_the_default_branch(project):
    def base():
        return re.search(r"the merge base of (\S+) ", project.review()[1]).group(1)

    assert base() == "main"
    project.git("update-ref", "refs/remotes/origin/main", "main")
    assert base() == "origin/main"
    project.git("update-ref", "refs/remotes/origin/trunk", "main")
    project.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    assert base() == "origin/trunk"
    for name in ("origin/HEAD", "origin/trunk", "origin/main"):
        project.git("update-ref", "--no-deref", "-d", f"refs/remotes/{name}")
    project.git("branch", "--move", "main", "master")
    assert base() == "master"
    project.git("branch", "--move", "master", "trunk")
    passed, page = project.review()
    assert not passed and "no base is known" in first(page) and "python -m review BASE" in first(page)


@pytest.mark.parametrize("revisions", [("mian",), ("main", "hcange")])
def test_an_unknown_revision_is_on_the_page(project, revisions):
    passed, page = project.review(*revisions)
    assert not passed and f"unknown revision {revisions[-1]}" in first(page) and page.endswith(f"{render.MARKER}\n")


def test_outside_a_repository_the_page_says_so(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project.folder = tmp_path
    passed, page = project.review("main", "HEAD")
    assert not passed and "is not in a Git repository" in first(page)


def test_the_first_metrics_are_held_to_limits(project):
    project.git("rm", "--quiet", "-r", "metrics", "dvc.lock", "dvc.yaml", "params.yaml", "datasets.yaml")
    base = project.commit("no pipeline yet")
    project.start()
    passed, page = project.review(base)
    assert passed and first(page).endswith(
        "all 3 metrics hold within their limits; nothing could be compared with the base."
    )
    assert "Nothing could be compared with the base: only limits count." in page
    assert f"metrics/evaluate.json is missing in {base[:7]}" in page
    assert "| `accuracy` | holds | - | 0.99 | - | new |" in page and "### Parameters" not in page
    project.score(range(10), loss=0.7)
    assert not project.review(base)[0]


def stale(project, change=lambda params: None):
    """Let dvc.lock record other parameters than params.yaml has."""
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    lock["stages"]["train"]["params"] = {"params.yaml": {"train": params["train"], "download.dataset": "mnist"}}
    change(lock["stages"]["train"]["params"]["params.yaml"])
    project.write_yaml("dvc.lock", lock)


def changed(params):
    params["train"] = {"epochs": 12, "optimizer": {"name": "adam", "momentum": 0.9}}


@pytest.mark.parametrize("committed", [True, False])
def test_numbers_of_other_parameters_fail(project, committed):
    stale(project)
    head = ["HEAD"] if committed and project.commit("run") else []
    assert project.review("main", *head)[0]
    stale(project, changed)
    head = ["HEAD"] if committed and project.commit("not run") else []
    passed, page = project.review("main", *head)
    assert not passed
    assert first(page) == (
        "❌ **Fail**: dvc.lock does not fit this code and these parameters, run &#96;dvc repro&#96;: train: "
        "params.yaml train.epochs is 13, locked 12, params.yaml train.optimizer.momentum is missing."
    )
    assert project.review("main", *head, "--override", "the label")[0]


def test_a_base_of_other_parameters_is_told_and_can_be_mended(project):
    stale(project, changed)
    base = project.commit("not run")
    stale(project)
    passed, page = project.review(base)
    assert passed
    told = (
        "The numbers of the base belong to other parameters than it has: train: params.yaml train.epochs is 13, locked"
    )
    assert told in section(page, "Notes")


def test_parameters_are_compared_as_dvc_writes_them(project):
    project.parameter("learning_rate", 0.00001)
    project.parameter("answers", ["yes", "12:30"])
    stale(project)
    text = (project.folder / "dvc.lock").read_text().replace("1.0e-05", "1e-05").replace("'", "")
    project.write("dvc.lock", text)
    assert "learning_rate: 1e-05" in text and "- yes" in text
    assert project.review("main")[0]


def test_the_lock_of_a_stage_that_is_gone_does_not_count(project):
    stale(project, changed)
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    lock["stages"]["old"] = {"cmd": "old", "params": lock["stages"]["train"].pop("params")}
    project.write_yaml("dvc.lock", lock)
    assert project.review("main")[0]


def test_numbers_that_no_stage_writes_any_more_fail(project):
    project.write_yaml("dvc.yaml", PIPELINE | {"stages": {"evaluate": PIPELINE["stages"]["evaluate"]}})
    project.commit("no training")
    passed, page = project.review("main", "HEAD")
    assert not passed and "train: it is no longer in dvc.yaml and wrote metrics/train.json" in page
    project.write_yaml("dvc.yaml", PIPELINE | {"stages": PIPELINE["stages"] | {"new": {"cmd": "new"}}})
    project.commit("a stage that was not run")
    passed, page = project.review("main", "HEAD")
    assert not passed and "new: it is not in dvc.lock" in page


def test_what_a_stage_that_is_gone_read_and_wrote_does_not_count(project):
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    gone = {"deps": [{"path": "models/model.tflite", "md5": "an older one"}]}
    lock["stages"]["old"] = gone | {"outs": [{"path": results.NUMBERS, "md5": "an older one"}]}
    project.write_yaml("dvc.lock", lock)
    assert project.review("main")[0]


def test_a_key_that_is_there_twice_fails(project):
    stale(project)
    project.write("params.yaml", (project.folder / "params.yaml").read_text() + "download: {dataset: mnist}\n")
    passed, page = project.review("main")
    assert not passed and "params.yaml in the working tree: cannot be read as parameters (line 7)" in first(page)


def test_a_parameter_of_the_data_set_that_was_not_run_fails_and_names_its_file(project):
    locked = yaml.safe_load((project.folder / "dvc.lock").read_text())
    locked["stages"]["evaluate"]["params"] = {"datasets.yaml": {"mnist.disputed": []}}
    project.write_yaml("dvc.lock", locked)
    assert project.review("main")[0]
    project.write_yaml("datasets.yaml", {"mnist": DATASETS["mnist"] | {"disputed": [7]}})
    passed, page = project.review("main")
    assert not passed and "evaluate: datasets.yaml mnist.disputed is &#91;7&#93;, locked" in first(page)
    assert "| `datasets.yaml mnist.disputed` | `[]` | `[7]` |" in section(page, "Parameters")


# With what both sides were trained


def about(page):
    """The lines below the verdict, as a reader sees them."""
    return re.sub("&#(\\d+);", lambda found: chr(int(found.group(1))), page.split("\n\n")[1])


def test_sides_of_one_kind_of_machine_are_not_spoken_of(project):
    assert re.fullmatch(r"Compared with \w+, the merge base of .* the working tree\.", about(project.review("main")[1]))


def test_the_first_lines_say_what_each_side_has_of_its_own(project):
    project.machine(precision="bfloat16", processor="x86_64 with AMX", versions="tensorflow 2.21.0, keras 3.16.0")
    passed, page = project.review("main")
    told = (
        "Not trained alike, which may move the numbers: float32, x86_64 with AVX2, keras 3.15.0 before; bfloat16,"
        " x86_64 with AMX, keras 3.16.0 after."
    )
    assert passed and about(page).endswith(told)
    assert told in (project.folder.parent / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "is missing in"), ("{", "not valid JSON"), ('{"precision": 3}', "lacks precision, processor, versions")],
    ids=["gone", "damaged", "of another shape"],
)
def test_a_base_that_does_not_say_its_machine_is_no_failure(project, text, problem):
    (project.folder / environment.FILE).unlink() if text is None else project.write(environment.FILE, text)
    base = project.commit("unknown")
    project.machine()
    passed, page = project.review(base)
    assert passed and "Whether both sides were trained alike is not known: metrics/environment.json" in about(page)
    assert problem in about(page)


def test_the_base_run_on_this_kind_of_machine_counts_and_the_committed_number_stands_beside(project):
    left = project.git("rev-parse", "main")
    project.score(range(40))
    project.machine(processor="x86_64 with AMX")
    assert not project.review("main")[0]
    project.base_run(left, range(40), processor="x86_64 with AMX")
    passed, page = project.review("main")
    assert passed and "0 images fixed, 0 broken" in page and "accuracy 0.96 → 0.96" in first(page)
    assert about(page).endswith(
        "The base was run again on the same kind of machine as this branch (float32, x86_64 with AMX): accuracy 0.96;"
        " as committed, 0.99 (x86_64 with AVX2)."
    )


def test_new_packages_are_told_although_the_machines_are_of_one_kind(project):
    left = project.git("rev-parse", "main")
    project.machine(processor="x86_64 with AMX", versions="tensorflow 3.0.0, keras 3.15.0")
    project.base_run(left, range(10), processor="x86_64 with AMX")
    told = "Not trained alike, which may move the numbers: tensorflow 2.21.0 before; tensorflow 3.0.0 after."
    assert about(project.review("main")[1]).endswith(f"0.99 (x86_64 with AVX2). {told}")


@pytest.mark.parametrize("leftover", ["of another base", "of another kind", "with other packages", "damaged"])
def test_a_run_of_the_base_that_does_not_fit_is_not_used(project, leftover):
    left = project.git("rev-parse", "main")
    project.machine(processor="x86_64 with AMX")
    kind = "x86_64 with AVX-512" if leftover == "of another kind" else "x86_64 with AMX"
    packages = {"versions": "tensorflow 3.0.0, keras 3.15.0"} if leftover == "with other packages" else {}
    project.base_run("0" * 40 if leftover == "of another base" else left, range(500), processor=kind, **packages)
    if leftover == "damaged":
        project.write(f"{rerun.FOLDER}/{rerun.RUN}", "[")
    passed, page = project.review("main")
    assert passed and "accuracy 0.99 → 0.99" in first(page)
    assert "x86_64 with AVX2 before; x86_64 with AMX after." in about(page)


def test_a_base_that_could_not_be_run_is_judged_as_committed_and_the_page_says_so(project):
    project.machine(processor="x86_64 with AMX")
    project.base_run(project.git("rev-parse", "main"), [], problem="its pipeline stopped")
    passed, page = project.review("main")
    assert passed and "accuracy 0.99 → 0.99" in first(page)
    assert about(page).endswith(
        "x86_64 with AMX after. The base was not run again on this kind of machine: its pipeline stopped."
    )


def test_the_gate_is_the_committed_one_whatever_the_run_of_the_base_left(project):
    left = project.git("rev-parse", "main")
    project.base_run(left, range(10))
    project.write(f"{rerun.FOLDER}/{gate.PATH}", "metrics: {}")
    assert "all 3 metrics hold" in first(project.review("main")[1])


# What is missing or cannot be read


@pytest.mark.parametrize("value", [None, "NaN", "Infinity", "true", '"0.99"', "[]", "1" + 400 * "0"])
def test_a_number_that_the_gate_needs_and_the_head_lacks_fails(project, value):
    values = json.loads((project.folder / results.NUMBERS).read_text())
    del values["loss"]
    text = json.dumps(values)
    project.write(results.NUMBERS, text if value is None else f'{text[:-1]}, "loss": {value}}}')
    project.lock()
    passed, page = project.review("main")
    assert not passed and "loss has no number; in the base it is 0.1" in first(page)
    assert "| `loss` | fails | 0.1 | - | - | missing |" in page


def test_a_metric_under_another_name_fails(project):
    text = (project.folder / results.NUMBERS).read_text()
    project.write(results.NUMBERS, text.replace('"loss"', '"cross_entropy"'))
    project.lock()
    passed, page = project.review("main")
    assert not passed and "loss has no number" in first(page)
    assert "| `cross_entropy` | - | 0.1 | - |" in section(page, "Other metrics that changed")


@pytest.mark.parametrize(
    "path",
    [results.NUMBERS, results.MISTAKES, lock.FILE, "dvc.yaml", "params.yaml", "datasets.yaml", "metrics/train.json"],
)
@pytest.mark.parametrize("committed", [True, False])
def test_a_file_that_is_gone_fails(project, path, committed):
    (project.folder / path).unlink()
    head = ["HEAD"] if committed and project.commit("gone") else []
    passed, page = project.review("main", *head)
    assert not passed and f"{path} is missing in" in page


BROKEN = {
    "conflict": "<<<<<<< ours\na: 1\n=======\na: 2\n>>>>>>> theirs\n",
    "empty": "",
    "a list": "[1]",
    "not text": "\udcff",
    "deep": "[" * 1000,
    "a date": "stages: 2026-13-45",
    "of wrong shape": "stages: {train: 3}\nmetrics: {3: [4]}",
}


@pytest.mark.parametrize("path", [results.NUMBERS, lock.FILE, "dvc.yaml", "params.yaml", "datasets.yaml"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_cannot_be_read_fails_at_the_head_and_is_told_of_the_base(project, path, kind):
    good = (project.folder / path).read_bytes()
    (project.folder / path).write_bytes(BROKEN[kind].encode(errors="surrogateescape"))
    valid = path in ("params.yaml", "datasets.yaml") and kind == "of wrong shape"
    passed, page = project.review("main")
    assert passed == valid
    if not valid:
        assert f"{path} in the working tree" in page
    base = project.commit("broken")
    (project.folder / path).write_bytes(good)
    passed, page = project.review(base)
    assert passed == (path in ("dvc.yaml", "params.yaml", "datasets.yaml"))
    if not passed:
        assert f"the numbers of the base cannot be trusted, mend it first: {path} in {base[:7]}" in page
    elif not valid:
        assert f"{path} in {base[:7]}" in section(page, "Notes")


def test_parameters_that_hold_themselves_are_one_line(project):
    project.write("params.yaml", "&a {train: *a}")
    passed, page = project.review("main")
    assert not passed and "params.yaml in the working tree: cannot be read as parameters" in first(page)


def test_numbers_that_the_lock_does_not_record_fail(project):
    for path in (results.NUMBERS, "metrics/train.json"):
        good = (project.folder / path).read_text()
        project.write(path, good + "\n")
        passed, page = project.review("main")
        assert not passed and f"{path} in the working tree is not what dvc.lock records" in page
        project.write(path, good)


def test_numbers_that_no_stage_writes_fail(project):
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    lock["stages"]["train"]["outs"] = lock["stages"]["train"]["outs"][:1]
    project.write_yaml("dvc.lock", lock)
    passed, page = project.review("main")
    assert not passed and "metrics/train.json in the working tree is not what dvc.lock records" in page


def test_a_run_that_was_broken_off_fails(project):
    # Training wrote another model; the numbers are those of the model before.
    project.lock(model="new", read="old")
    passed, page = project.review("main")
    assert not passed and "evaluate did not read the models/model.tflite that was written" in first(page)


def test_metrics_outside_the_project_are_not_read(project, tmp_path):
    (tmp_path / "secret.json").write_text('{"pin": 1234}')
    paths = ["../secret.json", str(tmp_path / "secret.json"), "a\0b.json"]
    project.write("dvc.yaml", json.dumps(PIPELINE | {"metrics": paths}))
    project.write("metrics/evaluate.json", (project.folder / "metrics/evaluate.json").read_text())
    assert "1234" not in project.review("main")[1]
    assert project.review("main", project.commit("outside"))[0]


def test_other_test_data_fail_and_limits_count(project):
    project.score(range(20), test_data="beef", loss=0.7)
    passed, page = project.review("main")
    assert (
        not passed and "the test data changed (f00d to beef)" in first(page) and first(page).endswith(", and 1 more.")
    )
    assert "loss is 0.7, above its limit of 0.5" in section(page, "What fails")
    assert "| `accuracy` | holds | 0.99 | 0.98 | -0.01 | not comparable |" in page
    assert "McNemar" not in page
    assert project.review("main", "--override", "the label")[0]


def test_a_metric_with_another_measure_than_in_the_base_is_held_to_its_limit_alone(project):
    project.train(validation_accuracy=0.5)
    project.lock(validation="beef")
    passed, page = project.review("main")
    assert passed and "| `validation_accuracy (train)` | holds | 0.99 | 0.5 | -0.49 | not comparable |" in page
    note = r"The definition of validation&#95;accuracy \(train\) changed \(data/prepared/validation\): only its limit"
    assert re.search(note, section(page, "Notes"))
    project.lock()
    assert not project.review("main")[0]


@pytest.mark.parametrize(
    ("key", "measure"),
    [
        ("calibration_error", ("evaluate", "reliability_bins")),
        ("accuracy_corrupted", ("evaluate", "robustness_images")),
        ("accuracy_undisputed", ("datasets.yaml", "mnist", "disputed")),
        ("accuracy", None),
    ],
)
def test_what_a_metric_is_measured_with(key, measure):
    values = {
        "params.yaml": {
            "download": {"dataset": "mnist"},
            "evaluate": {"reliability_bins": 15, "robustness_images": 1000},
        },
        "datasets.yaml": {"mnist": {"disputed": [1, 2]}},
    }

    def measured():
        return snapshot.definition(replace(snapshot.EMPTY, values=values), results.NUMBERS, key)

    before = measured()
    *blocks, last = measure or ("params.yaml", "evaluate", "reliability_bins")
    block = values if blocks[0] in values else values["params.yaml"]
    for name in blocks:
        block = block[name]
    block[last] = 7
    assert (measured() != before) == (measure is not None)
    assert before[0] == ".".join(measure or ()).replace("yaml.", "yaml ")


def test_mistakes_that_cannot_be_paired_do_not_hide_a_worse_accuracy(project):
    project.score(range(5, 17), labels={9: 0})
    passed, page = project.review("main")
    assert not passed and "different labels, the first is image 9: they cannot be compared; run" in first(page)
    assert "it cannot be tested for noise" in section(page, "What fails")
    project.score(range(9, 10), labels={9: 0})
    assert not project.review("main")[0]


def test_noise_is_that_of_the_base(project):
    wide = json.dumps(NOISE | {"accuracy_sd": 1})
    project.score([*range(20, 30), *range(200, 206)])
    assert not project.review("main")[0]
    project.write(results.NOISE, wide)
    passed, page = project.review("main")
    assert not passed and "changes metrics/noise.json: the noise that the base records counts" in page
    (project.folder / results.NOISE).unlink()
    assert not project.review("main")[0]


def test_the_noise_of_the_head_counts_where_the_base_has_none(project):
    project.git("rm", "--quiet", results.NOISE)
    base = project.commit("no noise")
    project.score([*range(20, 30), *range(200, 206)])
    assert project.review(base)[0]
    project.write(results.NOISE, json.dumps(NOISE))
    assert not project.review(base)[0]


# The override


def test_an_override_passes_and_shows_what_it_overrides(project):
    project.score(range(100, 130), loss=0.2)
    passed, page = project.review("main", "--override", "the label accept-worse")
    assert passed
    assert first(page).startswith("⚠️ **Pass by override**: the label accept-worse overrides this: accuracy fell from")
    lines = section(page, "What was overridden").splitlines()
    assert lines[0] == "- Overridden by the label accept-worse." and len(lines) == 3
    assert section(page, "Metrics").count("| fails |") == 2


@pytest.mark.parametrize("reason", ["", "  "])
def test_an_empty_override_is_none(project, reason):
    project.score(range(100, 130))
    assert not project.review("main", "--override", reason)[0]


def test_an_override_that_is_not_needed_changes_nothing(project):
    assert project.review("main", "--override", "the label") == project.review("main")


# The command


def test_the_verdict_is_the_exit_code(project, environment):
    # The project has a folder `review` too: without the safe path, that one would be run.
    environment = environment | {"PYTHONIOENCODING": "utf-8", "PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT)}

    def command(*arguments):
        run = [sys.executable, "-m", "review", *arguments]
        return subprocess.run(run, env=environment, capture_output=True, text=True, encoding="utf-8")

    good = command("main")
    assert (good.returncode, good.stderr) == (0, "")
    told = "The page: reports/review/index.html\nreview: pass: all 3 metrics hold; accuracy 0.99 → 0.99.\n"
    assert good.stdout == told
    page = (project.folder / "reports/review/review.md").read_text(encoding="utf-8")
    assert page.startswith("✅ **Pass**") and page.endswith(f"{render.MARKER}\n")
    project.score(range(100, 130))
    bad = command("main")
    assert (bad.returncode, bad.stdout) == (1, "The page: reports/review/index.html\n")
    assert bad.stderr.startswith("review: fail: accuracy fell") and bad.stderr.count("\n") == 1
    option = command("--", "--help")
    assert (option.returncode, "there is no base: unknown revision --help: " in option.stderr) == (1, True)
    wrong = command("--verbose")
    assert (wrong.returncode, "usage:" in wrong.stderr) == (2, True)


# The digits


def with_images(project, digits, wrong):
    """Put 360 real digits where the pipeline leaves the test images, and score them."""
    images, labels = digits[0][:360], digits[1][:360]
    folder = project.folder / results.TEST_DATA
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    project.write(".gitignore", "/data/\n/reports/\n")
    project.score(wrong, test_data=gallery.checksum(folder), labels=dict(enumerate(labels.tolist())))
    return labels


def test_broken_and_fixed_digits_are_named_and_the_page_has_their_pictures(project, digits):
    labels = with_images(project, digits, range(10))
    base = project.commit("digits")
    with_images(project, digits, [0, *range(100, 103)])
    text = section(project.review(base)[1], "Digits broken and fixed")
    assert "Broken, all 3, each with its label and the new prediction: " in text
    assert "Fixed, all 9, each with its label and the old prediction: " in text
    assert f" 100 ({labels[100]} → 0), 101 (" in text
    assert text.removesuffix("\n\n</details>").endswith("The page with their pictures is in the artifact `reports`.")


def test_a_dozen_digits_at_most_and_both_kinds(project, digits):
    with_images(project, digits, range(100))
    base = project.commit("digits")
    with_images(project, digits, range(100, 200))
    text = section(project.review(base)[1], "Digits broken and fixed")
    assert "Broken, the first 6 of 100" in text and "Fixed, the first 6 of 100" in text
    assert text.count("→") == 12


def test_without_the_images_their_indices_are_listed(project):
    project.score(range(9))
    page = project.review("main")[1]
    assert "No pictures: data/prepared/test is not here" in page and "- Fixed: 9\n" in page
    (project.folder / results.TEST_DATA).mkdir(parents=True)
    np.save(project.folder / results.TEST_DATA / "images.npy", np.zeros((9, 28, 28), np.uint8))
    assert "data/prepared/test does not hold the images that were scored" in project.review("main")[1]


def test_the_checksum_of_a_folder_is_that_of_dvc(tmp_path):
    from dvc.repo import Repo

    for name in ("b.npy", "a/b.npy", "a.npy", "ä.npy"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(name.encode())
    repo = Repo.init(str(tmp_path), no_scm=True)
    repo.add(str(tmp_path / "data"))
    repo.close()
    [out] = yaml.safe_load((tmp_path / "data.dvc").read_text())["outs"]
    assert gallery.checksum(tmp_path / "data") == out["md5"]


# It stays one comment


ELEMENTS = {"p", "strong", "h3", "ul", "li", "code", "pre", "details", "summary"}
ELEMENTS |= {"table", "thead", "tbody", "tr", "th", "td"}


class Reader(HTMLParser):
    """The elements of a page, its text outside code, and its comments."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text, self.code, self.comments = [], [], "", [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "link", "img", "br"):  # these have no end
            self.open.append(tag)
        if tag == "code":
            self.code.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} is closed out of turn"

    def handle_data(self, data):
        if "code" in self.open:
            self.code[-1] += data
        else:
            self.text += data

    def handle_comment(self, data):
        self.comments.append(data)


def read(page):
    """The page as a browser gets it. GitHub's own renderer differs in what this does not use."""
    return Reader(MarkdownIt("commonmark").enable("table").render(page))


def nasty(project):
    """Put text that wants to be markup wherever a pull request can."""
    project.write_yaml("datasets.yaml", {"mnist": DATASETS["mnist"] | {"classes": NASTY}})
    project.write_yaml("params.yaml", PARAMETERS | {f"k{text}": text for text in NASTY})
    project.write(gate.PATH, "\n".join(["# " + text.replace("\0", "") for text in NASTY]) + yaml.safe_dump(GATE))
    project.train(**{text: 1 for text in NASTY})
    project.score(range(20), **{text: 1.5 for text in NASTY})
    rows = ["class,recall,support", *(f'"{text}",0.5,100' for text in NASTY)]
    project.write("metrics/classes.csv", "\n".join(rows).replace("\0", ""))
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    lock["stages"] |= {text: {"cmd": text, "outs": [{"path": text, "md5": "1"}]} for text in NASTY}
    project.write_yaml("dvc.lock", lock)
    project.write("seconds", "\n".join(json.dumps({"stage": text, "seconds": 1}) for text in NASTY))


def test_nothing_breaks_out_and_nobody_is_mentioned(project):
    nasty(project)
    project.git("branch", "@octo/`x`|<b>#1$(a)", "main")
    for base in ("@all <img> | `x`", "@octo/`x`|<b>#1$(a)"):
        page = project.review(base, "--override", " ".join(NASTY), "--seconds", "seconds")[1]
        seen = read(page)
        assert seen.open == [] and seen.comments == [render.MARKER.strip("<!->")]
        assert set(seen.tags) <= ELEMENTS
        assert not re.search(r"@\w|#\d|@\W*/|GH-\d|://\w", seen.text)
        assert not re.search("[\x1b\u202e\u2066\0]", page)
    for cells in ("Parameters", "Stages", "Accuracy by class"):
        codes = read(section(page, cells).removesuffix("\n\n</details>")).code
        assert [
            text for text in NASTY if "\0" not in text and not any(escape.clean(text) in code for code in codes)
        ] == []


@pytest.mark.parametrize("text", NASTY)
def test_text_reads_as_it_is_written(text):
    shown = read(f"| a |\n| --- |\n| {escape.code(text)} |").code
    assert shown == [escape.clean(text)]
    assert read(escape.line(text)).text.replace("\u200b", "").strip() == escape.clean(text)
    assert read(escape.fenced(text)).code == [f"{text}\n".replace("\r", "\n").replace("\0", "\ufffd")]


# It fits


def test_a_page_of_everything_is_short_enough_for_a_comment(project, digits):
    with_images(project, digits, [])
    project.write_yaml("params.yaml", {f"{number}|{'`' * 90}": "`" * 500 for number in range(100)})
    base = project.commit("much")
    with_images(project, digits, range(360))
    project.write_yaml("params.yaml", {f"{number}|{'`' * 90}": "`" * 501 for number in range(100)})
    page = project.review(base)[1]
    assert len(page.encode()) <= render.LIMIT < comment.LIMIT
    assert page.startswith("❌ **Fail**: accuracy is 0.64, below its limit") and page.endswith(f"{render.MARKER}\n")
    assert "Left out, since the comment would be too long: " in page
    assert "### Metrics" in page and "### Parameters" not in page


def test_thousands_of_broken_digits_and_names_are_counted(project):
    project.score([], images=20000)
    base = project.commit("all right")
    more = {f"metric {'x' * 200} {number}": 1 for number in range(2000)}
    project.score(range(15000), images=20000, accuracy=0.25, **more)
    page = project.review(base)[1]
    assert len(page.encode()) <= render.LIMIT
    assert "and 14,950 more" in page and "… and 1,96" in page


@pytest.mark.parametrize("letters", ["cc", "nt"])
@pytest.mark.parametrize("sign", ["@", "&#64;", "#", "€", "|"])
def test_a_page_of_signs_is_short_enough_once_it_is_posted(sign, letters):
    tables = [
        Section(f"s{number}", number, table=Table(("head",) * 2, letters, ((sign * 300,) * 2,) * 5))
        for number in range(20)
    ]
    about = {"head_sha": "0" * 40, "html_url": f"https://github.example/{'o' * 39}/{'r' * 100}/actions/runs/{10**12}"}
    about["conclusion"] = "failure"
    posted = comment.body(render.markdown(Verdict((), None, "fine"), ["about"], tables), about)
    assert 0 < len(posted.encode()) < comment.LIMIT
    assert "### s0" in posted


def test_the_least_important_sections_go_first():
    sections = [Section(f"s{number}", number, (("€" * 290),) * 40) for number in (1, 3, 0, 2)]
    page = render.markdown(Verdict((), None, "fine"), ["about"], sections)
    assert re.findall("### (.*)", page) == ["s0"]
    assert "Left out, since the comment would be too long: s3, s2, s1." in page
    worst = render.markdown(Verdict(("@" * 10**6,) * 1000, "#" * 10**6, ""), ["|" * 10**6] * 2, sections)
    assert len(worst.encode()) <= render.LIMIT


# As HTML


def test_the_html_page_says_the_same_and_needs_nothing(project, digits):
    with_images(project, digits, range(10))
    base = project.commit("digits")
    nasty(project)
    with_images(project, digits, range(8, 16))
    project.train((0.8, 0.9, 0.99))
    project.lock(gallery.checksum(project.folder / results.TEST_DATA))
    page = project.review(base, "--override", "<b>@x")[1]
    html = (project.folder.parent / "page.html").read_text(encoding="utf-8")
    seen = Reader(html)
    for title in re.findall("(?:### |<summary>)([^<\n]*)", page):
        assert f"<h2>{title}</h2>" in html
    assert html.count('src="data:image/png') == 12
    assert "script" not in seen.tags and "b" in seen.tags and "&lt;b&gt;@x" in html
    assert not re.search("(?:src|href)=.(?!data:)", html)

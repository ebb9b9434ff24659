"""The gate: each of its rules with the fault that it is there to stop, its file, and whose gate judges."""

import json
import math
from pathlib import Path

import pytest
import yaml

from helpers.commits import NOISE, scored
from helpers.pull_requests import GATE, begin
from record import results
from review import gate
from review.compare import paired
from review.gate import Rule, judge, read
from stages.common.entry import UserError

ROOT = Path(__file__).parent.parent
NUMBERS = results.NUMBERS


@pytest.fixture
def project(tmp_path, environment, monkeypatch):
    return begin(tmp_path, environment, monkeypatch)


def judged(before, after, comparison=None, comparable=True, key="loss", **rule):
    """The judgement on one metric of the test scores."""
    rule = {"better": "lower", "tolerance": 0.01} | rule
    one = read("here", yaml.safe_dump({"metrics": {NUMBERS: {key: rule}}}).encode())
    sides = [{NUMBERS: {} if value is None else {key: value}} for value in (before, after)]
    [judgement] = judge(one, *sides, comparable, comparison)
    return judgement


def accuracy(before, after, noise=None, **rule):
    """The judgement on the accuracy of two models that misclassify the images `before` and `after` of 1,000."""
    sides = scored(before), scored(after, noise=noise)
    values = [side.numbers["accuracy"] for side in sides]
    return judged(*values, paired(*sides), key="accuracy", **{"better": "higher", "tolerance": 0.001} | rule)


# What fails and what holds


@pytest.mark.parametrize(
    ("better", "limit", "value", "failure"),
    [
        ("higher", 0.9, 0.89, "loss is 0.89, below its limit of 0.9"),
        ("higher", 0.9, 0.9, None),
        ("lower", 0.9, 0.91, "loss is 0.91, above its limit of 0.9"),
        ("lower", 0.9, 0.9, None),
        ("lower", None, 1e9, None),
    ],
)
@pytest.mark.parametrize("comparable", [True, False])
def test_a_limit_counts_by_itself(better, limit, value, failure, comparable):
    rule = {"better": better, "limit": limit, "tolerance": 1e9}
    assert judged(value, value, comparable=comparable, **rule).failures == ((failure,) if failure else ())
    assert judged(None, value, comparable=comparable, **rule).failures == ((failure,) if failure else ())


@pytest.mark.parametrize(
    ("better", "before", "after", "change", "fails"),
    [
        ("lower", 0.10, 0.12, "worse", True),
        ("lower", 0.10, 0.105, "worse, as tolerated", False),
        ("lower", 0.10, 0.11, "worse, as tolerated", False),  # in floats, 0.11 - 0.1 is more than 0.01
        ("lower", 0.12, 0.10, "better", False),
        ("lower", 0.12, 0.12, "the same", False),
        ("higher", 0.9963, 0.9862, "worse", True),
        ("higher", 0.9963, 0.9863, "worse, as tolerated", False),
        ("higher", 0.9862, 0.9963, "better", False),
    ],
)
def test_a_metric_may_worsen_by_what_is_tolerated(better, before, after, change, fails):
    judgement = judged(before, after, better=better)
    assert (judgement.change, bool(judgement.failures)) == (change, fails)
    if fails:
        assert f"from {before:g} to {after:g}, by {abs(after - before):g}; 0.01 is tolerated" in judgement.failures[0]


def test_a_worse_accuracy_counts_where_mcnemar_says_so():
    judgement = accuracy(range(10), range(100, 130))
    assert "accuracy fell from 0.99 to 0.97" in judgement.failures[0]
    assert "10 images fixed, 30 broken: worse, and real for these two models (p = 0.0022)" in judgement.failures[0]


def test_a_worse_accuracy_counts_where_no_seed_explains_it():
    # Six points of a thousand: McNemar sees none in 20 fixed and 26 broken; the noise of the seeds is 0.0039.
    fallen = range(100, 120), range(200, 226)
    assert paired(*map(scored, fallen)).verdict == "undecided"
    assert "another seed changes it by less than 0.0039" in accuracy(*fallen, noise=NOISE).failures[0]
    assert accuracy(*fallen, noise=NOISE | {"accuracy_sd": 0.002}).change == "worse, perhaps noise"
    assert accuracy(*fallen, noise=NOISE | {"accuracy_sd": 0.002}).failures == ()


@pytest.mark.parametrize("noise", [None, NOISE, NOISE | {"seeds": 1}, NOISE | {"seeds": 10**400}])
def test_a_worse_accuracy_without_evidence_is_let_pass(noise):
    judgement = accuracy(range(10), range(2, 15), noise=noise)
    assert (judgement.change, judgement.failures) == ("worse, perhaps noise", ())


def test_evidence_does_not_count_below_the_tolerance():
    assert accuracy([], range(12), tolerance=0.02).change == "worse, as tolerated"
    assert accuracy([], range(12), tolerance=0.001).failures


def test_a_floor_of_the_accuracy_needs_no_evidence():
    assert accuracy(range(10), range(2, 15), limit=0.99).failures == ("accuracy is 0.987, below its limit of 0.99",)


def test_a_worse_accuracy_that_cannot_be_tested_counts():
    failed = judged(0.99, 0.98, None, key="accuracy", better="higher", tolerance=0.001)
    assert "it cannot be tested for noise" in failed.failures[0]


def test_other_metrics_need_no_evidence():
    comparison = paired(scored([1]), scored([2]))
    assert judged(0.1, 0.2, comparison).failures


def test_a_missing_number_fails_on_its_own():
    assert judged(0.1, None).failures == ("loss has no number; in the base it is 0.1",)
    assert judged(None, None).failures == ("loss has no number",)
    assert judged(None, None, comparable=False).failures


def test_numbers_that_cannot_be_compared_are_held_to_limits_alone():
    assert judged(0.1, 0.9, comparable=False).failures == ()
    assert judged(0.1, 0.9, comparable=False).change == "not comparable"
    assert judged(0.1, 0.9, comparable=False, limit=0.5).failures


def test_more_than_a_float_holds_is_a_worsening():
    assert Rule(better="lower", tolerance=1).worsening(-1.7e308, 1.7e308) == math.inf


# The file


def test_the_gate_of_this_repository_is_valid_and_lets_its_own_numbers_pass():
    text = (ROOT / gate.PATH).read_bytes()
    metrics = {path: json.loads((ROOT / path).read_text()) for path in read(gate.PATH, text).metrics}
    judgements = judge(read(gate.PATH, text), metrics, metrics, True, None)
    assert [failure for one in judgements for failure in one.failures] == []
    assert ("accuracy" in metrics[NUMBERS], len(judgements) <= 6) == (True, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tolerence": 0.1}, "accuracy.tolerence is unknown"),
        ({"better": "up"}, "accuracy.better is 'up', must be 'higher' or 'lower'"),
        ({"tolerance": None}, "accuracy.tolerance is None, must be a valid number"),
        ({"tolerance": "0.1"}, "accuracy.tolerance is '0.1', which is text: write 0.1 without quotes"),
        ({"tolerance": -0.1}, "accuracy.tolerance is -0.1, must be greater than or equal to 0"),
        ({"tolerance": math.inf}, "accuracy.tolerance is inf, must be a finite number"),
        ({"limit": math.nan}, "accuracy.limit is nan, must be a finite number"),
        ({"limit": True}, "accuracy.limit is True, must be a valid number"),
    ],
)
def test_a_wrong_rule_is_one_line(change, message):
    values = {"metrics": {NUMBERS: {"accuracy": {"better": "higher", "tolerance": 0.1} | change}}}
    with pytest.raises(UserError) as error:
        read("review/gate.yaml in abc", yaml.safe_dump(values).encode())
    assert str(error.value).startswith("review/gate.yaml in abc: gate.metrics.metrics/evaluate.json.")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics: [", "not valid YAML (line 2)"),
        ("<<<<<<< ours\nmetrics: {}", "not valid YAML (line 2)"),
        ("a: 2026-13-45", "not valid YAML"),
        ("[" * 1000, "not valid YAML"),
        ("", "no rules"),
        ("metrics: {}", "gate.metrics is {}"),
        ("metrics: {metrics/evaluate.json: {}}", "gate.metrics.metrics/evaluate.json is {}"),
        ("metrics: {a.json: {b: {better: lower, tolerance: 1}}}\nfloor: 1", "gate.floor is unknown"),
        ("metrics: {a.json: {b: {better: x, tolerance: y}}}", "is 'x', must be 'higher' or 'lower'; review"),
    ],
)
def test_a_gate_that_cannot_be_read_is_one_line(text, message):
    with pytest.raises(UserError) as error:
        read("review/gate.yaml", text.encode())
    assert message in str(error.value) and "\n" not in str(error.value)


def test_two_problems_of_a_rule_are_one_line():
    with pytest.raises(UserError) as error:
        read("here", b"metrics: {a.json: {b: {better: x}}}")
    assert "must be 'higher' or 'lower'; here: " in str(error.value) and "\n" not in str(error.value)


# A base that is damaged


def lose_the_mistakes(project):
    (project.folder / results.MISTAKES).unlink()


def edit_the_numbers(project):
    path = project.folder / NUMBERS
    path.write_text(path.read_text().replace("0.99", "0.2"))


def break_the_lock(project):
    project.write("dvc.lock", "<<<<<<< ours\n")


def lose_the_lock(project):
    (project.folder / "dvc.lock").unlink()


def break_a_run_off(project):
    project.lock(model="new", read="old")


def edit_other_numbers(project):
    project.write("metrics/train.json", '{"validation_accuracy": 0.1}')


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lose_the_mistakes, "metrics/mistakes.csv is missing in "),
        (edit_the_numbers, "is not what dvc.lock records"),
        (break_the_lock, "cannot be read as a lock"),
        (lose_the_lock, "dvc.lock is missing in "),
        (break_a_run_off, "evaluate did not read the models/model.tflite that was written"),
        (edit_other_numbers, "metrics/train.json in "),
    ],
)
def test_a_base_that_is_damaged_does_not_loosen_the_gate(project, damage, told):
    damage(project)
    base = project.commit("damaged")
    project.start()
    passed, page = project.review(base)
    assert not passed
    assert "the numbers of the base cannot be trusted, mend it first: " in page.splitlines()[0]
    assert told in page.splitlines()[0]
    assert project.review(base, "--override", "the label")[0]


def test_a_base_without_scores_is_not_damaged(project):
    for path in (NUMBERS, results.MISTAKES):
        project.git("rm", "--quiet", path)
    base = project.commit("not scored yet")
    project.start()
    passed, page = project.review(base)
    assert passed and "Nothing could be compared with the base: only limits count." in page


def test_a_metric_that_is_new_in_a_file_of_the_base_is_told(project):
    project.train(validation_accuracy=None)
    project.lock()
    base = project.commit("no validation accuracy")
    project.start()
    passed, page = project.review(base)
    assert passed and "| new |" in page
    assert "accuracy (train) has no number in the base, which has metrics/train.json: only its limit counts." in page


def test_a_number_of_the_base_that_is_none_is_a_failure(project):
    project.train(validation_accuracy=float("nan"))
    project.lock()
    base = project.commit("broken validation accuracy")
    project.start()
    passed, page = project.review(base)
    assert not passed
    assert "accuracy (train) is nan in the base, which is no number: mend it there first" in page


# Whose gate judges


def gate_with(**rules):
    return {"metrics": {NUMBERS: {"loss": {"better": "lower", "limit": 0.5, "tolerance": 0.01} | rules}}}


def test_a_pull_request_is_judged_by_the_gate_of_its_base(project):
    project.write_yaml(gate.PATH, gate_with(limit=9, tolerance=9))
    project.score(range(10), loss=0.7)
    passed, page = project.review("main")
    assert not passed and "loss is 0.7, above its limit of 0.5" in page.splitlines()[0]
    assert "changes review/gate.yaml: it is judged by the gate of the base" in page
    assert "### This pull request changes its gate" in page
    assert "-      limit: 0.5" in page and "+      limit: 9" in page


def test_a_stricter_gate_does_not_count_yet(project):
    project.write_yaml(gate.PATH, gate_with(limit=0.01))
    assert project.review("main")[0]


def test_a_gate_that_is_taken_away_still_judges(project):
    (project.folder / gate.PATH).unlink()
    passed, page = project.review("main")
    assert passed and "removes review/gate.yaml" in page and "-metrics:" in page
    project.score(range(10), loss=0.7)
    assert not project.review("main")[0]


def test_the_first_gate_judges_itself(project):
    project.git("rm", "--quiet", gate.PATH)
    base = project.commit("no gate")
    project.write_yaml(gate.PATH, gate_with(limit=0.2))
    passed, page = project.review(base)
    assert passed and "The base has no readable review/gate.yaml: this pull request is judged by its own" in page
    project.score(range(10), loss=0.3)
    assert not project.review(base)[0]


def test_no_gate_at_all_fails(project):
    project.git("rm", "--quiet", gate.PATH)
    base = project.commit("no gate")
    passed, page = project.review(base)
    assert (
        not passed and "there is no review/gate.yaml, here or in the base: nothing to judge by" in page.splitlines()[0]
    )


def test_a_gate_that_nobody_could_read_is_not_merged(project):
    project.write(gate.PATH, "metrics: {")
    passed, page = project.review("main")
    assert not passed and "review/gate.yaml in the working tree: not valid YAML" in page.splitlines()[0]


def test_a_broken_gate_in_the_base_fails_and_the_own_judges(project):
    project.write(gate.PATH, "metrics: {")
    base = project.commit("broken gate")
    assert "not valid YAML" in project.review(base)[1].splitlines()[0]
    project.write_yaml(gate.PATH, GATE)
    passed, page = project.review(base)
    assert not passed and f"review/gate.yaml in {base[:7]}: not valid YAML" in page.splitlines()[0]
    assert "judged by its own" in page and "| `accuracy` |" in page


# Limits are for one data set


def choose(project, name):
    project.write_yaml("params.yaml", {"download": {"dataset": name}, "train": {}})
    project.write_yaml("datasets.yaml", {name: {"classes": list("0123456789"), "disputed": []}})


@pytest.mark.parametrize("named", [{}, {"dataset": "mnist"}])
def test_another_data_set_than_the_base_s_is_one_failure_and_no_limit_judges_it(project, named):
    project.git("switch", "--quiet", "main")
    project.write_yaml("review/gate.yaml", GATE | named)
    project.commit()
    project.git("switch", "--quiet", "--create", "other")
    choose(project, "digits")
    project.score(range(500), loss=9)
    (passed, page) = project.review("main")
    assert not passed
    assert page.splitlines()[0] == "❌ **Fail**: the data set is digits, in the base mnist: nothing can be compared."
    assert "The limits of review/gate.yaml are for mnist: they do not judge digits." in page
    assert "Accuracy by class" not in page and "Other metrics" not in page


def test_the_limits_count_for_the_data_set_that_they_are_for_alone(project):
    project.git("switch", "--quiet", "main")
    gate_of = GATE["metrics"] | {NUMBERS: GATE["metrics"][NUMBERS] | {"auc": {"better": "higher", "tolerance": 0}}}
    project.write_yaml("review/gate.yaml", {"dataset": "digits", "metrics": gate_of})
    project.score(range(10), loss=9)  # beyond the limit of another data set, and without a metric that this one lacks
    project.commit()
    project.git("switch", "--quiet", "--create", "other")
    assert project.review("main")[0]
    project.score(range(10), loss=9.5)  # the tolerance counts all the same
    assert "loss rose from 9 to 9.5" in project.review("main")[1]
    project.git("switch", "--quiet", "main", "--force")
    choose(project, "digits")
    project.commit()
    project.git("switch", "--quiet", "--create", "same")
    passed, page = project.review("main")
    assert not passed and "loss is 9, above its limit of 0.5" in page

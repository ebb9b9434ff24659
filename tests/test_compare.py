"""Comparing two commits: what is said of their mistakes, and what is refused, in real Git repositories."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commits import NOISE, SUMS, Repository, alone, scored
from record import lock, results
from record.environment import FILE
from record.results import Results
from review.compare import main, noise_sentence, paired, seed_noise
from stages.common.entry import UserError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def repository(tmp_path, environment, monkeypatch):
    """The current folder: an empty repository, out of reach of what this machine's user has set for Git."""
    made = Repository(alone(tmp_path, environment, monkeypatch))
    made.machine()
    return made


def printed(capsys, *arguments):
    main(arguments)
    return capsys.readouterr().out


# The judgement


def test_p_is_that_of_the_binomial_worked_out_by_hand():
    # Three fixed, none broken: both tails of three fair coins, 2 / 8. One of each: certain.
    assert paired(scored({1, 2, 3}), scored(set())).p_value == pytest.approx(0.25)
    assert paired(scored({1}), scored({2})).p_value == pytest.approx(1)
    # Eight to one: (1 + 9) / 2**9 a tail.
    assert paired(scored(range(8)), scored({100})).p_value == pytest.approx(20 / 512)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (range(12), range(100, 109), "12 images fixed, 9 broken: no evidence of a difference (p = 0.66)"),
        (range(12), range(100, 101), "12 images fixed, 1 broken: better, and real for these two models (p = 0.0034)"),
        ([5], range(100, 112), "1 image fixed, 12 broken: worse, and real for these two models (p = 0.0034)"),
        (range(20), [], "20 images fixed, 0 broken: better, and real for these two models (p < 0.001)"),
        ([3, 4], [4, 3], "0 images fixed, 0 broken: the same images are wrong"),
        ([], [], "0 images fixed, 0 broken: the same images are wrong"),
        (range(6), [6], "6 images fixed, 1 broken: no evidence of a difference (p = 0.12)"),
    ],
)
def test_the_sentence_says_what_the_numbers_allow(before, after, sentence):
    assert paired(scored(before), scored(after)).sentence == sentence


# The accuracy changes by 0.011 of 1; another seed moves it by less than 0.0039 times `spread`.
@pytest.mark.parametrize(
    ("spread", "of_before", "of_after"),
    [
        (1, "12 images fixed, 1 broken: better, and more than noise (p = 0.0034)", "worse, and more than noise"),
        (4, "12 images fixed, 1 broken: these two models differ (p = 0.0034), but another seed may undo it", "differ"),
    ],
)
def test_more_than_noise_is_said_where_paired_test_and_seed_noise_both_say_it(spread, of_before, of_after):
    noise = NOISE | {"accuracy_sd": 0.001 * spread}
    comparison = paired(scored(range(12), noise=noise), scored([100], noise=NOISE | {"accuracy_sd": 1}))
    assert comparison.sentence == of_before
    assert of_after in paired(scored([100]), scored(range(12), noise=noise)).sentence


@pytest.mark.parametrize("count", [1, 10**400])
def test_noise_that_says_nothing_does_not_make_a_difference_more_than_noise(count):
    comparison = paired(scored(range(12)), scored([100], noise=NOISE | {"seeds": count}))
    assert comparison.sentence == "12 images fixed, 1 broken: better, and real for these two models (p = 0.0034)"


def test_no_evidence_stays_so_whatever_the_noise():
    noise = NOISE | {"accuracy_sd": 1e-5}
    comparison = paired(scored(range(12)), scored(range(100, 109), noise=noise))
    assert comparison.sentence == "12 images fixed, 9 broken: no evidence of a difference (p = 0.66)"


def test_mistakes_of_both_sides_count_for_neither():
    comparison = paired(scored({1, 2, 30, 40}), scored({40, 2, 7, 5}))
    assert (comparison.fixed, comparison.broken) == ((1, 30), (5, 7))
    assert comparison.p_value == paired(scored({1, 30}), scored({5, 7})).p_value


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (scored({1}, "b", test_data="beef"), "a and b were scored on different test data .f00d and beef."),
        (scored({1}, "b", images=999), "a and b were scored on 1000 and 999 images"),
        (Results("b", scored({1}).numbers, {1: 7}, "f00d"), "a and b give 1 images different labels.*image 1:"),
    ],
)
def test_results_on_other_test_data_are_not_paired(after, message):
    with pytest.raises(UserError, match=message):
        paired(scored({1, 2}), after)


def test_noise_of_the_seed_is_the_repeatability_limit_of_few_seeds():
    # Student's t of 4 degrees of freedom: 2.776; of 30: 2.042.
    assert seed_noise(NOISE) == pytest.approx(2.7764 * 0.001 * 2**0.5, abs=1e-6)
    assert seed_noise(NOISE | {"seeds": list(range(31))}) == pytest.approx(2.0423 * 0.001 * 2**0.5, abs=1e-6)
    with pytest.raises(UserError, match="1 seed says nothing"):
        seed_noise(NOISE | {"seeds": [4]})


BLOCK = {"epochs": 3, "optimizer": {"name": "adamw", "weight_decay": 0.00001}, "init_from": None, "seed": 1}


@pytest.mark.parametrize(
    ("measured", "train", "misfit"),
    [
        ({}, BLOCK, ""),
        ({}, BLOCK | {"seed": 2}, ""),
        # As DVC writes the weight decay, which is a word to PyYAML.
        ({}, BLOCK | {"optimizer": {"name": "adamw", "weight_decay": "1e-05"}}, ""),
        ({"test_data": "beef"}, BLOCK, "on other test images"),
        ({}, BLOCK | {"epochs": 4}, "with another recipe"),
        ({"recipe": results.recipe(BLOCK, "other code", *SUMS[1:])}, BLOCK, "with another recipe"),
        ({"recipe": results.recipe(BLOCK, SUMS[0], "other images", SUMS[2])}, BLOCK, "with another recipe"),
        ({"recipe": None}, BLOCK, "with another recipe"),
    ],
)
def test_noise_is_quoted_beside_the_recipe_and_the_test_images_that_it_was_measured_with(
    repository, capsys, measured, train, misfit
):
    repository.score([1, 2])
    repository.lock(train=train)
    noise = NOISE | {"test_data": "f00d", "recipe": results.recipe(BLOCK, *SUMS)} | measured
    repository.write(results.NOISE, json.dumps(noise))
    repository.commit()
    lines = printed(capsys, "HEAD").splitlines()
    if misfit:
        assert lines[-1] == f"metrics/noise.json was measured {misfit}: `make noise` measures it anew."
    else:
        assert lines[-1].startswith("The default model with 5 seeds: 90.00% on average")


def test_a_change_of_the_recipe_is_held_against_the_noise_of_the_recipe_before(repository, capsys):
    repository.score(range(12))
    repository.lock(train=BLOCK)
    repository.write(results.NOISE, json.dumps(NOISE | {"recipe": results.recipe(BLOCK, *SUMS)}))
    repository.commit()
    repository.score([100])
    repository.lock(train=BLOCK | {"epochs": 4})
    first, *_, last = printed(capsys, "HEAD").splitlines()
    assert first == "12 images fixed, 1 broken: better, and more than noise (p = 0.0034)"
    assert last.endswith("seeds differ by less than 0.39 points; this change is +1.10 points.")


def test_the_difference_is_told_beside_the_noise_of_the_seed():
    sentence = noise_sentence(paired(scored({1, 2, 3}), scored({9}, noise=NOISE)))
    assert "with 5 seeds: 90.00% on average, 89.80% to 90.20%" in sentence
    assert "different seeds differ by less than 0.39 points; this change is +0.20 points." in sentence
    assert "is +0.00 points." in noise_sentence(paired(scored({1}, noise=NOISE), scored({2})))
    assert noise_sentence(paired(scored({1}), scored({2}))) is None


# From commits


def test_two_commits_are_compared_from_git_alone(repository, capsys):
    repository.score([1, 2, 3], accuracy_low_writers=0.6, accuracy_high_writers=0.7)
    base = repository.commit()
    repository.score([3, 30])
    repository.commit()
    for path in (results.NUMBERS, results.MISTAKES, lock.FILE):
        (repository.folder / path).unlink()
    lines = printed(capsys, "HEAD~1", "main").splitlines()
    assert lines[0] == "2 images fixed, 1 broken: no evidence of a difference (p = 1)"
    names = f"HEAD~1 ({base[:7]})", f"main ({repository.git('rev-parse', '--short=7', 'main')})"
    assert [re.split(" {2,}", line.strip()) for line in lines[1:]] == [
        [*names],
        ["accuracy", "99.70%", "99.80%"],
        ["95 % interval", "50.00% to 100.00%", "50.00% to 100.00%"],
        ["resampling whole writers", "60.00% to 70.00%", "-"],
        ["mistakes", "3 of 1,000", "2 of 1,000"],
        ["Fixed: 1, 2"],
        ["Broken: 30"],
    ]


def test_without_head_the_working_tree_is_judged(repository, capsys):
    repository.score([1, 2, 3])
    repository.commit()
    repository.score([1, 2, 4, 5])
    repository.write(results.NOISE, json.dumps(NOISE))
    output = printed(capsys, "main")
    assert "the working tree" in output.splitlines()[1]
    assert "whole writers" not in output
    assert "Fixed: 3\nBroken: 4, 5\nThe default model" in output
    assert "Fixed: none\nBroken: none" in printed(capsys, "main", "HEAD")


def test_sides_that_were_not_trained_alike_are_told_in_one_line(repository, capsys):
    repository.score([1, 2, 3])
    base = repository.commit()
    assert "rained" not in printed(capsys, base)
    assert json.loads(printed(capsys, base, "--json"))["environment"] is None
    repository.machine(processor="AMX\x1b[31m")
    told = "Not trained alike, which may move the numbers: x86_64 with AVX2 before; AMX\ufffd[31m after."
    assert printed(capsys, base).splitlines()[1] == told
    assert json.loads(printed(capsys, base, "--json"))["environment"] == told.replace("\ufffd", "\x1b")
    (repository.folder / FILE).unlink()
    told = f"Whether both sides were trained alike is not known: {FILE} is missing in the working tree"
    assert printed(capsys, base).splitlines()[1].startswith(told)


def test_json_holds_every_index(repository, capsys):
    repository.score(range(200))
    base = repository.commit()
    repository.score([500], accuracy_low_writers=0.6, accuracy_high_writers=0.7)
    values = json.loads(printed(capsys, base, "--json"))
    assert values["fixed"] == list(range(200))
    assert (values["broken"], values["verdict"], values["seed_noise"]) == ([500], "better", None)
    assert 0 < values["p_value"] < 1e-50
    assert values["before"] == {"revision": base[:7], **scored(range(200)).numbers}
    assert values["after"]["accuracy_low_writers"] == 0.6


def test_a_folder_within_a_repository_is_read_from_there(repository, capsys, monkeypatch):
    inner = Repository.__new__(Repository)
    inner.folder = repository.folder / "inner"
    inner.score([1])
    repository.commit()
    inner.score([2])
    monkeypatch.chdir(inner.folder)
    assert "Fixed: 1\nBroken: 2" in printed(capsys, "HEAD")


# What is refused


def refusal(*arguments):
    with pytest.raises(UserError) as error:
        main(arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_other_test_data_ends_in_one_line_and_no_comparison(repository, environment):
    repository.score([1, 2, 3])
    repository.commit()
    repository.score([1], test_data="beef")
    command = [sys.executable, "-m", "review.compare", "main"]
    variables = environment | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=repository.folder, env=variables, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("compare: main (") and ended.stderr.count("\n") == 1
    assert "and the working tree were scored on different test data (f00d and beef)" in ended.stderr


def test_an_unknown_revision_is_named(repository):
    repository.score([1])
    repository.commit()
    assert refusal("mian").startswith("unknown revision mian: ")
    assert refusal("main", "0123456789").startswith("unknown revision 0123456789: ")
    assert refusal("main:dvc.lock").startswith("unknown revision main:dvc.lock: ")


def test_a_shallow_clone_is_told_to_fetch_the_history(repository, tmp_path, monkeypatch):
    for wrong in ([1], [2]):
        repository.score(wrong)
        base = repository.commit()
    repository.git("clone", "--quiet", "--depth=1", repository.folder.as_uri(), str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    assert "this clone is shallow: get the whole history with `git fetch --unshallow`" in refusal("HEAD~1")
    main([base])


def test_outside_a_repository_one_line_says_so(repository, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert refusal("main") == "elsewhere/ is not in a Git repository: run it in a clone"


def test_without_git_one_line_says_so(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository.folder))
    assert refusal("main") == "Git is not installed, or not on PATH"


def test_a_commit_without_results_is_named(repository):
    empty = repository.commit("nothing yet")
    repository.score([1])
    assert refusal(empty).startswith(f"metrics/evaluate.json is missing in {empty[:7]}: ")
    repository.commit()
    (repository.folder / "metrics/mistakes.csv").unlink()
    assert refusal("main").startswith("metrics/mistakes.csv is missing in the working tree: ")
    repository.git("checkout", "--quiet", "main", "--", "metrics")
    (repository.folder / "dvc.lock").unlink()
    assert refusal("main").startswith("dvc.lock is missing in the working tree: ")


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        (
            results.NUMBERS,
            '{"accuracy": 1.0, "accuracy_low": "0.9", "images": 9}',
            "accuracy_low, accuracy_high, mistakes",
        ),
        (results.NUMBERS, "[1]", "metrics/evaluate.json in the working tree: not a JSON object"),
        (results.NUMBERS, "<<<<<<< ours", "metrics/evaluate.json in the working tree: not valid JSON"),
        (results.MISTAKES, "index,predicted\n1,2\n", "metrics/mistakes.csv in the working tree: not a table"),
        (results.MISTAKES, "index,label\n1,\n", "metrics/mistakes.csv in the working tree: not a table"),
        (results.MISTAKES, "index,label\n1,1\n2,2\n", "1 mistakes in metrics/evaluate.json, 2 in metrics/mistakes.csv"),
        (
            results.NOISE,
            '{"accuracy_sd": 0.1, "seeds": 3}',
            "metrics/noise.json.* accuracy_mean, accuracy_low, accuracy_high",
        ),
        (results.NOISE, "", "metrics/noise.json in the working tree: not valid JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(repository, path, text, message):
    repository.score([1])
    repository.commit()
    repository.write(path, text)
    repository.lock()
    with pytest.raises(UserError, match=message):
        main(["main"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<<<<<<< ours\na: [", "cannot be read as a lock (line 2)"),
        ("stages: {evaluate: 3}", "cannot be read as a lock"),
        ("[" * 10**6, "cannot be read as a lock"),
        ("stages: {}", "no record of the evaluate stage"),
        ("", "cannot be read as a lock"),
        ("stages: {evaluate: {deps: [], outs: []}}", "does not say which data/prepared/test was scored"),
    ],
    ids=["in conflict", "no table", "nested too deeply", "no stage", "empty", "no test data"],
)
def test_a_lock_without_the_evaluate_stage_is_refused(repository, text, message):
    repository.score([1])
    repository.commit()
    repository.write("dvc.lock", text)
    assert message in refusal("main")


@pytest.mark.parametrize("path", [results.NUMBERS, results.MISTAKES])
def test_results_that_the_lock_does_not_record_are_refused(repository, path):
    repository.score([1])
    repository.commit()
    repository.write(path, (repository.folder / path).read_text() + "\n")
    assert refusal("main").startswith(f"{path} in the working tree is not what dvc.lock records")


@pytest.mark.parametrize(
    ("wrong", "numbers", "message"),
    [
        ([1, 2], {"accuracy": 0.999}, "the accuracy 0.999 is not 2 mistakes in 1000"),
        ([1, 2], {"accuracy": 1.5}, "the accuracy 1.5 is not 2 mistakes in 1000"),
        ([1, 2], {"images": 0}, "the accuracy 0.998 is not 2 mistakes in 0"),
        ([1, 1000], {}, "metrics/mistakes.csv in the working tree: there is no image 1000"),
        ([-1, 1], {}, "metrics/mistakes.csv in the working tree: there is no image -1"),
    ],
)
def test_numbers_that_are_not_those_of_the_mistakes_are_refused(repository, wrong, numbers, message):
    repository.score([1])
    repository.commit()
    repository.score(wrong, **numbers)
    assert message in refusal("HEAD")


def test_a_noise_of_one_seed_ends_no_comparison(repository, capsys):
    repository.score([1])
    repository.write(results.NOISE, json.dumps(NOISE | {"seeds": 1}))
    repository.commit()
    assert printed(capsys, "HEAD").splitlines()[-1].startswith("metrics/noise.json has fewer than two seeds")
    assert json.loads(printed(capsys, "HEAD", "--json"))["seed_noise"] is None


def test_labels_that_contradict_each_other_are_refused(repository):
    repository.score([1, 2])
    repository.commit()
    repository.score([2, 3], labels={2: 9})
    assert "give 1 images different labels, the first is image 2" in refusal("main")

"""What `make noise` records of the seed alone, and that it asks for what it needs."""

import json
import sys

import pytest

from record import lock, results
from stages.common.entry import UserError
from tools import noise


def test_mean_sample_standard_deviation_and_range():
    found = noise.noise([1, 2, 3], [0.99, 0.98, 0.97])
    assert (found["accuracy_mean"], found["accuracy_sd"]) == (0.98, 0.01)
    assert (found["accuracy_low"], found["accuracy_high"], found["seeds"]) == (0.97, 0.99, [1, 2, 3])


@pytest.mark.parametrize(
    ("arguments", "line"), [(["--seeds", "1"], "--seeds is 1, must be at least 2"), ([], "data/prepared is missing")]
)
def test_what_it_cannot_do_it_says(tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["noise", *arguments])
    with pytest.raises(UserError, match=line):
        noise.main()


def test_a_model_of_the_comparison_is_taken_from_there():
    assert noise.compared("tiny")["model"] == "tiny"
    with pytest.raises(UserError, match="--model is huge, must be one of comparison/params.yaml: .*tiny"):
        noise.compared("huge")


@pytest.mark.parametrize("content", ["published: {}", "models: [net]"])
def test_a_comparison_without_models_is_told(tmp_path, monkeypatch, content):
    (tmp_path / "params.yaml").write_text(content)
    monkeypatch.setattr(noise, "COMPARISON", tmp_path / "params.yaml")
    with pytest.raises(UserError, match="models is missing, or not a block for each model$"):
        noise.compared("net")


def test_ensembles_of_different_seeds_share_no_member():
    starts = noise.seeds_apart({"seed": 3, "ensemble": 4}, 3)
    members = [start + member for start in starts for member in range(4)]
    assert starts[0] == 3
    assert len(set(members)) == 12


@pytest.mark.xdist_group("settled")
def test_each_seed_is_trained_and_scored_by_the_stages(settled):
    path = settled.folder / results.NOISE
    before = path.read_bytes()
    # A lock whose scores are of other images, as where `preprocess` alone ran again.
    text = (settled.folder / "dvc.lock").read_bytes()
    settled.change(lambda values: values["stages"].pop("evaluate"), "dvc.lock")
    settled.well(sys.executable, "-m", "tools.noise", "--seeds", "2")
    (settled.folder / "dvc.lock").write_bytes(text)
    found = json.loads(path.read_text())
    path.write_bytes(before)
    locked = lock.parse("dvc.lock", text)
    assert found["test_data"] == locked.stages["preprocess"].outs[results.TEST_DATA]
    assert found["recipe"] == results.locked_recipe(locked)
    scored = json.loads((settled.folder / "metrics/evaluate.json").read_text())
    assert found["accuracies"][0] == scored["accuracy"]
    assert found["accuracies"][1] != found["accuracies"][0]
    assert settled.well("git", "status", "--porcelain", "--", "metrics") == ""


def test_two_at_once_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with noise.alone(), pytest.raises(UserError, match="another `make noise` is running"), noise.alone():
        pass
    with noise.alone():
        pass

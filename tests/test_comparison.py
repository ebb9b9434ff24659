"""The comparison: every model by the stages' own code, each rerun alone, and a summary that says what it means."""

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

import comparison.__main__ as summary
from comparison.pictures import accuracy_against_cost, label
from record import parameters as checked
from record.comparison import visible
from stages.common import parameters
from stages.train.params import Train, model_functions

ROOT = Path(__file__).parent.parent
MODELS = yaml.safe_load((ROOT / "comparison/params.yaml").read_text(encoding="utf-8"))["models"]


@pytest.mark.parametrize("name", MODELS)
def test_every_block_is_sound(name):
    parameters.read(f"models.{name}", Train, ROOT / "comparison/params.yaml")


def test_every_architecture_is_compared():
    assert {block["model"] for block in MODELS.values()} == set(model_functions())


def test_the_default_is_compared_as_it_is():
    root = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"]
    assert MODELS["default"] == root


def compared(tmp_path, monkeypatch, accuracy):
    monkeypatch.chdir(tmp_path)
    scores = {"accuracy": accuracy, "accuracy_low": accuracy - 0.01, "accuracy_high": accuracy + 0.01}
    for path, values in {
        "comparison/scores/net/evaluate.json": scores | {"images": 10000, "mistakes": 5},
        "comparison/models/net/train.json": {
            "accuracy": 0.9,
            "validation_accuracy": 0.8,
            "parameters": 1234,
            "epochs": 3,
        },
        "comparison/seconds/net.json": {"training_seconds": 7.5},
    }.items():
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text(json.dumps(values))


# The standard error of 99 % in 10,000 images is 0.0995 points.
@pytest.mark.parametrize(("accuracy", "reproduced"), [(0.9881, True), (0.9879, False)])
def test_published_accuracy_is_reached_down_to_two_standard_errors(tmp_path, monkeypatch, accuracy, reproduced):
    compared(tmp_path, monkeypatch, accuracy)
    row = summary.row("net", 0.99)
    assert row["reproduced"] is reproduced
    assert ("not reached" in summary.markdown(pd.DataFrame([row]))) is not reproduced


def test_nothing_published_is_nothing_to_reach(tmp_path, monkeypatch):
    compared(tmp_path, monkeypatch, 0.9)
    row = summary.row("net", None)
    assert row["reproduced"] is None
    assert "| `net` | 90.00% | 89.00% – 91.00% | – | 1,234 | 3 | 8 s |" in summary.markdown(pd.DataFrame([row]))


def test_the_picture_names_every_model_and_is_the_same_twice(tmp_path, monkeypatch):
    compared(tmp_path, monkeypatch, 0.98)
    table = pd.DataFrame([summary.row("net", 0.99) | {"model": name} for name in ("one", "two")])
    picture = accuracy_against_cost(table)
    assert picture == accuracy_against_cost(table)
    ElementTree.fromstring(picture)
    assert {"one", "two"} <= set(re.findall(r">(\w+)</text>", picture))


def test_no_name_in_the_picture_covers_another():
    axes = Figure((5, 4)).subplots()
    x, y = pd.Series([9.0, 9.1, 9.2, 9.1, 30.0]), pd.Series([5.0, 5.1, 5.0, 4.9, 5.0])
    axes.plot(x, y, "o")
    axes.set(xlim=(0, 40), ylim=(10, 0))  # the best on top, as the picture has it
    label(axes, x, y * 0.98, y, y * 1.02, pd.Series(["first", "second", "third", "fourth", "fifth"]))
    boxes = [text.get_window_extent() for text in axes.texts]
    ends = axes.transData.transform(np.column_stack([[*x, *x], [*(y * 0.98), *(y * 1.02)]]))
    bars = [Bbox([high, low]) for low, high in zip(ends[: len(x)], ends[len(x) :])]
    assert len(boxes) == len(x)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert not any(box.overlaps(bar) for box in boxes for bar in bars)


def test_a_model_without_a_mistake_is_in_the_picture(tmp_path, monkeypatch):
    compared(tmp_path, monkeypatch, 0.99)
    row = summary.row("net", None)
    table = pd.DataFrame([row, row | {"model": "perfect", "accuracy": 1.0, "accuracy_high": 1.0}])
    picture = accuracy_against_cost(table)
    assert len(re.findall(">perfect</text>", picture)) == 2
    assert "nan" not in picture and "inf" not in picture


@pytest.mark.xdist_group("settled")
def test_a_changed_block_reruns_that_model_and_the_summary_and_nothing_else(settled):
    def ran():
        return re.findall(r"Running stage '(?:.*:)?(.*)'", settled.dvc("repro", "comparison/dvc.yaml"))

    assert ran() == []
    table = pd.read_csv(settled.folder / "comparison/summary.csv")
    assert set(table["model"]) == {"one", "two"}
    assert set(table) >= {"accuracy", "accuracy_low", "accuracy_high", "published", "parameters", "training_seconds"}

    settled.change(lambda values: values["models"]["one"].update(learning_rate=0.002), "comparison/params.yaml")
    assert ran() == ["train@one", "evaluate@one", "summary"]
    shown = settled.dvc("metrics", "show", *(f"comparison/metrics/{name}.json" for name in ("one", "two")))
    assert len(shown.splitlines()) == 3
    assert max(map(len, shown.splitlines())) <= 120  # a screen has room for it

    settled.well("git", "restore", ".")
    settled.dvc("checkout", "comparison/dvc.yaml")
    assert ran() == []
    assert settled.well("git", "status", "--porcelain") == ""


def test_a_mistake_in_the_comparisons_parameters_is_told():
    values = {"models": {"net": MODELS["default"] | {"epochs": 0}}, "published": {"ent": 0.9}}
    assert checked.comparison_mistakes(values) == [
        "comparison/params.yaml: published.ent is unknown: misspelt, or no model of the comparison",
        "comparison/params.yaml: models.net.epochs is 0, must be greater than 0",
    ]


@pytest.mark.parametrize("accuracy", [97.46, "97.46 %", 0, -1, None])
def test_a_published_accuracy_that_is_no_fraction_is_told_before_half_an_hour_of_training(accuracy):
    values = {"models": {"net": MODELS["default"]}, "published": {"net": accuracy}}
    assert checked.comparison_mistakes(values) == [
        f"comparison/params.yaml: published.net is {accuracy!r}, must be a fraction above 0 and at most 1"
    ]


@pytest.mark.parametrize("key", ["models", "published"])
def test_a_table_of_models_that_is_none_is_told(key):
    values = {"models": {"net": MODELS["default"]}, "published": {}} | {key: ["net"]}
    assert checked.comparison_mistakes(values) == [
        f"comparison/params.yaml: {key} is ['net'], must have an entry for each model"
    ]


def test_dvc_sees_the_comparison_while_it_is_asked_for_and_only_then(clone):
    made = clone()
    before = (made.folder / ".dvcignore").read_bytes()

    def seen():
        with Repo() as repo:
            return {Path(stage.path).relative_to(repo.root_dir).as_posix() for stage in repo.index.stages}

    with made.current():
        assert seen() == {"dvc.yaml"}
        with visible():
            assert seen() == {"dvc.yaml", "comparison/dvc.yaml"}
            with visible():
                pass
            assert seen() == {"dvc.yaml", "comparison/dvc.yaml"}
        assert seen() == {"dvc.yaml"}
        with pytest.raises(KeyboardInterrupt), visible():
            raise KeyboardInterrupt
        assert (made.folder / ".dvcignore").read_bytes() == before

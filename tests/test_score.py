"""`make score`: another data set's test images, scored with the trained model, and the pipeline left as it is."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.clone import NOWHERE, ROOT
from helpers.dataset import write_dataset
from stages.common.entry import UserError
from stages.download.embedded import digits as embedded
from tools import score


@pytest.fixture
def here(tmp_path, monkeypatch, values, catalog):
    """The working directory with a model of the ten digits and, in the folder `reversed`, the embedded digits with
    their test part from the last to the first: the data set `reversed` of datasets.yaml."""
    arrays = {name: array[::-1] if name.startswith("t10k") else array for name, array in embedded().items()}
    sums = write_dataset(tmp_path / "reversed", arrays)
    source = {"mirrors": [NOWHERE], "mirror_variable": "REVERSED_MIRROR", "files": sums}
    # Nothing of the writers is asked for: these cannot be had.
    source["writers"] = catalog["mnist"]["source"]["writers"] | {"mirrors": [NOWHERE]}
    catalog["reversed"] = catalog["digits"] | {"source": source}
    values["download"] |= {"attempts": 1, "timeout_seconds": 2}
    for name in ("models", "data/raw"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    (tmp_path / "datasets.yaml").write_text(yaml.safe_dump(catalog), encoding="utf-8")
    (tmp_path / score.MODEL).write_bytes(b"a model")
    (tmp_path / score.TRAINED_ON).write_text(json.dumps({"name": "mnist", "files": {}}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REVERSED_MIRROR", raising=False)
    return tmp_path


def called(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["score", *arguments])
    score.main()


def test_the_test_images_of_the_other_data_set_are_scored_and_nothing_is_written(here, monkeypatch, capfd, digits):
    seen = []

    class Model:
        def __init__(self, path):
            self.path = path

        def predict(self, images):
            """Right but for the first three images, which are taken for the next class."""
            seen.append((self.path, images))
            predictions = digits[1][:1436:-1].astype(int)
            predictions[:3] = (predictions[:3] + 1) % 10
            return np.eye(10, dtype=np.float32)[predictions]

    monkeypatch.setattr(score, "Model", Model)
    monkeypatch.setenv("REVERSED_MIRROR", "reversed")  # relative to here
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    called(monkeypatch, "reversed", "--json")
    result = json.loads(capfd.readouterr().out)
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before

    (model, images), *_ = seen
    assert model == score.MODEL
    assert (images == digits[0][:1436:-1]).all()
    numbers = {"accuracy": round(357 / 360, 5), "accuracy_low": 0.97579, "accuracy_high": 0.99716}
    assert {name: result[name] for name in numbers} == pytest.approx(numbers, abs=1e-4)
    assert (result["dataset"], result["mistakes"], result["images"]) == ("reversed", 3, 360)
    labels = digits[1][:1436:-1]
    wrong = np.bincount(labels[:3], minlength=10)
    expected = [round(1 - float(w / n), 5) for w, n in zip(wrong, np.bincount(labels), strict=True)]
    assert [row["recall"] for row in result["classes"]] == expected


def test_a_person_reads_accuracy_mistakes_and_each_class():
    result = score.scored(np.eye(2, dtype=np.float32)[[0, 0, 1, 0]], np.array([0, 0, 1, 1]), ["even", "odd"])
    assert score.written(result, "Numbers").splitlines() == [
        "Numbers: 4 test images, scored with models/model.tflite",
        "accuracy 75.00% (95 % interval 30.06% to 95.44%), 1 mistake",
        "",
        "class   recall        95 % interval  images",
        "even   100.00%    34.24% to 100.00%       2",
        "odd     50.00%      9.45% to 90.55%       2",
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "fashion_mnist",
            "has the classes T-shirt/top, .* trained on mnist, has 0, 1, .*: only a data set of the same",
        ),
        ("klingon", "'klingon' is not in datasets.yaml, which has .*mnist, .*reversed"),
    ],
)
def test_what_cannot_be_scored_gets_one_line(here, monkeypatch, name, line):
    with pytest.raises(UserError, match=line) as raised:
        called(monkeypatch, name)
    assert "\n" not in str(raised.value)


def test_a_table_of_data_sets_that_is_none_gets_one_line(here, monkeypatch):
    Path("datasets.yaml").write_text("3\n")
    with pytest.raises(UserError, match="^datasets.yaml holds no blocks: it must be a table of names and values$"):
        called(monkeypatch, "reversed")


@pytest.mark.parametrize("missing", [score.MODEL, score.TRAINED_ON])
def test_without_a_model_it_says_what_to_do(here, monkeypatch, missing):
    missing.unlink()
    with pytest.raises(UserError, match=f"{missing} is missing: `dvc repro` first"):
        called(monkeypatch, "reversed")


@pytest.mark.parametrize("broken", ["no json", "[]", "{}"])
def test_a_description_that_is_broken_gets_one_line(here, monkeypatch, broken):
    score.TRAINED_ON.write_text(broken)
    with pytest.raises(UserError, match=f"^{score.TRAINED_ON} cannot be read: `dvc checkout` or `dvc repro` mends"):
        called(monkeypatch, "reversed")


def test_where_no_source_answers_download_says_so(here, monkeypatch, capfd):
    with pytest.raises(UserError, match="reversed could not be prepared: the reason is above"):
        called(monkeypatch, "reversed")
    assert "download: no source delivers reversed" in capfd.readouterr().err
    assert [path.name for path in (here / "data/raw").iterdir()] == ["dataset.json"]


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_hands_on_the_name_of_a_data_set_and_runs_nothing_in_it(tmp_path, environment):
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name, content in {".venv/bin/.installed": "", "tools/score.py": "import sys\nprint(sys.argv[1:])\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(content)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    nobody = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    subprocess.run(["git", *nobody, "commit", "--quiet", "--allow-empty", "-m", "all"], cwd=tmp_path, check=True)
    for name in ("", "kmnist", "--json", "$(touch planted)", "`touch planted`", '"; touch planted; "'):
        command = {"cwd": tmp_path, "env": environment | {"DATASET": name}, "capture_output": True, "text": True}
        assert subprocess.run(["make", "score"], **command).stdout == f"{['--', name or 'digits']}\n"
    assert not (tmp_path / "planted").exists()

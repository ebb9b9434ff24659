"""What a change reruns: exactly the stages that the graph says, in DVC's own words, on the embedded digits."""

import os
from contextlib import contextmanager

import pytest
import yaml
from dvc.repo import Repo

pytestmark = [
    pytest.mark.xdist_group("settled"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # of a package that DVC uses
]
PIPELINE = ["download", "validate", "preprocess", "train", "evaluate", "package", "report"]
OUTPUTS = {
    "download": [
        "data/raw/dataset.json",
        "data/raw/train-images-idx3-ubyte",
        "data/raw/train-labels-idx1-ubyte",
        "data/raw/t10k-images-idx3-ubyte",
        "data/raw/t10k-labels-idx1-ubyte",
    ],
    "validate": ["metrics/validate.json", "data/verdict.json", "reports/data/index.html"],
    "preprocess": [
        "data/prepared/dataset.json",
        "data/prepared/train/images.npy",
        "data/prepared/train/labels.npy",
        "data/prepared/validation/images.npy",
        "data/prepared/validation/labels.npy",
        "data/prepared/test/images.npy",
        "data/prepared/test/labels.npy",
        "data/prepared/train.sha256",
        "data/prepared/validation.sha256",
        "data/prepared/test.sha256",
    ],
    "train": [
        "models/model.keras",
        "models/model.sha256",
        "models/model.tflite",
        "models/out_of_fold.npz",
        "metrics/train.json",
        "metrics/environment.json",
        "metrics/history.csv",
    ],
    "evaluate": [
        "data/predictions/test.csv",
        "metrics/evaluate.json",
        "metrics/mistakes.csv",
        "metrics/classes.csv",
        "metrics/roc.csv",
        "metrics/reliability.csv",
        "metrics/robustness.csv",
        "data/predictions/suspects.csv",
        "data/predictions/confusion_matrix.csv",
        "data/predictions/probabilities.npy",
        "data/predictions/series.csv",
        "data/predictions/corrupted.npy",
    ],
    "package": ["models/package.json", "models/reference.npz", "reports/draw.html"],
    "report": ["reports/index.html", "reports/model_card.md"],
}

TRAINED, SCORED = {"train@one", "train@two"}, {"evaluate@one", "evaluate@two", "summary"}


def from_on(stage):
    """`stage` and all behind it: up to `train`, each stage has all later ones behind it."""
    after = {None: [], "evaluate": ["evaluate", "report"], "package": ["package"]}
    return after[stage] if stage in after else PIPELINE[PIPELINE.index(stage) :]


@pytest.fixture
def would_run(settled):
    """What DVC would run in the pipeline or the comparison now, if every stage that runs writes something new."""

    def ask(file="dvc.yaml"):
        with Repo() as repo:
            stages = repo.reproduce(file, dry=True, force_downstream=True, run_cache=False)
            return [stage.name for stage in stages]

    with settled.current():
        yield ask


def changed():
    """The stages of both pipelines of which something that they declare has changed, whatever other stages write."""
    with Repo() as repo:
        return {*repo.status(["dvc.yaml"]), *repo.status(["comparison/dvc.yaml"])}


@contextmanager
def touched(folder, file, content=None):
    """`file` with `content`, or with a line more, or there at all; afterwards as it was."""
    path = folder / file
    before = path.read_bytes() if path.exists() else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((before or b"") + b"\n# a comment\n" if content is None else content.encode())
        yield
    finally:
        path.unlink() if before is None else path.write_bytes(before)


def edited(folder, file, *keys, value):
    """The YAML `file` as text, with `value` at `keys`; a key that wasn't there is added."""
    values = yaml.safe_load((folder / file).read_text(encoding="utf-8"))
    place = values
    for key in keys[:-1]:
        place = place[key]
    assert place.get(keys[-1]) != value
    place[keys[-1]] = value
    return yaml.safe_dump(values, sort_keys=False)


def test_without_a_change_nothing_reruns(would_run):
    assert would_run() == []
    assert would_run("comparison/dvc.yaml") == []


@pytest.mark.parametrize(
    "keys, value, first",
    [
        (["download", "attempts"], 7, "download"),
        (["validate", "sample_images"], 3, "validate"),
        (["preprocess", "seed"], 99, "preprocess"),
        (["train", "epochs"], 9, "train"),
        (["train", "optimizer", "name"], "sgd", "train"),
        (["evaluate", "reliability_bins"], 9, "evaluate"),
        (["evaluate", "robustness_images"], 200, "evaluate"),
        (["package", "refused_fraction"], 0.02, "package"),
        (["report", "gallery_images"], 9, "report"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, list) else None,
)
def test_a_parameter_reruns_its_stage_and_what_follows(settled, would_run, keys, value, first):
    with touched(settled.folder, "params.yaml", edited(settled.folder, "params.yaml", *keys, value=value)):
        assert would_run() == from_on(first)


PARTS = {  # of an entry of datasets.yaml: the stages that read it, of the pipeline and of the comparison
    ("about", "title"): ("Other", ["validate", "package", "report"], []),
    ("about", "citation"): ("Other", ["validate", "report"], []),
    ("about", "licence"): ("Other", ["validate", "report"], []),
    ("about", "homepage"): ("https://other.example", ["validate", "report"], []),
    ("classes",): (
        list("abcdefghij"),
        ["validate", "preprocess", "evaluate", "package", "report"],
        ["evaluate@one", "evaluate@two"],
    ),
    ("disputed",): ([3], ["evaluate", "report"], ["evaluate@one", "evaluate@two"]),
    ("prepare",): ("fit", ["preprocess"], []),
    ("source", "mirrors"): (["/elsewhere"], ["download"], []),
    ("expect", "border_intensity"): (130, ["validate"], []),
}


@pytest.mark.parametrize("keys", PARTS, ids=".".join)
def test_a_part_of_the_data_set_s_entry_concerns_the_stages_that_read_it_and_no_others(settled, would_run, keys):
    value, pipeline, comparison = PARTS[keys]
    with touched(
        settled.folder, "datasets.yaml", edited(settled.folder, "datasets.yaml", "digits", *keys, value=value)
    ):
        assert changed() == {*pipeline, *(f"comparison/dvc.yaml:{stage}" for stage in comparison)}


@pytest.mark.parametrize(
    "keys, value",
    [(["mnist", "about", "title"], "Other"), (["mnist", "classes"], []), (["kmnist"], {}), (["words"], {})],
    ids=["title", "classes", "removed", "added"],
)
def test_the_entry_of_another_data_set_reruns_nothing(settled, would_run, keys, value):
    with touched(settled.folder, "datasets.yaml", edited(settled.folder, "datasets.yaml", *keys, value=value)):
        assert changed() == set()


@pytest.mark.parametrize(
    "keys, value, ran",
    [
        (["about", "citation"], "Other", ["validate", "report"]),
        (["classes"], ["zero", *"123456789"], ["validate", "preprocess", "evaluate", "package", "report"]),
        (["disputed"], [3], ["evaluate", "report"]),
    ],
    ids=["citation", "classes", "disputed"],
)
def test_words_about_the_data_really_rerun_what_shows_them_and_train_nothing(settled, would_run, keys, value, ran):
    with touched(
        settled.folder, "datasets.yaml", edited(settled.folder, "datasets.yaml", "digits", *keys, value=value)
    ):
        assert settled.reproduced()[0] == ran
    assert settled.reproduced()[0] == []  # back again: the first run's outputs come from the cache
    assert settled.well("git", "status", "--porcelain") == ""


def test_the_numbers_of_the_data_checks_concern_no_later_stage_but_the_verdict_does(settled, would_run):
    with touched(settled.folder, "metrics/validate.json"):
        assert changed() == {"validate"}  # its output is not what it wrote
    with touched(settled.folder, "data/verdict.json"):
        assert changed() == {"validate", "preprocess"}


@pytest.mark.parametrize(
    "file, stages, comparison",
    [
        ("stages/idx.py", ["download", "validate", "preprocess"], set()),
        ("stages/quiet.py", ["train", "evaluate", "package"], TRAINED | {"evaluate@one", "evaluate@two"}),
        ("stages/corrections.py", ["validate", "preprocess"], set()),
        ("stages/statistics.py", ["validate", "package"], set()),
        ("stages/evaluate/model.py", ["evaluate", "package"], {"evaluate@one", "evaluate@two"}),
        ("stages/preprocess/digit.py", ["preprocess", "package"], set()),
        ("corrections.csv", ["validate", "preprocess"], set()),
        (
            "stages/datasets.py",
            ["download", "validate", "preprocess", "evaluate", "package", "report"],
            {"evaluate@one", "evaluate@two"},
        ),
        ("stages/pages/figures.py", ["validate", "package", "report"], {"summary"}),
    ],
)
def test_code_of_several_stages_concerns_these_alone(settled, would_run, file, stages, comparison):
    with touched(settled.folder, file):
        assert changed() == {*stages, *(f"comparison/dvc.yaml:{stage}" for stage in comparison)}


@pytest.mark.parametrize(
    "file, first",
    [
        ("stages/common/files.py", "download"),
        ("stages/common/new.py", "download"),
        *((f"stages/{stage}/__main__.py", stage) for stage in PIPELINE),
        *((f"stages/{stage}/params.py", stage) for stage in PIPELINE),
        ("stages/validate/page.html.j2", "validate"),
        ("stages/package/page.js", "package"),
        ("stages/package/page.html.j2", "package"),
        ("stages/report/page.html.j2", "report"),
        ("stages/train/new.py", "train"),
        ("stages/train/__pycache__/models.cpython-311.pyc", None),
        ("stages/train/.models.py.swp", None),
        ("params.yaml", None),
        ("tools/fresh.py", None),
        ("tests/conftest.py", None),
        ("README.md", None),
        ("Makefile", None),
        ("comparison/__main__.py", None),
        ("comparison/params.yaml", None),
    ],
)
def test_a_line_more_in_a_file_reruns_the_stage_whose_code_it_is_and_what_follows(settled, would_run, file, first):
    with touched(settled.folder, file):
        assert would_run() == from_on(first)


def test_a_change_of_the_common_code_reruns_every_stage_whatever_those_before_it_write(settled, would_run):
    models = [f"comparison/dvc.yaml:{stage}@{model}" for stage in ("train", "evaluate") for model in ("one", "two")]
    with touched(settled.folder, "stages/common/entry.py"):
        assert changed() == {*PIPELINE, *models, "comparison/dvc.yaml:summary"}


@pytest.mark.parametrize("stage, file", [(stage, file) for stage, files in OUTPUTS.items() for file in files])
def test_a_damaged_output_reruns_the_stage_that_writes_it_and_what_follows(settled, would_run, stage, file):
    with touched(settled.folder, file):
        assert would_run() == from_on(stage)


def test_a_missing_output_reruns_the_stage_that_writes_it_and_what_follows(settled, would_run):
    path = settled.folder / "models/model.tflite"
    path.rename(path.with_name("away"))
    try:
        assert would_run() == from_on("train")
    finally:
        path.with_name("away").rename(path)


def test_every_file_that_the_pipeline_writes_is_in_this_table(settled):
    declared = yaml.safe_load((settled.folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, stage in declared.items():
        entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
        paths = [settled.folder / (entry if isinstance(entry, str) else next(iter(entry))) for entry in entries]
        files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
        assert {file.relative_to(settled.folder).as_posix() for file in files} == {*OUTPUTS[name]}


@pytest.mark.parametrize("stage", PIPELINE)
def test_another_command_reruns_its_stage_and_what_follows(settled, would_run, stage):
    text = edited(settled.folder, "dvc.yaml", "stages", stage, "cmd", value=f"python -B -m stages.{stage}")
    with touched(settled.folder, "dvc.yaml", text):
        assert would_run() == from_on(stage)


@pytest.mark.parametrize("keys", [("stages", "train", "desc"), ("artifacts",), ("plots",)])
def test_words_and_plots_of_dvc_yaml_rerun_nothing(settled, would_run, keys):
    value = "Other words" if keys[-1] == "desc" else {} if keys[-1] == "artifacts" else []
    with touched(settled.folder, "dvc.yaml", edited(settled.folder, "dvc.yaml", *keys, value=value)):
        assert would_run() == []


@pytest.mark.parametrize(
    "file, keys, value, expected",
    [
        ("comparison/params.yaml", ["models", "one", "epochs"], 2, ["train@one", "evaluate@one", "summary"]),
        ("comparison/params.yaml", ["models", "two", "seed"], 9, ["train@two", "evaluate@two", "summary"]),
        ("comparison/params.yaml", ["published", "two"], 0.9, ["summary"]),
        ("comparison/params.yaml", ["settings", "as_published", "epochs"], 99, []),
        ("params.yaml", ["train", "epochs"], 9, []),
        ("params.yaml", ["report", "gallery_images"], 9, []),
        ("params.yaml", ["evaluate", "reliability_bins"], 9, SCORED),
        ("params.yaml", ["preprocess", "seed"], 99, {"preprocess"} | TRAINED | SCORED),
    ],
)
def test_a_parameter_of_the_comparison_reruns_what_uses_it(settled, would_run, file, keys, value, expected):
    with touched(settled.folder, file, edited(settled.folder, file, *keys, value=value)):
        assert sorted(would_run("comparison/dvc.yaml")) == sorted(expected)


@pytest.mark.parametrize(
    "file, expected",
    [
        ("stages/train/models.py", TRAINED | SCORED),
        ("stages/evaluate/scores.py", SCORED),
        ("stages/preprocess/split.py", {"preprocess"} | TRAINED | SCORED),
        ("stages/report/tables.py", set()),
        ("comparison/pictures.py", {"summary"}),
        ("data/prepared/train/images.npy", {"preprocess"} | TRAINED | SCORED),
        ("data/prepared/validation/labels.npy", {"preprocess"} | TRAINED | SCORED),
        ("data/prepared/test/images.npy", {"preprocess"} | TRAINED | SCORED),
        ("data/prepared/dataset.json", {"preprocess"} | TRAINED | SCORED),
        ("comparison/models/two/model.tflite", {"train@two", "evaluate@two", "summary"}),
        ("comparison/seconds/one.json", {"train@one", "evaluate@one", "summary"}),
        ("comparison/metrics/one.json", {"evaluate@one", "summary"}),
        ("comparison/scores/two/mistakes.csv", {"evaluate@two", "summary"}),
        ("comparison/summary.md", {"summary"}),
    ],
)
def test_a_file_of_the_comparison_reruns_what_uses_it(settled, would_run, file, expected):
    with touched(settled.folder, file):
        assert set(would_run("comparison/dvc.yaml")) == expected


@pytest.mark.parametrize(
    "stage, expected", [("train", TRAINED | SCORED), ("evaluate", SCORED), ("summary", {"summary"})]
)
def test_another_command_of_the_comparison_reruns_its_stage_and_what_follows(settled, would_run, stage, expected):
    path, file = ("stages", stage, "cmd"), "comparison/dvc.yaml"
    now = yaml.safe_load((settled.folder / file).read_text(encoding="utf-8"))["stages"][stage]["cmd"]
    text = edited(settled.folder, file, *path, value=now.replace("python ", "python -B "))
    with touched(settled.folder, file, text):
        assert set(would_run(file)) == expected


def test_a_comment_in_a_stage_reruns_that_stage_and_stops_where_its_outputs_are_the_same(settled, would_run):
    with touched(settled.folder, "stages/evaluate/scores.py"):
        assert would_run() == ["evaluate", "report"]
        stages, output = settled.reproduced()
    assert stages == ["evaluate"]
    assert "Stage 'report' didn't change, skipping" in output
    assert settled.reproduced()[0] == []  # back again: the first run's outputs come from the cache
    settled.well("git", "restore", "dvc.lock")


def test_another_parameter_of_the_scores_really_reruns_them_and_the_report(settled, would_run):
    text = edited(settled.folder, "params.yaml", "evaluate", "reliability_bins", value=9)
    with touched(settled.folder, "params.yaml", text):
        assert settled.reproduced()[0] == ["evaluate", "report"]
    assert settled.reproduced()[0] == []
    assert settled.well("git", "status", "--porcelain") == ""


def test_after_all_these_changes_everything_is_as_it_was(settled, would_run):
    assert would_run() == []
    assert would_run("comparison/dvc.yaml") == []
    assert settled.well("git", "status", "--porcelain") == ""
    assert os.environ["HOME"] == settled.environment["HOME"]

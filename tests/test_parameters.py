"""What a mistake in params.yaml or datasets.yaml is answered with, by the stages and by `make check`."""

import errno
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import parse_yaml

from record import documents
from record import parameters as checked
from stages import datasets
from stages.common import parameters
from stages.common.entry import UserError, run
from stages.common.files import found
from stages.download.params import Downloaded
from stages.train.params import Train, model_functions
from tools import check

ROOT = Path(__file__).parent.parent


@pytest.fixture
def mistakes(values, catalog):
    """A function that gives what is told of `values` and `catalog`, which a test may change before."""
    return lambda: checked.mistakes(values, catalog)


def test_the_parameters_of_the_repository_are_sound(mistakes, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert mistakes() == []
    check.main()
    assert capsys.readouterr().out == "check: the parameters are sound\n"


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("train.learning_rate", -1, "params.yaml: train.learning_rate is -1, must be greater than 0"),
        ("train.epochs", 0, "params.yaml: train.epochs is 0, must be greater than 0"),
        (
            "train.augmentation.shift",
            15,
            "params.yaml: train.augmentation.shift is 15, must be less than or equal to 14",
        ),
        (
            "train.learnig_rate",
            1,
            "params.yaml: train.learnig_rate is unknown: misspelt, or not a parameter of this block",
        ),
        ("train.epochs", "3", "params.yaml: train.epochs is '3', which is text: write 3 without quotes"),
        ("train.epochs", "many", "params.yaml: train.epochs is 'many', must be a valid integer"),
        (
            "train.learning_rate",
            yaml.safe_load("5e-3"),
            "params.yaml: train.learning_rate is '5e-3', which is text: write 0.005 without quotes",
        ),
        ("train.epochs", 10**9, "params.yaml: train.epochs is 1000000000, must be less than or equal to 100000"),
        ("train.learning_rate", "nan", "params.yaml: train.learning_rate is 'nan', must be a valid number"),
        (
            "train.optimizer",
            "adam",
            "params.yaml: train.optimizer is 'adam', must be keys and values, such as {key: value}",
        ),
        (
            "train.early_stopping",
            3,
            "params.yaml: train.early_stopping is 3, must be keys and values, such as {key: value}",
        ),
        (
            "train.model_options",
            None,
            "params.yaml: train.model_options is None, must be keys and values, such as {key: value}",
        ),
        (
            "train.init_from",
            {"path": "start.keras", "sha256": "abc", "frozen_layers": 0},
            "params.yaml: train.init_from.sha256 is 'abc', must match the pattern ^[0-9a-f]{64}$",
        ),
        (
            "download.dataset",
            "minst",
            "params.yaml: download.dataset is 'minst', must be an entry of datasets.yaml: "
            + ", ".join(yaml.safe_load((ROOT / "datasets.yaml").read_text(encoding="utf-8"))),
        ),
        (
            "train.augmentation.clean_epochs",
            16,
            "params.yaml: train.augmentation.clean_epochs is 16, must be less than epochs, 16: else it changes nothing",
        ),
        (
            "train.schedule",
            {"name": "step", "every_epochs": 20, "factor": 0.5},
            "params.yaml: train.schedule.every_epochs is 20, must be less than epochs, 16: else it changes nothing",
        ),
        (
            "train.schedule",
            {"name": "reduce_on_plateau", "patience": 16, "factor": 0.5},
            "params.yaml: train.schedule.patience is 16, must be less than epochs, 16: else it changes nothing",
        ),
        (
            "train.model_options",
            {"batch_normalization": "no"},
            "params.yaml: train.model_options.batch_normalization is 'no', must be true or false",
        ),
        (
            "train.model_options",
            {"dropout": "0.3"},
            "params.yaml: train.model_options.dropout is '0.3', must be a number",
        ),
        (
            "train.model_options",
            {"dropout": True},
            "params.yaml: train.model_options.dropout is True, must be a number",
        ),
        ("train.epochs", 2.5, "params.yaml: train.epochs is 2.5, must be a valid integer"),
        ("train.epochs", True, "params.yaml: train.epochs is True, must be a valid integer"),
        ("train.learning_rate", math.nan, "params.yaml: train.learning_rate is nan, must be a finite number"),
        ("train.learning_rate", math.inf, "params.yaml: train.learning_rate is inf, must be a finite number"),
        (
            "preprocess.split_by_writer",
            "yes",
            "params.yaml: preprocess.split_by_writer is 'yes', must be a valid boolean",
        ),
        ("trian", {}, "params.yaml: trian is unknown: misspelt, or no stage's block"),
        (
            "train.model",
            "resnet",
            "params.yaml: train.model is 'resnet', must be a function of stages/train/models.py: "
            + ", ".join(model_functions()),
        ),
    ],
)
def test_a_mistake_gives_one_line_that_names_it(values, mistakes, path, value, line):
    block, key = place(values, path)
    block[key] = value
    assert mistakes() == [line]


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (
            "digits.classes",
            ["a", "b", "a"],
            "digits.classes is ['a', 'b', 'a'], must have each name once, and has 'a' 2",
        ),
        ("mnist.expects", {}, "mnist.expects is unknown: misspelt"),
        ("mnist.class_gap", 0.5, "mnist.class_gap is unknown: misspelt"),  # it belongs to `expect`
        ("mnist.expect.reference.classes", [[0.0] * 17] * 9, "mnist.expect.reference.classes has 9 lists, must have"),
        ("mnist.disputed", [-1], "mnist.disputed.0 is -1, must be greater than or equal to 0"),
        ("kmnist.source.mirror_variable", "", "kmnist.source.mirror_variable is '', must name an environment variable"),
        ("fashion_mnist.about", None, "fashion_mnist.about is None, must be keys and values"),
        ("kmnist", 3, "kmnist is 3, must be keys and values"),
    ],
)
def test_a_mistake_in_the_catalog_is_found_whatever_data_set_is_chosen(catalog, mistakes, path, value, line):
    block, key = place(catalog, path)
    block[key] = value
    [told] = mistakes()
    assert told.startswith(f"datasets.yaml: {line}")


def test_a_name_of_a_data_set_that_dvc_would_misread_is_told(catalog, mistakes):
    catalog[2024] = {}
    rule = "must begin with a letter and have letters, digits, - and _ only"
    assert mistakes() == [f"datasets.yaml: the name 2024 {rule}"]
    catalog["my.data"] = catalog.pop(2024) or catalog["digits"]  # DVC takes the dot for a level
    assert mistakes() == [f"datasets.yaml: the name 'my.data' {rule}"]


@pytest.mark.parametrize("path", ["train.epochs", "train.augmentation.scale", "evaluate"])
def test_what_is_missing_is_named(values, mistakes, path):
    block, key = place(values, path)
    del block[key]
    assert mistakes() == [f"params.yaml: {path} is missing"]


@pytest.mark.parametrize("part", ["about", "classes", "disputed", "source", "expect", "about.title"])
def test_a_missing_part_of_a_data_set_is_named(catalog, mistakes, part):
    block, key = place(catalog, f"kmnist.{part}")
    del block[key]
    assert mistakes() == [f"datasets.yaml: kmnist.{part} is missing"]


def place(values, path):
    """The table and the key in it that the dotted `path` names."""
    *blocks, key = path.split(".")
    for block in blocks:
        values = values[block]
    return values, key


def test_every_mistake_is_told_at_once(values, catalog, mistakes):
    values["train"] |= {"epochs": -3, "seed": -1}
    values["evaluate"]["reliability_bins"] = 1
    del catalog["digits"]["expect"]
    assert len(mistakes()) == 4


@pytest.mark.parametrize("content", ["", "3\n", "- train\n", "train: 3\n"])
def test_a_file_of_another_shape_is_answered_and_never_crashed_upon(tmp_path, monkeypatch, content):
    shutil.copy(ROOT / "datasets.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"params\.yaml"):
        check.main()
    with pytest.raises(UserError, match=r"^params\.yaml"):
        parameters.read("train", Train)


def test_a_file_that_is_not_yaml_is_told_with_its_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("train:\n  epochs: [1\n  seed: 1\n")
    with pytest.raises(UserError, match=rf"^{path} line 3: not valid YAML \(.+\)$"):
        parameters.load(path)


def test_a_key_that_is_there_twice_is_told_with_its_line_and_a_merged_one_may_be(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("train:\n  seed: 1\nreport: {}\ntrain: {}\n")
    with pytest.raises(UserError, match=rf'^{path} line 4: not valid YAML \(found duplicate key "train"\)$'):
        parameters.load(path)
    path.write_text("shared: &shared {seed: 1, epochs: 2}\na: {<<: *shared, seed: 3}\nb: {<<: *shared}\n")
    assert parameters.load(path)["a"] == {"seed": 3, "epochs": 2}


def test_what_dvc_writes_for_an_experiment_is_read_as_it_was_meant(tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    changes = {"learning_rate": 0.00001, "label_smoothing": 1e-3, "epochs": 12, "seed": 1_000}
    apply_overrides(str(path), [f"train.{key}={value}" for key, value in changes.items()])
    assert "1e-05" in path.read_text()
    block = parameters.read("train", Train, path)
    assert {key: getattr(block, key) for key in changes} == changes


DISPUTED = ["0o17", "017", "0020", "1_000", "0b11", "0x_1", "yes", "No", "on", "OFF", "12:30", "1:30:15.5", "1_0.5"]
AGREED = [
    "1e-05",
    "5E3",
    "1e5",
    ".5",
    "~",
    "2024-01-02",
    "'1e-05'",
    "'yes'",
    '"0020"',
    "0",
    "0.5",
    "-1",
    "y",
    "0x1f",
    "a_1",
]


@pytest.mark.parametrize("text", AGREED + DISPUTED)
def test_every_file_is_read_in_the_dialect_of_dvc(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(f"a:\n  b: {text}\n")
    expected = parse_yaml(path.read_text(), str(path))
    read = [parameters.parse(path.read_bytes())] + ([parameters.load(path)] if text in AGREED else [])
    for values in read:
        assert values == expected and type(values["a"]["b"]) is type(expected["a"]["b"])
    assert parameters.parse(documents.dump(expected).encode()) == expected


@pytest.mark.parametrize("text", DISPUTED)
def test_a_value_that_two_readers_of_yaml_read_differently_is_refused_by_name(tmp_path, text):
    path = tmp_path / "params.yaml"
    for content in (f"a:\n  b: {text}\n", f"a:\n  b: &x {text}\nc: *x\n"):
        path.write_text(content)
        with pytest.raises(UserError, match=re.escape(f"{path} line 2: a.b is {text}, which other programs read")):
            parameters.load(path)
    path.write_text(f"a:\n- 1\n- {text}\n")
    with pytest.raises(UserError, match=re.escape(f"a.1 is {text}")):
        parameters.load(path)
    path.write_text(f"{text}: 1\n")
    with pytest.raises(UserError, match=re.escape(f"a key is {text}")):
        parameters.load(path)


def test_a_date_that_does_not_exist_is_told(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("train:\n  epochs: 2024-99-99\n")
    with pytest.raises(UserError, match=rf"^{path}: not valid YAML \(month must be in 1..12"):
        parameters.load(path)


def test_a_file_in_another_encoding_is_told_from_which_byte_on(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("train: {model: cnn}  # Größe\n", encoding="latin-1")
    with pytest.raises(UserError, match=rf"^{path}: not UTF-8 from byte 25 on: save it as UTF-8$"):
        parameters.load(path)


def test_a_missing_file_tells_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="^params.yaml is missing: run from the repository's root$"):
        parameters.load()


# In each, every stage finds a mistake of its own, in a folder that holds nothing else to read.
@pytest.mark.parametrize("stage", checked.STAGES)
def test_a_stage_ends_with_one_line_before_it_reads_anything(tmp_path, values, environment, stage):
    values[stage]["colour"] = "blue"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    ended = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        f"{stage}: params.yaml: {stage}.colour is unknown: misspelt, or not a parameter of this block\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_each_of_several_mistakes_begins_with_the_name_of_the_stage(tmp_path, values, environment):
    values["train"] |= {"optimizer": {"name": "sgd", "weight_decay": 0.02}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    ended = subprocess.run(
        [sys.executable, "-m", "stages.train"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.stderr.splitlines() == [
        "train: params.yaml: train.optimizer.momentum is missing",
        "train: params.yaml: train.optimizer.weight_decay is unknown: misspelt, or not a parameter of this block",
    ]


@pytest.mark.parametrize(
    "module", ["stages.report", "tools.push", "tools.run", "tools.check", "comparison", "benchmarks.pipeline"]
)
def test_a_command_without_arguments_answers_help_and_refuses_the_rest(tmp_path, environment, module):
    for argument, code in (("--help", 0), ("surplus", 2)):
        ended = subprocess.run(
            [sys.executable, "-m", module, argument],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == code, ended.stderr
        assert "usage: " in ended.stdout + ended.stderr and "Traceback" not in ended.stderr
    assert not [*tmp_path.iterdir()]


def test_times_that_cannot_be_written_are_told_in_one_line(tmp_path, values, environment):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    ended = subprocess.run(
        [sys.executable, "-c", "from stages.common.entry import run; run('stage', lambda: None)"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "STAGE_SECONDS": str(tmp_path / "nowhere" / "seconds")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert re.fullmatch(r"stage: .*/nowhere/seconds: No such file or directory\n", ended.stderr)


def test_a_parameter_that_no_stage_uses_is_found(tmp_path):
    folder = tmp_path / "stages"
    shutil.copytree(ROOT / "stages", folder, ignore=shutil.ignore_patterns("__pycache__"))
    assert [checked.unused(stage, folder) for stage in checked.STAGES] == [[]] * len(checked.STAGES)
    schema = folder / "evaluate" / "params.py"
    schema.write_text(schema.read_text() + "    planted: int\n")
    assert checked.unused("evaluate", folder) == ["planted"]


def test_blocks_cannot_be_changed_by_the_code_they_are_handed_to(values):
    settings = parameters.check("train", values["train"], Train)
    with pytest.raises(ValueError, match="frozen"):
        settings.epochs = 3


def test_the_file_is_laid_out_as_dvc_writes_it_so_that_an_experiment_changes_one_line(tmp_path):
    from dvc.utils.hydra import apply_overrides  # what `dvc exp run -S` calls

    copy = tmp_path / "params.yaml"
    copy.write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    apply_overrides(str(copy), ["train.seed=12345"])
    lines = [(ROOT / "params.yaml").read_text(encoding="utf-8").splitlines(), copy.read_text("utf-8").splitlines()]
    assert [after.split()[:2] for before, after in zip(*lines) if before != after] == [["seed:", "12345"]]


@pytest.mark.parametrize("place", ["tmp1a2b3c", "standalone/tmp1a2b3c"])
def test_a_relative_path_means_the_same_file_in_a_temporary_workspace_of_dvc(tmp_path, monkeypatch, place):
    workspace = tmp_path / "clone/.dvc/tmp/exps" / place
    workspace.mkdir(parents=True)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "clone/untracked.keras").touch()
    for folder in (tmp_path / "clone", workspace):
        (folder / "tracked.keras").touch()
        monkeypatch.chdir(folder)
        assert found("../mirror").samefile(tmp_path / "mirror")
        assert found("untracked.keras").samefile(tmp_path / "clone/untracked.keras")
        assert found("tracked.keras").samefile(folder / "tracked.keras")
        assert found(str(tmp_path / "mirror")) == tmp_path / "mirror"
        assert found("~/x") == Path.home() / "x"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "no space left on the disk"),
        (OSError("1013712 requested and 913280 written"), "no space left on the disk"),  # NumPy's
        (MemoryError("Unable to allocate 2 TiB"), "not enough memory: Unable to allocate 2 TiB"),
        (MemoryError(), "not enough memory: close other programs"),
    ],
)
def test_a_full_disk_or_memory_is_told_in_one_line(error, line):
    def fail():
        raise error

    with pytest.raises(SystemExit, match=f"^train: {line}"):
        run("train", fail)


def test_an_interrupted_stage_says_so_in_one_line(capsys):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        run("train", interrupted)
    assert end.value.code == 130 and capsys.readouterr().err == "train: interrupted\n"


def test_a_file_that_is_nested_too_deeply_is_told(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: " + "[" * 5000 + "]" * 5000)
    with pytest.raises(UserError, match=rf"^{path}: not valid YAML \(nested more than 100 levels deep\)$"):
        parameters.load(path)


UNSEEN = [
    "bell\x07",
    "\x1b[31mred",
    "left\u202eright",
    "zero\u200bwidth",
    "two\nlines",
    "tab\t",
    " blank",
    "",
    "x" * 101,
]


@pytest.mark.parametrize("name", UNSEEN)
def test_a_class_name_that_cannot_be_shown_is_refused_by_every_stage_and_by_make_check(
    tmp_path, monkeypatch, catalog, name
):
    catalog["digits"]["classes"][3] = name
    monkeypatch.chdir(tmp_path)
    Path("datasets.yaml").write_text(yaml.safe_dump(catalog, allow_unicode=False), encoding="utf-8")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for look in (lambda: datasets.entry("digits", Downloaded), checked.check):
        with pytest.raises(UserError, match=r"datasets.yaml: digits\.classes\.3 is ") as caught:
            look()
        assert all(line.isprintable() for line in str(caught.value).splitlines())


@pytest.mark.parametrize("name", ["می\u200cخواهم", "ශ්\u200dරී", "👨\u200d👩\u200d👧", "❤️", "שלום", "10 €", "Größe"])
def test_names_in_any_script_may_have_the_joiners_that_it_needs(name):
    datasets.visible(name)


@pytest.mark.parametrize("key", ["title", "licence", "homepage", "citation"])
def test_what_pages_say_about_the_data_can_be_seen(tmp_path, monkeypatch, catalog, key):
    catalog["digits"]["about"][key] = "left\u202eright"
    monkeypatch.chdir(tmp_path)
    Path("datasets.yaml").write_text(yaml.safe_dump(catalog), encoding="utf-8")
    with pytest.raises(UserError, match=rf"digits\.about\.{key} is .*the character U\+202E"):
        datasets.entry("digits", Downloaded)

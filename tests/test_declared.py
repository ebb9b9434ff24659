"""dvc.yaml declares what the stages use: every stage of both pipelines is watched while it runs on the embedded digits,
then runs again where there is nothing but what it declares."""

import json
import shlex
import shutil
import sys

import pytest
import yaml
from watching import Seen, watching

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="opened files are watched with inotify")

PIPELINE = ["download", "validate", "preprocess", "train", "evaluate", "report"]
COMPARISON = ["train@one", "evaluate@one", "summary"]
TIMED = "comparison/seconds/"  # how long a training took is measured, so never the same twice


def declared(here, *files):
    """What each stage of `files` declares, by its name, in the order of the pipelines."""
    return {
        stage["name"]: stage
        for file in files
        for stage in json.loads(here.well(sys.executable, "-m", "tools.declared", file))
    }


def below(path, places):
    return any(path == place or path.startswith(f"{place}/") for place in places)


def remove_outputs(stage, folder):
    """As DVC does before it runs a stage."""
    for path in stage["outputs"]:
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)


def run_in(folder, here, stage):
    """Without bytecode, so that Python opens the module itself and not what it compiled before."""
    here = type(here)(folder, here.environment)
    return here.run(*shlex.split(stage["command"]), PYTHONDONTWRITEBYTECODE="1")


def watch(here, stage) -> Seen:
    def run():
        ended = run_in(here.folder, here, stage)
        assert ended.returncode == 0, ended.stderr

    remove_outputs(stage, here.folder)
    return watching(here.folder, run)


def empty_packages(folder):
    """Files that only mark a folder as a package: nothing in them can change a result."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("__init__.py") if path.stat().st_size == 0}


def violations(stage, seen, harmless):
    """A line for each file that a stage uses and does not declare, or declares and does not use."""
    uses = [*stage["dependencies"], *stage["parameters"]]
    known = [*uses, *stage["outputs"]]
    around = {"."} | {"/".join(path.split("/")[:depth]) for path in known for depth in range(1, path.count("/") + 1)}
    return sorted(
        [f"reads {path} undeclared" for path in seen.read - harmless if not below(path, known)]
        + [f"lists {path} undeclared" for path in seen.listed - around if not below(path, known)]
        + [f"writes {path} undeclared" for path in seen.written if not below(path, stage["outputs"])]
        + [f"declares {path} and never opens it" for path in uses if not any(below(read, [path]) for read in seen.read)]
        + [
            f"declares {path} and never writes it"
            for path in stage["outputs"]
            if not any(below(written, [path]) for written in seen.written)
        ]
    )


@pytest.fixture(scope="module")
def here(clone):
    made = clone()
    made.change(lambda values: values["download"].update(dataset="digits"))
    made.compare("one")
    return made


@pytest.fixture(scope="module")
def stages(here):
    return declared(here, "dvc.yaml", "comparison/dvc.yaml")


@pytest.fixture(scope="module")
def seen(here, stages):
    """What each stage did, run one after the other."""
    return {name: watch(here, stage) for name, stage in stages.items()}


def cut(folder, source, stage, without=None):
    """Write the parameter files with nothing but the keys that `stage` declares, less `without`."""
    for file, keys in stage["parameters"].items():
        whole, part = yaml.safe_load((source / file).read_text(encoding="utf-8")), {}
        for key in keys:
            if key == without:
                continue
            *before, last = key.split(".")
            values, place = whole, part
            for name in before:
                values, place = values[name], place.setdefault(name, {})
            place[last] = values[last]
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(yaml.safe_dump(part, sort_keys=False), encoding="utf-8")


def alone(stage, source, folder):
    """In `folder`, what `stage` declares and nothing else."""
    for path in stage["dependencies"]:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source / path).is_dir():
            shutil.copytree(source / path, target, dirs_exist_ok=True)
        else:
            shutil.copy(source / path, target)
    cut(folder, source, stage)


def contents(stage, folder):
    """Every file that `stage` wrote, times of training apart."""
    targets = [folder / path for path in stage["outputs"]]
    files = [path for target in targets for path in ([target] if target.is_file() else target.rglob("*"))]
    named = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()}
    return {name: content for name, content in named.items() if not name.startswith(TIMED)}


def test_every_stage_is_watched(stages):
    assert list(stages) == PIPELINE + COMPARISON


@pytest.mark.parametrize("name", PIPELINE + COMPARISON)
def test_a_stage_uses_what_it_declares_and_nothing_else(here, stages, seen, name):
    assert violations(stages[name], seen[name], empty_packages(here.folder)) == []


def test_a_file_that_c_code_opens_is_seen(seen):
    assert "models/model.tflite" in seen["evaluate"].read


@pytest.mark.parametrize("name", PIPELINE + COMPARISON)
def test_a_stage_with_nothing_but_what_it_declares_writes_the_same(here, stages, seen, tmp_path, name):
    alone(stages[name], here.folder, tmp_path)
    ended = run_in(tmp_path, here, stages[name])
    assert ended.returncode == 0, ended.stderr
    written = contents(stages[name], tmp_path)
    assert written
    assert written == contents(stages[name], here.folder)


@pytest.mark.parametrize("name", PIPELINE + COMPARISON)
def test_a_stage_cannot_do_without_a_parameter_that_it_declares(here, stages, seen, tmp_path, name):
    alone(stages[name], here.folder, tmp_path)
    keys = [key for declared in stages[name]["parameters"].values() for key in declared]
    assert [key for key in keys if idle(here, stages[name], tmp_path, key)] == []


def idle(here, stage, folder, key):
    """Whether `stage`, alone in `folder`, does the same without the parameter `key`."""
    remove_outputs(stage, folder)
    cut(folder, here.folder, stage, without=key)
    return run_in(folder, here, stage).returncode == 0 and contents(stage, folder) == contents(stage, here.folder)


PLANT_AFTER = '    p = parameters.read("preprocess", Preprocess)\n'


@pytest.fixture
def spoilt(here, seen, tmp_path):
    """A copy in which code is planted in `preprocess`, or a line in its entry of dvc.yaml."""
    folder = tmp_path / "spoilt"
    shutil.copytree(here.folder, folder)
    copy = type(here)(folder, here.environment)

    def plant(code="", dependency=None, output=None, parameter=None):
        main = folder / "stages/preprocess/__main__.py"
        assert PLANT_AFTER in main.read_text(encoding="utf-8")
        main.write_text(main.read_text(encoding="utf-8").replace(PLANT_AFTER, PLANT_AFTER + f"    {code}\n"))

        def change(values):
            entry = values["stages"]["preprocess"]
            for kind, value in {"deps": dependency, "outs": output, "params": parameter}.items():
                entry[kind] += [value] if value else []

        copy.change(change, "dvc.yaml")
        return copy, declared(copy, "dvc.yaml")["preprocess"]

    return plant


PLANTED = {
    'Path("README.md").read_text()': "reads README.md undeclared",
    'np.load("data/predictions/probabilities.npy", "r")': "reads data/predictions/probabilities.npy undeclared",
    'Path(".git/HEAD").read_text()': "reads .git/HEAD undeclared",
    "from stages.evaluate import params": "reads stages/evaluate/params.py undeclared",
    '__import__("os").system("cat LICENSE >/dev/null")': "reads LICENSE undeclared",  # another process
    'list(Path("docs").iterdir())': "lists docs undeclared",
    'Path("metrics/extra.json").write_text("{}")': "writes metrics/extra.json undeclared",
    'Path("metrics/train.json").unlink()': "writes metrics/train.json undeclared",
}


def test_each_kind_of_undeclared_or_idle_file_is_caught(spoilt):
    copy, stage = spoilt(";".join(PLANTED), dependency="stages/report", output="data/nothing.csv")
    caught = violations(stage, watch(copy, stage), empty_packages(copy.folder))
    declared_in_vain = ["declares stages/report and never opens it", "declares data/nothing.csv and never writes it"]
    imported = ["lists stages/evaluate undeclared"]
    assert caught == sorted([*PLANTED.values(), *declared_in_vain, *imported])


@pytest.mark.parametrize(
    "code",
    [
        'p = p.model_copy(update={"seed": parameters.load()["report"]["gallery_images"]})',
        'p = p.model_copy(update={"seed": len(parameters.load().get("train", []))})',
        'p = p.model_copy(update={"seed": int(Path("metrics/train.json").exists())})',
    ],
    ids=["parameter", "optional parameter", "existence of a file"],
)
def test_an_undeclared_parameter_or_a_look_at_an_undeclared_file_is_caught(spoilt, tmp_path, code):
    copy, stage = spoilt(code)
    watch(copy, stage)
    alone(stage, copy.folder, tmp_path / "alone")
    ended = run_in(tmp_path / "alone", copy, stage)
    assert ended.returncode != 0 or contents(stage, tmp_path / "alone") != contents(stage, copy.folder)


def test_a_parameter_declared_in_vain_is_caught(spoilt, tmp_path):
    copy, stage = spoilt(parameter="evaluate")
    alone(stage, copy.folder, tmp_path / "alone")
    assert idle(copy, stage, tmp_path / "alone", "evaluate")
    assert not idle(copy, stage, tmp_path / "alone", "preprocess")

"""dvc.yaml declares what the stages use.

Every stage of both pipelines is watched while it runs on the embedded digits: which files it opens, which values of the
parameter files it reads. Then it runs again in a folder that holds what it declares and nothing else: if it needs any
other file or parameter, it fails there or writes something else.
"""

import hashlib
import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from helpers import recorder
from helpers.watching import Seen, watching
from stages.idx import read_idx

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="opened files are watched with inotify"),
    pytest.mark.xdist_group("declared"),
]

PIPELINE = ["download", "validate", "preprocess", "train", "evaluate", "package", "report"]
COMPARISON = ["train@one", "evaluate@one", "summary"]
ONLY_NAMES = [("summary", "models")]  # it needs the names in this table; DVC cannot declare them without their values
TIMED = "comparison/seconds/"  # how long a training took is measured, so never the same twice


def declared(here, *files):
    """What each stage of `files` declares, by its name, in the order of the pipelines."""
    return {
        stage["name"]: stage
        for file in files
        for stage in json.loads(here.well(sys.executable, "-m", "record.declared", file))
    }


def below(path, places):
    return any(path == place or path.startswith(f"{place}/") for place in places)


def remove_outputs(stage, folder):
    """As DVC does before it runs a stage."""
    for path in stage["outputs"]:
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)


def run_in(folder, here, command):
    """Without bytecode, so that Python opens the module itself and not what it compiled before."""
    ended = type(here)(folder, here.environment).run(*command, PYTHONDONTWRITEBYTECODE="1")
    assert ended.returncode == 0, ended.stderr


def watch(here, stage) -> tuple[Seen, set]:
    """The files that `stage` uses, and the parameters that it reads, as pairs of a file and a key."""
    python, option, *rest = shlex.split(stage["command"])
    assert option == "-m"
    record = Path(here.environment["HOME"]) / "parameters.json"
    command = [python, recorder.__file__, str(record), *rest]
    remove_outputs(stage, here.folder)
    seen = watching(here.folder, lambda: run_in(here.folder, here, command))
    return seen, {tuple(pair) for pair in json.loads(record.read_text(encoding="utf-8"))}


def empty_packages(folder):
    """Files that only mark a folder as a package: nothing in them can change a result."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("__init__.py") if path.stat().st_size == 0}


def violations(stage, seen, folder):
    """A line for each file that a stage uses and does not declare, or declares and does not use."""
    harmless = empty_packages(folder)
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


def at(values, key):
    for name in key.split("."):
        values = values[name]
    return values


def leaves(values, key):
    """The dotted keys, from `key` on, of every value that is no table, or an empty one."""
    if not isinstance(values, dict) or not values:
        return [key]
    return [leaf for name, value in values.items() for leaf in leaves(value, f"{key}.{name}")]


def unread(stage, told, folder):
    """A line for each value that a stage declares, itself or with its table, and does not read."""
    found = []
    for file, keys in stage["parameters"].items():
        values = yaml.safe_load((folder / file).read_text(encoding="utf-8"))
        read = [f"{key}." for known, key in told if known == file]
        for leaf in [
            leaf for key in keys if (stage["name"], key) not in ONLY_NAMES for leaf in leaves(at(values, key), key)
        ]:
            if not any(f"{leaf}.".startswith(key) for key in read):
                found.append(f"declares {file} {leaf} and never reads it")
    return sorted(found)


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


@pytest.fixture(scope="module")
def served(here, stages, seen, tmp_path_factory):
    """A folder in which `download` takes the digits, and who wrote them, from a mirror; what it declares and uses.

    The digits come without a download, so there no code asks how long to wait for a mirror, and how often.
    """
    folder = tmp_path_factory.mktemp("served")
    alone(stages["download"], here.folder, folder)
    mirror = folder / "mirror"
    shutil.copytree(here.folder / "data/raw", mirror, ignore=shutil.ignore_patterns("dataset.json"))
    images = sorted(path.name for path in mirror.iterdir())
    for part in ("train", "t10k"):
        labels = read_idx(mirror / f"{part}-labels-idx1-ubyte", 1)
        rows = "".join(f"{label}\t0\t{number}\t0\n" for number, label in enumerate(labels))
        (mirror / f"{part}.tsv").write_text(rows)
    sums = {path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in mirror.iterdir()}
    source = {"mirrors": ["mirror"], "mirror_variable": "SERVED", "files": {name: sums[name] for name in images}}
    writers = {"mirrors": ["mirror"], "mirror_variable": "WRITERS"}
    source["writers"] = writers | {"files": {name: sums[name] for name in ("train.tsv", "t10k.tsv")}}

    copy = type(here)(folder, here.environment)
    copy.change(lambda values: values["download"].update(dataset="served"))
    copy.change(lambda catalog: catalog.update(served={"source": source}), "datasets.yaml")
    stage = stages["download"] | {"parameters": {"params.yaml": ["download"], "datasets.yaml": ["served.source"]}}
    _, told = watch(copy, stage)
    assert (folder / "data/raw/train-writers.csv").exists()
    return folder, stage, told


def cut(folder, source, stage):
    """Write the parameter files with nothing but the keys that `stage` declares."""
    for file, keys in stage["parameters"].items():
        whole, part = yaml.safe_load((source / file).read_text(encoding="utf-8")), {}
        for key in keys:
            *before, last = key.split(".")
            place = part
            for name in before:
                place = place.setdefault(name, {})
            place[last] = at(whole, key)
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
def test_a_stage_uses_the_files_that_it_declares_and_no_others(here, stages, seen, name):
    assert violations(stages[name], seen[name][0], here.folder) == []


@pytest.mark.parametrize("name", PIPELINE + COMPARISON)
def test_a_stage_reads_every_value_that_it_declares(here, stages, seen, served, name):
    told = seen[name][1]
    if name == "download":
        told = told | {(file, key) for file, key in served[2] if file == "params.yaml"}
    assert unread(stages[name], told, here.folder) == []


def test_every_value_of_a_data_set_that_mirrors_have_is_read(served):
    folder, stage, told = served
    assert unread(stage, told, folder) == []


def test_a_file_that_c_code_opens_is_seen(seen):
    assert "models/model.tflite" in seen["evaluate"][0].read


@pytest.mark.parametrize("name", PIPELINE + COMPARISON)
def test_a_stage_with_nothing_but_what_it_declares_writes_the_same(here, stages, seen, tmp_path, name):
    alone(stages[name], here.folder, tmp_path)
    run_in(tmp_path, here, shlex.split(stages[name]["command"]))
    written = contents(stages[name], tmp_path)
    assert written
    assert written == contents(stages[name], here.folder)


@dataclass
class Place:
    """Where to plant: a stage, its pipeline, the module that begins it and the line there that reads its parameters."""

    stage: str
    pipeline: str
    module: str
    after: str
    change: str  # code that changes what it writes
    parameters: str  # the file that it reads
    own: str  # a table that it declares
    other: str  # one that it does not


PLACES = [
    Place(
        "preprocess",
        "dvc.yaml",
        "stages/preprocess/__main__.py",
        '    p = parameters.read("preprocess", Preprocess)\n',
        'p = p.model_copy(update={"seed": 4})',
        "params.yaml",
        "preprocess",
        "train",
    ),
    Place(
        "summary",
        "comparison/dvc.yaml",
        "comparison/__main__.py",
        '    settings = parameters.load(FOLDER / "params.yaml")\n',
        'settings["published"] = {}',
        "comparison/params.yaml",
        "published",
        "settings",
    ),
]


@pytest.fixture(params=PLACES, ids=lambda place: place.pipeline)
def place(request):
    return request.param


@pytest.fixture
def spoilt(here, seen, tmp_path, place):
    """A copy in which code is planted in a stage of one of the pipelines, or a line in its entry there."""
    folder = tmp_path / "spoilt"
    shutil.copytree(here.folder, folder)
    copy = type(here)(folder, here.environment)

    def plant(code="", dependency=None, output=None, parameter=None):
        main = folder / place.module
        assert place.after in main.read_text(encoding="utf-8")
        main.write_text(main.read_text(encoding="utf-8").replace(place.after, place.after + f"    {code}\n"))

        def change(values):
            entry = values["stages"][place.stage]
            parameter_of_file = parameter and {place.parameters: [parameter]}
            for kind, value in {"deps": dependency, "outs": output, "params": parameter_of_file}.items():
                entry[kind] += [value] if value else []

        copy.change(change, place.pipeline)
        return copy, declared(copy, place.pipeline)[place.stage]

    return plant


PLANTED = {
    'Path("README.md").read_text()': "reads README.md undeclared",
    'open("CONTRIBUTING.md", "r+").read()': "reads CONTRIBUTING.md undeclared",
    '__import__("numpy").load("data/predictions/probabilities.npy", "r")': (
        "reads data/predictions/probabilities.npy undeclared"
    ),
    'Path(".git/HEAD").read_text()': "reads .git/HEAD undeclared",
    "from stages.evaluate import params": "reads stages/evaluate/params.py undeclared",
    '__import__("os").system("cat LICENSE >/dev/null")': "reads LICENSE undeclared",  # another process
    'list(Path("docs").iterdir())': "lists docs undeclared",
    'Path("metrics/extra.json").write_text("{}")': "writes metrics/extra.json undeclared",
    'Path("metrics/train.json").unlink()': "writes metrics/train.json undeclared",
}


def test_each_kind_of_undeclared_or_idle_file_is_caught(spoilt, place):
    copy, stage = spoilt(";".join(PLANTED), dependency="stages/report", output="data/nothing.csv")
    caught = violations(stage, watch(copy, stage)[0], copy.folder)
    declared_in_vain = ["declares stages/report and never opens it", "declares data/nothing.csv and never writes it"]
    imported = ["lists stages/evaluate undeclared"]
    imported += ["reads stages/datasets.py undeclared"] if place.stage == "summary" else []  # the other declares it
    assert caught == sorted([*PLANTED.values(), *declared_in_vain, *imported])


def test_a_parameter_declared_in_vain_and_a_value_that_no_code_reads_are_caught(spoilt, place):
    copy, stage = spoilt(parameter=place.other)
    schema = copy.folder / "stages/preprocess/params.py"
    schema.write_text(schema.read_text(encoding="utf-8").replace("    seed: int", "    idle: int\n    seed: int"))
    copy.change(lambda values: at(values, place.own).update(idle=1), place.parameters)
    values = at(yaml.safe_load((copy.folder / place.parameters).read_text(encoding="utf-8")), place.other)
    idle = [*leaves(values, place.other), f"{place.own}.idle"]
    caught = unread(stage, watch(copy, stage)[1], copy.folder)
    assert caught == sorted(f"declares {place.parameters} {key} and never reads it" for key in idle)


@pytest.mark.parametrize(
    "looks", ["Path('metrics/train.json').exists()", "parameters.load(Path('{file}')).get('{key}')"]
)
def test_an_undeclared_file_or_parameter_that_changes_the_outputs_is_caught(spoilt, tmp_path, place, looks):
    copy, stage = spoilt(f"if {looks.format(file=place.parameters, key=place.other)}: {place.change}")
    command = shlex.split(stage["command"])
    run_in(copy.folder, copy, command)
    alone(stage, copy.folder, tmp_path / "alone")
    run_in(tmp_path / "alone", copy, command)
    assert contents(stage, tmp_path / "alone") != contents(stage, copy.folder)

"""The stages on several processes and on a Ray cluster: the same bytes, also if a machine dies on the way.

Several nodes of this machine, started by Ray's own tool for that, stand for a cluster.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.clone import ROOT
from stages import cluster, ranges
from stages.common.entry import UserError

pytestmark = pytest.mark.xdist_group("ray")
WRITTEN = ("data/raw", "data/verdict.json", "data/prepared", "data/predictions", "metrics", "reports")
DATA_STAGES = ("download", "validate", "preprocess")


@pytest.fixture(scope="module")
def machines():
    """A cluster of three nodes with a core each; `address` is where it answers."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        started.add_node(num_cpus=1)
    yield started
    started.shutdown()


@pytest.fixture
def lost(machines):
    """A function that takes a node from the cluster, at once; afterwards it has three again."""
    taken = []

    def lose():
        taken.append(machines.worker_nodes.copy().pop())
        machines.remove_node(taken[-1], allow_graceful=False)

    yield lose
    for _ in taken:
        machines.add_node(num_cpus=1)


@pytest.fixture(scope="module")
def project(tmp_path_factory, models):
    """A function that gives a folder with the embedded digits, as configured in `params.yaml`, and a model for them."""

    def make(**train):
        folder = tmp_path_factory.mktemp("project")
        for name in ("datasets.yaml", "corrections.csv"):
            shutil.copy(ROOT / name, folder)
        values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        values["download"]["dataset"] = "digits"
        values["train"] |= train
        (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        (folder / "models").mkdir()
        shutil.copy(models / "model.tflite", folder / "models")
        nothing = {"": np.empty((0, 10), np.float32), "_labels": np.empty(0, np.uint8)}
        folds = {part + name: values for part in ("train", "validation") for name, values in nothing.items()}
        np.savez(folder / "models/out_of_fold.npz", **folds)
        return folder

    return make


def start(folder, environment, stage, variables):
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, environment, stage, variables):
    output, error = (process := start(folder, environment, stage, variables)).communicate(timeout=300)
    assert process.returncode == 0, error
    return output


def written(folder):
    files = [
        path
        for name in WRITTEN
        for path in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
    ]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()}


@pytest.fixture(scope="module")
def finished(project, environment):
    """A folder after the data stages and `evaluate` in one process, with all images of a part in one range."""
    folder = project()
    for stage in (*DATA_STAGES, "evaluate"):
        run(folder, environment, stage, {"STAGE_PROCESSES": "1"})
    return folder


@pytest.fixture(scope="module")
def alone(finished):
    """What these stages wrote."""
    return written(finished)


def on(machines, images):
    return {"RAY_ADDRESS": machines.address, "STAGE_RANGE": str(images)}


def test_three_processes_give_the_bytes_of_one(project, environment, alone):
    folder = project()
    for stage in (*DATA_STAGES, "evaluate"):
        run(folder, environment, stage, {"STAGE_PROCESSES": "3", "STAGE_RANGE": "257"})
    assert written(folder) == alone


def test_three_machines_give_the_bytes_of_one(project, environment, alone, machines):
    folder = project()
    for stage in (*DATA_STAGES, "evaluate"):
        run(folder, environment, stage, on(machines, 300))
    assert written(folder) == alone


@pytest.mark.parametrize("stage", ["validate", "preprocess", "evaluate"])
def test_a_machine_that_dies_costs_no_byte(project, environment, finished, alone, machines, lost, stage):
    folder = project()
    for needed in {"validate": ["raw"], "preprocess": ["raw", "verdict.json"], "evaluate": ["prepared"]}[stage]:
        (folder / "data").mkdir(exist_ok=True)
        source = finished / "data" / needed
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / "data" / needed)
    process = start(folder, environment, stage, on(machines, 30))
    wait(lambda: workers("ray::_in_folder") or process.poll() is not None)
    lost()
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    ours = written(folder)
    assert ours == {name: content for name, content in alone.items() if name in ours}
    assert any(
        name.startswith({"validate": "reports", "preprocess": "data/prepared"}.get(stage, "data/pred")) for name in ours
    )


def workers(title):
    """The process numbers of Ray's workers that are called `title`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(title.encode()):
                found.append(int(path.parent.name))
        except OSError:
            pass  # it has ended
    return found


def wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_worker_that_dies_in_training_costs_no_byte(project, environment, machines, finished):
    training = {"model": "tiny", "epochs": 4, "micro_batches": 2, "batch_size": 64}
    folders = project(**training), project(**training)
    for folder in folders:
        shutil.copytree(finished / "data/prepared", folder / "data/prepared")
        shutil.rmtree(folder / "models")
    run(folders[0], environment, "train", {})

    process = start(folders[1], environment, "train", {"RAY_ADDRESS": machines.address})
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            os.kill(workers("ray::RayTrainWorker")[-1], signal.SIGKILL)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    for name in ("models/model.tflite", "models/model.keras", "metrics/train.json", "metrics/history.csv"):
        assert (folders[1] / name).read_bytes() == (folders[0] / name).read_bytes()


BIG = """
import os
os.environ["RAY_ADDRESS"] = {address!r}
from stages import ranges
from stages.common.entry import run
def main():
    for total in ranges.in_order(big.megabytes, ((number,) for number in range(8)), 8, "test"):
        print(len(total), total[0])
import big
run("test", main)
"""


def test_a_full_object_store_is_no_end(tmp_path, environment):
    """Eight results of 60 MB, of which four wait, in a store of 80 MB."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    small = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 80 * 2**20})
    try:
        (tmp_path / "big.py").write_text(
            "import numpy as np\ndef megabytes(number):\n    return np.full(60_000_000, number, np.uint8)\n"
        )
        (tmp_path / "main.py").write_text(BIG.format(address=small.address))
        ended = subprocess.run(
            [sys.executable, "main.py"],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=200,
        )
    finally:
        small.shutdown()
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [f"60000000 {number}" for number in range(8)]


def test_a_mistake_found_on_another_machine_is_one_line(project, environment, machines, finished):
    folder = project()
    shutil.copytree(finished / "data/raw", folder / "data/raw")
    (folder / "data/raw/t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x05")
    process = start(folder, environment, "validate", on(machines, 300))
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1
    assert len(error.splitlines()) == 1 and "cut short" in error


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("localhost:1", "refused"),
        ("nonsense", "must be host:port, auto or local"),
        ("localhost:70000", "must be host:port, auto or local"),
        ("ray://localhost:10001", "must be host:port, auto or local"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_one_line(monkeypatch, address, reason):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=rf"RAY_ADDRESS is '{address}', and no Ray cluster can be .*{reason}") as caught:
        list(ranges.in_order(max, [(1, 2), (3, 4)], 2, "test"))
    assert len(str(caught.value).splitlines()) == 1


def test_another_service_at_the_address_is_told(monkeypatch):
    pytest.importorskip("ray")
    with socket.create_server(("localhost", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(1000)

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("RAY_ADDRESS", f"localhost:{server.getsockname()[1]}")
        with pytest.raises(UserError, match="what answers is not Ray"):
            cluster.connect()


def test_without_ray_it_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="pip install -r requirements-cluster.txt"):
        cluster.connect()


def test_nothing_imports_ray_unless_a_cluster_is_asked_for(project, environment):
    folder = project()
    code = (
        "import runpy, sys; runpy.run_module('stages.download', run_name='__main__'); assert 'ray' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment | {"PYTHONPATH": str(ROOT)})
    assert ended.returncode == 0


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_number_of_processes_that_is_none_is_told(monkeypatch, value):
    monkeypatch.setenv("STAGE_PROCESSES", value)
    with pytest.raises(UserError, match=f"STAGE_PROCESSES is '{value}', must be a whole number from 1"):
        cluster.cores()


def test_the_ranges_cover_every_image_once(monkeypatch):
    monkeypatch.setenv("STAGE_RANGE", "30")
    assert ranges.ranges(65) == [(0, 30), (30, 60), (60, 65)]
    assert ranges.ranges(0) == []


def test_what_a_range_raises_is_raised_and_a_killed_process_is_told(monkeypatch):
    monkeypatch.setenv("STAGE_PROCESSES", "2")
    with pytest.raises(json.JSONDecodeError):
        list(ranges.in_order(json.loads, [("1",), ("{",)], 2, "test"))
    with pytest.raises(UserError, match="a process was killed"):
        list(ranges.in_order(os._exit, [(9,), (9,)], 2, "test"))


SLEEPING = """
import os, time
from stages import ranges
from stages.common.entry import run
def main():
    print(*ranges.in_order(time.sleep, [(seconds,) for seconds in (0, 0, 3, 3)], 4, "test"), flush=True)
if __name__ == "__main__":
    run("test", main)
"""


@pytest.fixture
def sleeping(tmp_path, environment):
    """A stage with two processes that have begun to work; its process group is its own."""
    (tmp_path / "main.py").write_text(SLEEPING)
    process = subprocess.Popen(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "STAGE_PROCESSES": "2"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait(lambda: len(children(process.pid)) >= 2)
    yield process
    process.kill()


def children(parent):
    """The processes that the process number `parent` started to compute with, also if it is dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            command = (path.parent / "cmdline").read_bytes()
            if os.getpgid(int(path.parent.name)) == parent and b"spawn_main" in command:
                found.append(int(path.parent.name))
        except OSError:
            pass  # it has ended
    return found


def test_ctrl_c_is_one_line_with_several_processes_too(sleeping):
    os.killpg(sleeping.pid, signal.SIGINT)
    _, error = sleeping.communicate(timeout=60)
    assert (sleeping.returncode, error) == (130, "test: interrupted\n")
    assert not children(sleeping.pid)


def test_processes_end_with_a_stage_that_was_killed(sleeping):
    sleeping.kill()
    wait(lambda: not children(sleeping.pid), seconds=10)

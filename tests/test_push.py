"""`make push`, and what a colleague gets from the remote: two clones and a folder between them."""

import json
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from helpers.clone import NOWHERE, Clone

pytestmark = pytest.mark.xdist_group("settled")
NUMBERS = ["metrics/evaluate.json", "metrics/reliability.csv", "dvc.lock"]


def cloned(origin, folder, environment):
    origin.well("git", "clone", "--quiet", str(origin.folder), str(folder))
    return Clone(folder, environment)


def other_parameters(values):
    values["evaluate"]["reliability_bins"] = 9
    values["report"]["gallery_images"] = 20


def push(clone, code=0):
    ended = clone.python("-m", "tools.push")
    assert ended.returncode == code, ended.stdout + ended.stderr
    lines = (ended.stdout + ended.stderr).splitlines()
    assert all(line.startswith(("push: ", "  ")) for line in lines), lines
    return lines


def contents(clone):
    return {path: (clone.folder / path).read_bytes() for path in NUMBERS}


@pytest.fixture(scope="module")
def shared(settled, environment, tmp_path_factory):
    """A project that has run with other parameters too and pushed it all, and the numbers of that other run."""
    made = cloned(settled, tmp_path_factory.mktemp("shared") / "project", environment)
    shutil.copytree(settled.folder / ".dvc/cache", made.folder / ".dvc/cache")
    made.change(other_parameters)
    made.dvc("repro")
    other = contents(made)
    made.well("git", "restore", ".")
    made.dvc("checkout", "dvc.yaml")
    made.dvc("remote", "add", "--default", "shared", str(made.folder.parent / "remote"))

    (line,) = push(made)  # the configuration that names the remote is in no commit yet
    found = sum(path.is_file() for path in (made.folder.parent / "remote/files").rglob("*"))
    runs = sum(path.is_file() for path in (made.folder.parent / "remote/runs").rglob("*"))
    assert line == f"push: {found} new files and the records of {runs} runs uploaded to the remote shared"
    made.commit()
    return made, other


def test_a_colleague_pulls_and_nothing_runs(shared, environment, tmp_path):
    colleague = cloned(shared[0], tmp_path / "colleague", environment)
    colleague.dvc("pull")
    assert colleague.dvc("status") == "Data and pipelines are up to date.\n"
    assert colleague.reproduced()[0] == []
    assert (colleague.folder / "reports/index.html").exists()
    assert colleague.well("git", "status", "--porcelain") == ""


def test_a_colleague_gets_a_run_with_other_parameters_without_running_it(shared, environment, tmp_path):
    colleague = cloned(shared[0], tmp_path / "colleague", environment)
    colleague.change(other_parameters)
    record = tmp_path / "stages.jsonl"
    output = colleague.dvc("repro", "--pull", STAGE_SECONDS=str(record))
    assert not record.exists(), [json.loads(line)["stage"] for line in record.read_text().splitlines()]
    assert output.count("is cached - skipping run") == 2  # evaluate and report
    assert contents(colleague) == shared[1]


def test_what_is_there_is_not_uploaded_again(shared):
    (line,) = push(shared[0])
    assert line.startswith("push: 0 new files and the records of ")


def test_outputs_that_are_nowhere_are_named(shared, environment, tmp_path):
    empty = cloned(shared[0], tmp_path / "empty", environment)
    empty.dvc("remote", "add", "--default", "other", str(tmp_path / "other"))
    first, second = push(empty)
    assert first == "push: 0 new files and the records of 0 runs uploaded to the remote other"
    assert second.startswith("push: not in this cache, so not uploaded: comparison/models/one, comparison/models/two, ")


def test_what_only_the_committed_lock_names_is_told(shared, environment, tmp_path):
    origin, project = shared[0], tmp_path / "runner"
    runner = cloned(origin, project, environment)
    runner.dvc("remote", "add", "--default", "other", str(tmp_path / "other"))
    runner.change(other_parameters)
    shutil.copytree(origin.folder / ".dvc/cache", project / ".dvc/cache")
    runner.dvc("repro", "dvc.yaml")
    assert not any("last commit" in line for line in push(runner))  # the cache has both, and so has the remote now

    lock = runner.well("git", "show", "HEAD:dvc.lock")
    page = lock.split("path: reports/index.html")[1].split()[3]  # its checksum, in the committed lock alone
    for place in (project / ".dvc/cache", tmp_path / "other"):
        (place / "files/md5" / page[:2] / page[2:]).unlink()
    told = [line for line in push(runner) if "last commit" in line]
    assert told and told[0].startswith("push: neither this cache nor the remote has these outputs of the last commit")
    assert ": reports/index.html. Another machine ran it" in told[0]


def test_without_a_remote_it_says_how_to_set_one_up(settled):
    first, *commands = push(settled)
    assert first.startswith("push: no default remote is set up, so nothing was uploaded")
    assert commands[0] == "  dvc remote add -d shared URL"
    assert len(commands) == 2


@pytest.mark.parametrize("url, reason", [("FILE/remote", "Not a directory"), (NOWHERE, "Cannot connect to host")])
def test_a_remote_out_of_reach_is_one_line(shared, tmp_path, url, reason):
    (tmp_path / "file").touch()
    made, _ = shared
    made.dvc("remote", "add", "--local", "--default", "broken", url.replace("FILE", str(tmp_path / "file")))
    try:
        (line,) = push(made, code=1)
    finally:
        (made.folder / ".dvc/config.local").unlink()
    assert line.startswith("push: the upload failed: ")
    assert reason in line


def test_a_remote_that_cannot_hold_runs_gets_the_files(shared, tmp_path):
    class Store(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200 if (tmp_path / self.path[1:]).is_file() else 404)
            self.end_headers()

        def do_POST(self):
            path = tmp_path / self.path[1:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chunked(self.rfile))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    made, _ = shared
    with ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        made.dvc("remote", "add", "--local", "--default", "web", f"http://127.0.0.1:{server.server_port}")
        try:
            first, second = push(made)
        finally:
            (made.folder / ".dvc/config.local").unlink()
            server.shutdown()
    found = sum(path.is_file() for path in tmp_path.rglob("*"))
    assert first == f"push: {found} new files uploaded to the remote web"
    assert second.startswith("push: a remote of this kind holds no records of runs")


def chunked(stream):
    """The body of a request with `Transfer-Encoding: chunked`."""
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body

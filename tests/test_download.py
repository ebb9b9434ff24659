"""The download stage against a real local HTTP server that misbehaves in every way mirrors do."""

import functools
import gzip
import hashlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from stages.common.entry import UserError
from stages.common.parameters import check, load
from stages.download import __main__ as stage
from stages.download import contents as arrived_contents
from stages.download import mirrors, threads, transfers
from stages.download import writers as writers_of
from stages.download.addresses import address, masked, unspoken
from stages.download.contents import LARGEST_FILE_BYTES, MirrorError, verified
from stages.download.mirrors import Limits, collect
from stages.download.params import IDX_FILES, Download, Source
from stages.download.writers import write_writers
from stages.idx import read_idx, write_idx

ROOT = Path(__file__).parent.parent
LABELS = "train-labels-idx1-ubyte"
WRITERS = ("writers-train.tsv", "writers-test.tsv")


def sha256(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


@functools.cache
def tiny_contents():
    """Six training and four test images of 3x3 pixels as IDX, with QMNIST-like label tables."""
    folder = Path(tempfile.mkdtemp())
    contents = {}
    for part, count in (("train", 6), ("t10k", 4)):
        for kind, array in (
            ("images-idx3", np.arange(count * 9, dtype=np.uint8).reshape(count, 3, 3)),
            ("labels-idx1", np.arange(count, dtype=np.uint8) % 2),
        ):
            write_idx(folder / "idx", array)
            contents[f"{part}-{kind}-ubyte"] = (folder / "idx").read_bytes()
    # The second table goes on beyond the images, as QMNIST's does.
    for name, count in zip(WRITERS, (6, 5), strict=True):
        contents[name] = "".join(f"{i % 2}\t{i % 3}\t{100 + i}\t0\n" for i in range(count)).encode()
    return contents


class Mirror:
    """A server of `.gz` files at `url`; `faults[name]` is a list of what goes wrong, one item a request."""

    def __init__(self):
        self.files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in tiny_contents().items()}
        self.faults, self.requests, self.stop = {}, [], threading.Event()
        self.asked, self.users = [], []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def fail(self, name, *faults):
        self.faults[f"{name}.gz"] = list(faults)

    def answer(self, request):
        self.asked.append(request.path)
        self.users.append(request.headers.get("Authorization"))
        name = request.path.split("?")[0].strip("/")
        self.requests.append(name.removesuffix(".gz"))
        faults = self.faults.get(name)
        fault = (faults.pop(0) if len(faults) > 1 else faults[0]) if faults else None
        if isinstance(fault, int) or name not in self.files:
            return request.send_error(fault or 404)
        body = fault if isinstance(fault, bytes) else self.files[name]
        if fault == "silent":
            self.stop.wait(5)
            return None
        request.send_response(200)
        if fault not in ("truncate without a length", "endless", "trickle"):
            request.send_header("Content-Length", str(len(body) if fault != "announce too much" else 10**12))
        if fault == "labelled gzip":
            request.send_header("Content-Encoding", "gzip")
        request.end_headers()
        while fault in ("endless", "trickle") and not self.stop.wait(0.02 if fault == "trickle" else 0):
            with suppress(OSError):
                request.wfile.write(bytes(8))
                continue
            return None  # the other side has closed the connection
        half = body[: len(body) // 2]
        request.wfile.write(half if fault in ("truncate", "truncate without a length", "stall") else body)
        request.wfile.flush()
        if fault == "stall":
            self.stop.wait(5)
        return None

    def close(self):
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def start_mirror():
    started = []

    def start():
        started.append(Mirror())
        return started[-1]

    yield start
    for mirror in started:
        mirror.close()


@pytest.fixture
def dead_url():
    """An address that refuses connections: a port that is bound and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


@pytest.fixture(autouse=True)
def quick_and_alone(monkeypatch):
    monkeypatch.setattr(mirrors, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(transfers, "HTTP_BLOCK_BYTES", 8)
    for variable in ("TINY_MIRROR", "TINY_WRITERS_MIRROR", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function that writes params.yaml and datasets.yaml with a data set `tiny` into a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def write(*urls, writers=None, dataset="tiny", files=None):
        contents = tiny_contents()
        source = {
            "mirrors": list(urls),
            "mirror_variable": "TINY_MIRROR",
            "files": files or {name: sha256(contents[name]) for name in IDX_FILES},
        }
        if writers is not None:
            source["writers"] = {
                "mirrors": writers,
                "mirror_variable": "TINY_WRITERS_MIRROR",
                "files": {name: sha256(contents[name]) for name in WRITERS},
            }
        catalog = {"tiny": {"source": source}, "digits": load(ROOT / "datasets.yaml")["digits"]}
        block = {"dataset": dataset, "timeout_seconds": 2, "attempts": 2}
        Path("params.yaml").write_text(yaml.safe_dump({"download": block}))
        Path("datasets.yaml").write_text(yaml.safe_dump(catalog, sort_keys=False))
        return Path("data/raw")

    return write


def local_folder(folder, compressed=True):
    folder.mkdir()
    for name, content in tiny_contents().items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def get_labels(tmp_path, *urls, timeout_seconds=1.0, attempts=3, largest=LARGEST_FILE_BYTES):
    files = {LABELS: sha256(tiny_contents()[LABELS])}
    folder = tmp_path / "arrived"
    collect(files, list(urls), tmp_path / "kept", folder, Limits(timeout_seconds, attempts, largest))
    assert [path.name for path in folder.iterdir()] == [LABELS]
    return (folder / LABELS).read_bytes()


def failure(tmp_path, *urls, **patience):
    with pytest.raises(MirrorError) as caught:
        get_labels(tmp_path, *urls, **patience)
    assert "\n" not in str(caught.value)
    assert not [path for name in ("arrived", "kept") for path in (tmp_path / name).glob("*")]
    return str(caught.value)


# What a mirror can do wrong


def test_a_server_error_is_tried_again_and_then_the_file_arrives(tmp_path, start_mirror, capsys):
    mirror = start_mirror()
    mirror.fail(LABELS, 500, 503, None)
    assert get_labels(tmp_path, mirror.url) == tiny_contents()[LABELS]
    assert len(mirror.requests) == 3
    assert "HTTP 500 Internal Server Error; trying again in 0.01 s" in capsys.readouterr().err


def test_a_server_error_that_stays_is_named_with_the_number_of_tries(tmp_path, start_mirror):
    mirror = start_mirror()
    mirror.fail(LABELS, 500)
    assert "HTTP 500 Internal Server Error, 3 times" in failure(tmp_path, mirror.url)


def test_a_missing_file_is_not_tried_again(tmp_path, start_mirror):
    mirror = start_mirror()
    mirror.fail(LABELS, 404)
    assert f"{mirror.url}{LABELS}.gz: HTTP 404 Not Found" in failure(tmp_path, mirror.url)
    assert len(mirror.requests) == 1


@pytest.mark.parametrize("fault", ["truncate", "truncate without a length"])
def test_a_transfer_that_breaks_off_starts_the_file_over(tmp_path, start_mirror, fault):
    mirror = start_mirror()
    mirror.fail(LABELS, fault, None)
    assert get_labels(tmp_path, mirror.url) == tiny_contents()[LABELS]


@pytest.mark.parametrize("fault", ["truncate", "truncate without a length"])
def test_a_file_cut_short_is_refused(tmp_path, start_mirror, fault):
    mirror = start_mirror()
    mirror.fail(LABELS, fault)
    assert "cut short after" in failure(tmp_path, mirror.url)


def test_a_stall_in_mid_file_is_noticed_and_tried_again(tmp_path, start_mirror):
    mirror = start_mirror()
    mirror.fail(LABELS, "stall", None)
    assert get_labels(tmp_path, mirror.url, timeout_seconds=0.5) == tiny_contents()[LABELS]


def test_a_stall_that_stays_says_after_how_many_bytes(tmp_path, start_mirror):
    mirror = start_mirror()
    mirror.fail(LABELS, "stall")
    assert "(0.5 s without a byte), 2 times" in failure(tmp_path, mirror.url, timeout_seconds=0.5, attempts=2)


def test_a_server_that_never_answers_is_left_after_one_timeout(tmp_path, start_mirror):
    mirror = start_mirror()
    mirror.fail(LABELS, "silent")
    assert "no answer within 0.3 s" in failure(tmp_path, mirror.url, timeout_seconds=0.3)
    assert len(mirror.requests) == 1


def test_a_name_look_up_that_hangs_is_left_after_one_timeout(tmp_path, monkeypatch):
    asked, released, answered = [], threading.Event(), threading.Event()

    def hangs(*arguments, **_):
        asked.append(arguments)
        released.wait(30)
        answered.set()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    assert "no answer within 0.2 s" in failure(tmp_path, "http://mirror.invalid/", timeout_seconds=0.2)
    assert len(asked) == 1 and not answered.is_set()
    released.set()


def test_an_unknown_host_is_not_tried_again(tmp_path, monkeypatch):
    asked = []

    def unknown(*arguments, **_):
        asked.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "host name not found" in failure(tmp_path, "http://mirror.invalid/")
    assert len(asked) == 1


def test_a_refused_connection_is_not_tried_again(tmp_path, dead_url, capsys):
    assert failure(tmp_path, dead_url).endswith("refused")
    assert "trying again" not in capsys.readouterr().err


def test_a_web_page_in_place_of_the_file_is_named_as_such(tmp_path, start_mirror):
    mirror = start_mirror()
    mirror.fail(LABELS, b"\n<!DOCTYPE html><html>Please sign in</html>")
    assert "a web page (HTML), not the data" in failure(tmp_path, mirror.url)


def test_damaged_gzip_is_named_as_such(tmp_path, start_mirror):
    mirror = start_mirror()
    whole = mirror.files[f"{LABELS}.gz"]
    mirror.fail(LABELS, whole[:-8] + bytes(8))
    assert "damaged gzip" in failure(tmp_path, mirror.url)


def test_the_wrong_file_makes_the_next_mirror_be_used(tmp_path, start_mirror, capsys):
    wrong, right = start_mirror(), start_mirror()
    wrong.fail(LABELS, gzip.compress(b"something else"))
    assert get_labels(tmp_path, wrong.url, right.url) == tiny_contents()[LABELS]
    assert "gave up" in (said := capsys.readouterr().err) and "wrong content (sha256" in said


def test_a_gz_file_that_the_server_labels_as_compressed_on_the_way_arrives_as_it_is(tmp_path, start_mirror):
    mirror = start_mirror()
    mirror.fail(LABELS, "labelled gzip")
    assert get_labels(tmp_path, mirror.url) == tiny_contents()[LABELS]
    assert (tmp_path / "kept" / f"{LABELS}.gz").read_bytes() == mirror.files[f"{LABELS}.gz"]


def test_a_mirror_that_sends_too_slowly_is_left_for_the_next(tmp_path, start_mirror, capsys):
    slow, right = start_mirror(), start_mirror()
    slow.fail(LABELS, "trickle")
    assert get_labels(tmp_path, slow.url, right.url, timeout_seconds=0.5) == tiny_contents()[LABELS]
    assert len(slow.requests) == 1
    assert "too slow: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    ["http://[", "http://host:port/", "nosuchscheme://host/", "http://user:pass/word@host/"],
)
def test_an_address_that_is_none_is_told_in_one_line(tmp_path, url):
    assert "not a valid URL, or its scheme is unknown" in failure(tmp_path, url)


def test_every_mirror_is_named_with_its_own_reason(tmp_path, start_mirror, dead_url):
    missing = start_mirror()
    missing.fail(LABELS, 404)
    said = failure(tmp_path, dead_url, missing.url, str(tmp_path / "nowhere"))
    assert [dead_url in said, missing.url in said, "nowhere" in said] == [True] * 3
    assert ["refused" in said, "HTTP 404" in said, "no such folder" in said] == [True] * 3


def test_a_mirror_given_up_for_one_file_is_not_asked_for_the_others(tmp_path, start_mirror, monkeypatch):
    monkeypatch.setattr(threads, "THREADS", 1)
    files = {name: sha256(tiny_contents()[name]) for name in IDX_FILES}
    broken, right = start_mirror(), start_mirror()
    broken.fail(IDX_FILES[1], 404)
    collect(files, [broken.url, right.url], tmp_path / "kept", tmp_path, Limits(1.0, 1, LARGEST_FILE_BYTES))
    assert broken.requests == list(IDX_FILES[:2])
    assert right.requests == list(IDX_FILES[1:])


def test_the_files_of_a_mirror_arrive_side_by_side(tmp_path, start_mirror):
    """A server that answers nobody before it has been asked for all four."""
    mirror = start_mirror()
    asked, answer = threading.Barrier(len(IDX_FILES)), mirror.answer
    mirror.answer = lambda request: (asked.wait(5), answer(request))
    files = {name: sha256(tiny_contents()[name]) for name in IDX_FILES}
    collect(files, [mirror.url], tmp_path / "kept", tmp_path / "arrived", Limits(2.0, 1, LARGEST_FILE_BYTES))
    assert all((tmp_path / "arrived" / name).read_bytes() == tiny_contents()[name] for name in IDX_FILES)


def test_what_several_files_failed_for_is_told_once_for_each_mirror(tmp_path, start_mirror, dead_url):
    files = {name: sha256(tiny_contents()[name]) for name in IDX_FILES}
    with pytest.raises(MirrorError) as caught:
        collect(files, [dead_url, str(tmp_path / "nowhere")], tmp_path, tmp_path, Limits(1.0, 1, LARGEST_FILE_BYTES))
    assert str(caught.value).count(dead_url) == str(caught.value).count("nowhere") == 1


# No more than a file may have


@pytest.mark.parametrize("fault", ["endless", "announce too much"])
def test_a_transfer_ends_with_the_first_byte_too_many(tmp_path, start_mirror, fault):
    mirror = start_mirror()
    mirror.fail(LABELS, fault)
    said = failure(tmp_path, mirror.url, largest=1000)
    assert said.endswith(f"{LABELS}.gz: too large: more than 1,000 bytes compressed (source.largest_file_bytes)")
    assert len(mirror.requests) == 1


def test_decompression_ends_with_the_first_block_too_many(tmp_path, start_mirror, monkeypatch):
    monkeypatch.setattr(arrived_contents, "BLOCK_BYTES", 100)
    mirror = start_mirror()
    mirror.fail(LABELS, gzip.compress(bytes(10**6)))
    assert "too large: more than 2,000 bytes decompressed" in failure(tmp_path, mirror.url, largest=2000)


@pytest.mark.parametrize(("compressed", "state"), [(True, "compressed"), (False, "decompressed")])
def test_a_file_of_a_folder_may_not_be_larger_either(tmp_path, compressed, state):
    folder = local_folder(tmp_path / "mine", compressed)
    assert f"too large: more than 10 bytes {state}" in failure(tmp_path, str(folder), largest=10)


def test_the_entry_says_how_large_a_file_may_be(project, start_mirror):
    raw = project(start_mirror().url)
    catalog = load(Path("datasets.yaml"))
    with pytest.raises(UserError, match="largest_file_bytes is 0, must be greater than or equal to 1"):
        check("tiny.source", catalog["tiny"]["source"] | {"largest_file_bytes": 0}, Source)
    catalog["tiny"]["source"]["largest_file_bytes"] = 5
    Path("datasets.yaml").write_text(yaml.safe_dump(catalog))
    with pytest.raises(UserError, match="too large: more than 5 bytes compressed"):
        stage.main()
    assert not raw.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
@pytest.mark.parametrize("url", [True, False])
def test_a_full_disk_is_one_line_and_is_not_tried_again(project, start_mirror, tmp_path, url):
    """Every block is written to /dev/full."""
    mirror = start_mirror()
    project(mirror.url if url else str(local_folder(tmp_path / "mine")))
    program = (
        "from pathlib import Path\n"
        "as_usual = Path.open\n"
        "full = lambda path, mode='r', **more: as_usual(Path('/dev/full') if mode == 'wb' else path, mode, **more)\n"
        "Path.open = full\n"
        "from stages.download.__main__ import main; from stages.common.entry import run; run('download', main)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    said = [line for line in ended.stderr.splitlines() if not line.startswith("download: http")]
    assert ended.returncode == 1 and len(said) == 1
    assert said[0].startswith("download: no space left on the disk: free some and run again")
    assert len(mirror.requests) == (len(set(mirror.requests)) if url else 0)
    assert not Path("data/raw").exists() and not Path("data/.raw.new").exists()


def test_a_file_is_never_in_memory(tmp_path):
    """64 MiB, compressed and plain, arrive in a process whose memory grows by less than 16."""
    content = bytes(2**26)
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "packed.gz").write_bytes(gzip.compress(content, 1))
    (folder / "plain").write_bytes(content)
    program = (
        "import sys, resource; from pathlib import Path\n"
        "from stages.download.mirrors import Limits, collect\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"files = {{name: {sha256(content)!r} for name in ('packed', 'plain')}}\n"
        "mirror, target = sys.argv[1:]\n"
        "collect(files, [mirror], Path('kept'), Path(target), Limits(5, 1, 2**30))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    for number, mirror in enumerate((str(folder), folder.as_uri())):
        (folder / "plain.gz").write_bytes((folder / "packed.gz").read_bytes())  # what an address is asked for
        ended = subprocess.run(
            [sys.executable, "-c", program, mirror, str(tmp_path / f"target{number}")],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(ended.stdout) < 16 * 1024
        assert (tmp_path / f"target{number}/packed").read_bytes() == content


# Object stores and other schemes


@pytest.fixture
def store():
    """A `memory://` folder with the files of a mirror, as an object store has them."""
    filesystem = MemoryFileSystem()
    for name, content in tiny_contents().items():
        filesystem.pipe(f"/bucket/tiny/{name}.gz", gzip.compress(content, mtime=0))
    yield "memory://bucket/tiny"
    filesystem.rm("/bucket", recursive=True)


@pytest.fixture
def faulty_reads(monkeypatch):
    """A list: what each next read from `memory://` does instead, an exception to raise or bytes to return."""
    faults, read = [], MemoryFile.read

    def faulty(self, *arguments):
        if not faults:
            return read(self, *arguments)
        if isinstance(fault := faults.pop(0), Exception):
            raise fault
        return fault

    monkeypatch.setattr(MemoryFile, "read", faulty, raising=False)
    return faults


def test_a_mirror_may_be_an_object_store(tmp_path, store):
    assert get_labels(tmp_path, store) == tiny_contents()[LABELS]
    assert (tmp_path / "kept" / f"{LABELS}.gz").exists()
    assert mirrors.offering(["memory://bucket/empty", store], LABELS, 5) == [store]


def test_a_mirror_may_be_a_file_url(tmp_path):
    folder = local_folder(tmp_path / "mine")
    assert get_labels(tmp_path, folder.as_uri()) == tiny_contents()[LABELS]


def test_a_file_that_an_object_store_lacks_is_told_in_one_line(tmp_path, store):
    assert failure(tmp_path, f"{store}/else").endswith("no such file")


@pytest.mark.parametrize(
    ("faults", "said"),
    [([ConnectionResetError(104, "x")], "connection reset by peer"), ([b"half", b""], "cut short after 4 bytes")],
)
def test_a_read_from_an_object_store_that_breaks_off_is_tried_again(
    tmp_path, store, faulty_reads, capsys, faults, said
):
    faulty_reads += faults
    assert get_labels(tmp_path, store) == tiny_contents()[LABELS]
    assert f"{said}; trying again" in capsys.readouterr().err


def test_an_object_store_that_refuses_is_left_without_its_words(tmp_path, store, faulty_reads):
    faulty_reads += [PermissionError(13, "key=secret"), RuntimeError("key=secret\nsecond line")]
    assert failure(tmp_path, store).endswith("no permission")
    assert failure(tmp_path, store).endswith("RuntimeError")


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("hf", "huggingface_hub")])
def test_a_scheme_whose_package_is_missing_names_it(tmp_path, scheme, package):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    said = failure(tmp_path, f"{scheme}://bucket/tiny")
    assert f"{scheme}://bucket/tiny/{LABELS}.gz: needs a package that is not installed" in said and package in said


# Secrets in addresses


@pytest.mark.parametrize(
    ("mirror", "printed"),
    [
        ("https://host/path/", "https://host/path/"),
        ("https://user:password@host:8080/path", "https://***@host:8080/path"),
        ("https://user:p@ss@host/a@b", "https://***@host/a@b"),
        ("https://token@host", "https://***@host"),
        ("https://host/path?token=x&y=z=1", "https://host/path?token=***&y=***"),
        ("https://host/path?secret", "https://host/path?***"),
        ("https://host/path?a=1;b=@2#c", "https://host/path?a=***;b=***"),
        ("https://host/path#secret", "https://host/path#***"),
        ("s3://key:secret@bucket/folder", "s3://***@bucket/folder"),
        ("s3://key:sec/ret@bucket/folder", "s3://***@bucket/folder"),
        ("https://user:1/secret@host/", "https://***@host/"),  # a port, or a password with a slash
        ("https://user:sec?ret@host/", "https://***@host/"),
        ("https://user:sec#ret@host/", "https://***@host/"),
        ("https://host/a;token=secret/b", "https://host/a;token=***/b"),
        ("https://host/a%3Ftoken=secret", "https://host/a%3Ftoken=***"),
        ("https:/user:secret@host/", "***@host/"),
        ("https:\\\\user:secret@host", "***@host"),
        ("//user:secret@host/", "***@host/"),
        ("user:secret@host:/path", "***@host:/path"),
        ("C:\\data\\mnist", "C:\\data\\mnist"),
        ("/home/me/a?b=c", "/home/me/a?b=***"),
        ("/home/\x1b[2J\nme", "/home/\\x1b[2J\\nme"),
        ("https://host/\x1b[2J", "https://host/\\x1b[2J"),
        ("https://host/" + "a" * 1000, "https://host/" + "a" * 287 + "…"),
    ],
)
def test_an_address_is_printed_without_its_secrets(mirror, printed):
    assert masked(mirror) == printed


def test_addresses_in_the_words_of_others_are_printed_without_their_secrets():
    told = "500, message='x',\n url='http://u:p@host:80/r?token=secret/md5/ab', s3://bucket/a failed"
    assert unspoken(told) == "500, message='x', url='http://***@host:80/r?token=***', s3://bucket/a failed"


@pytest.mark.parametrize(
    ("mirror", "asked"),
    [
        ("https://host/path", "https://host/path/NAME.gz"),
        ("https://host/path/", "https://host/path/NAME.gz"),
        ("https://host/path?token=x/y", "https://host/path/NAME.gz?token=x/y"),
        ("https://host/path/?a=1&b=2#c", "https://host/path/NAME.gz?a=1&b=2#c"),
        ("memory://", "memory://NAME.gz"),
        ("/home/me/a?b", "/home/me/a?b/NAME.gz"),
    ],
)
def test_a_query_stays_behind_the_file_name(mirror, asked):
    assert address(mirror, "NAME") == asked


def with_secrets(url):
    return url.replace("://", "://me:hidden@").rstrip("/") + "?token=hidden"


def test_secrets_reach_the_mirror_and_no_line(tmp_path, start_mirror, dead_url, capsys):
    broken, right = start_mirror(), start_mirror()
    broken.fail(LABELS, 500)
    urls = [with_secrets(url) for url in (dead_url, broken.url, right.url)]
    assert get_labels(tmp_path, *urls, attempts=2) == tiny_contents()[LABELS]
    assert right.asked == [f"/{LABELS}.gz?token=hidden"] and right.users[0].startswith("Basic ")
    said = capsys.readouterr().err
    assert "trying again" in said and "gave up" in said and said.count("?token=***") == 7
    assert "hidden" not in said + failure(
        tmp_path / "other", *urls[:2], "hf://me:hidden@x?hidden", "http://hidden@[?x=hidden"
    )


# Checksums


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_checksum_of_the_compressed_file_is_compared_with_that(tmp_path, algorithm):
    arrived = gzip.compress(b"content", mtime=0)
    digest = hashlib.new(algorithm, arrived).hexdigest()
    (tmp_path / "arrived").write_bytes(arrived)
    verified(tmp_path / "arrived", f"{algorithm}-gz:{digest}", tmp_path / "content", 100)
    assert (tmp_path / "content").read_bytes() == b"content"
    (tmp_path / "arrived").write_bytes(gzip.compress(b"Content", mtime=0))
    with pytest.raises(MirrorError, match=f"wrong content .{algorithm} of the .gz file"):
        verified(tmp_path / "arrived", f"{algorithm}-gz:{digest}", tmp_path / "content", 100)
    assert (tmp_path / "content").read_bytes() == b"content"


# The stage


def test_all_four_files_arrive_verified_with_their_description(project, start_mirror):
    raw = project(start_mirror().url)
    stage.main()
    assert sorted(path.name for path in raw.iterdir()) == sorted([*IDX_FILES, "dataset.json"])
    description = json.loads((raw / "dataset.json").read_text())
    assert list(description) == ["name", "files"] and description["name"] == "tiny"
    assert description["files"] == {name: sha256(tiny_contents()[name])[7:] for name in sorted(IDX_FILES)}
    assert [path.name for path in Path("data").iterdir()] == ["raw"]


def test_two_runs_write_the_same_bytes(project, start_mirror):
    mirror = start_mirror()
    raw = project(mirror.url, writers=[mirror.url])
    stage.main()
    first = {path.name: path.read_bytes() for path in raw.iterdir()}
    stage.main()
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == first


def test_all_mirrors_failing_is_one_line_with_both_ways_out_and_no_data(project, start_mirror, dead_url):
    missing = start_mirror()
    missing.fail(LABELS, 404)
    raw = project(dead_url, missing.url)
    with pytest.raises(UserError) as caught:
        stage.main()
    said = str(caught.value)
    assert "\n" not in said and dead_url in said and missing.url in said
    assert "set TINY_MIRROR to a folder or URL" in said and "`dvc exp run -S download.dataset=digits`" in said
    assert not raw.exists()


def test_a_failed_run_leaves_the_data_of_an_earlier_one_alone(project, start_mirror, dead_url):
    raw = project(start_mirror().url)
    stage.main()
    (raw / "mark").touch()
    project(dead_url)
    with pytest.raises(UserError):
        stage.main()
    assert (raw / "mark").exists()


def test_a_later_run_fetches_only_what_is_missing(project, start_mirror):
    mirror = start_mirror()
    raw = project(mirror.url)
    mirror.fail(IDX_FILES[2], 404, None)
    with pytest.raises(UserError):
        stage.main()
    assert not raw.exists()
    stage.main()
    assert sorted(mirror.requests) == sorted([*IDX_FILES, IDX_FILES[2]])
    assert [path.name for path in Path("data").iterdir()] == ["raw"]


def test_half_a_file_kept_by_a_killed_run_is_fetched_anew(project, start_mirror):
    mirror = start_mirror()
    raw = project(mirror.url)
    kept = Path("data/.download")
    kept.mkdir(parents=True)
    (kept / f"{LABELS}.gz").write_bytes(mirror.files[f"{LABELS}.gz"][:20])
    stage.main()
    assert (raw / LABELS).read_bytes() == tiny_contents()[LABELS]


@pytest.mark.parametrize("compressed", [True, False])
def test_the_mirror_variable_may_name_a_folder(project, tmp_path, monkeypatch, dead_url, compressed):
    raw = project(dead_url)
    monkeypatch.setenv("TINY_MIRROR", str(local_folder(tmp_path / "mine", compressed)))
    stage.main()
    assert (raw / LABELS).read_bytes() == tiny_contents()[LABELS]


def test_the_mirror_variable_may_name_a_url_and_comes_first(project, monkeypatch, start_mirror):
    mine, listed = start_mirror(), start_mirror()
    project(listed.url)
    monkeypatch.setenv("TINY_MIRROR", mine.url.rstrip("/"))
    stage.main()
    assert sorted(mine.requests) == sorted(IDX_FILES)
    assert listed.requests == []


def test_progress_is_plain_lines_without_a_terminal(project, start_mirror, capsys):
    mirror = start_mirror()
    project(mirror.url)
    stage.main()
    said = capsys.readouterr().err
    assert sorted(said.splitlines()) == sorted(f"download: {mirror.url}{name}.gz" for name in IDX_FILES)


def test_a_progress_bar_is_drawn_on_a_terminal(tmp_path, start_mirror, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    get_labels(tmp_path, start_mirror().url)
    assert f"{LABELS}: 100%" in capsys.readouterr().err


def test_an_unknown_data_set_is_answered_with_the_known_ones(project):
    project(dataset="mnits")
    with pytest.raises(UserError, match="download.dataset is 'mnits', must be an entry of datasets.yaml: tiny, digits"):
        stage.main()


@pytest.mark.parametrize("catalog", [None, 3, ["mnist"]])
def test_a_catalog_that_is_none_is_told(project, catalog):
    project()
    Path("datasets.yaml").write_text(yaml.safe_dump(catalog))
    with pytest.raises(UserError, match="^datasets.yaml holds no blocks"):
        stage.main()


# The writers


def test_writers_come_with_the_images(project, start_mirror):
    mirror = start_mirror()
    raw = project(mirror.url, writers=[mirror.url])
    stage.main()
    assert (raw / "train-writers.csv").read_text().splitlines()[:3] == ["series,writer", "0,100", "1,101"]
    assert len((raw / "t10k-writers.csv").read_text().splitlines()) == 1 + 4
    description = json.loads((raw / "dataset.json").read_text())
    assert {"train-writers.csv", "t10k-writers.csv"} <= set(description["files"])


@pytest.mark.parametrize("fault", [404, 500, gzip.compress(b"not the writers", mtime=0)])
def test_without_writers_the_stage_goes_on_and_says_in_one_line_what_is_missing(project, start_mirror, capsys, fault):
    mirror = start_mirror()
    mirror.fail(WRITERS[1], fault)
    raw = project(mirror.url, writers=[mirror.url])
    stage.main()
    assert sorted(path.name for path in raw.iterdir()) == sorted([*IDX_FILES, "dataset.json"])
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "without the writers" in line]
    assert "no split by writer and no accuracy by series" in said and "TINY_WRITERS_MIRROR" in said
    assert mirror.requests.count(WRITERS[1]) == 1


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_writers_whose_labels_differ_from_the_images_are_refused(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(writers_of, "ROWS", rows)  # that are read at a time
    table, target = tmp_path / "w.tsv", tmp_path / "w.csv"
    table.write_bytes(b"3\t0\t9\n4\t01\t8\tmore\n5\t0\t7\nnot read")
    write_writers(table, np.uint8([3, 4, 5]), target)
    assert target.read_bytes() == b"series,writer\n0,9\n1,8\n0,7\n"
    target.unlink()
    with pytest.raises(UserError, match="w.tsv: 2 labels are not those of the images, the first of image 1"):
        write_writers(table, np.uint8([3, 5, 6]), target)
    table.write_bytes(b"3\t0\t9\n4\t0\t9\n")
    with pytest.raises(UserError, match="w.tsv: 2 rows for 3 images"):
        write_writers(table, np.uint8([3, 4, 5]), target)
    assert [path.name for path in tmp_path.iterdir()] == ["w.tsv"]


# The embedded digits


def test_the_embedded_digits_need_no_network(project, monkeypatch):
    raw = project(dataset="digits")

    def forbidden(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    stage.main()
    images, labels = read_idx(raw / "train-images-idx3-ubyte", 3), read_idx(raw / LABELS, 1)
    assert images.shape == (1437, 8, 8) and labels.shape == (1437,)
    assert (images.min(), images.max()) == (0, 255)
    test_labels = read_idx(raw / "t10k-labels-idx1-ubyte", 1)
    assert np.bincount(test_labels).min() >= 33 and len(test_labels) == 360


def test_embedded_digits_other_than_the_catalog_knows_are_refused(project):
    project(dataset="digits")
    text = Path("datasets.yaml").read_text()
    checksum = yaml.safe_load(text)["digits"]["source"]["files"][LABELS]
    Path("datasets.yaml").write_text(text.replace(checksum, "sha256:" + "0" * 64))
    with pytest.raises(UserError, match=f"scikit-learn carries it: {LABELS}: wrong content"):
        stage.main()


# The probe


def probe(folder):
    command = [sys.executable, "-m", "stages.download", "--probe"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=20, check=False)


def test_the_probe_says_who_offers_the_data_and_writes_nothing(project, start_mirror, dead_url, tmp_path):
    mirror = start_mirror()
    project(dead_url, mirror.url)
    result = probe(tmp_path)
    assert (result.returncode, result.stdout) == (0, f"download: tiny is offered by {mirror.url}\n")
    assert not Path("data").exists()


def test_the_probe_prints_no_secret(project, start_mirror, dead_url, tmp_path):
    for url, code in ((start_mirror().url, 0), (dead_url, 1)):
        project(with_secrets(url))
        result = probe(tmp_path)
        assert result.returncode == code
        assert "me:" not in (said := result.stdout + result.stderr) and "?token=***" in said and "hidden" not in said


def test_the_probe_fails_with_one_line_if_nobody_answers(project, dead_url, tmp_path):
    project(dead_url, str(tmp_path / "nowhere"))
    result = probe(tmp_path)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and dead_url in result.stderr
    assert not Path("data").exists()


def test_the_probe_is_not_taken_in_by_a_sign_in_page_nor_held_up_by_silence(start_mirror):
    page, silent = start_mirror(), start_mirror()
    page.fail(LABELS, b"<html>Please sign in</html>")
    silent.fail(LABELS, "silent")
    assert mirrors.offering([page.url, silent.url], LABELS, 0.3) == []


# The catalog


def test_every_data_set_of_the_catalog_can_be_asked_for():
    check("download", load(ROOT / "params.yaml")["download"], Download)
    catalog = load(ROOT / "datasets.yaml")
    assert {"mnist", "digits", "fashion_mnist", "kmnist"} <= set(catalog)
    for name, entry in catalog.items():
        check(f"{name}.source", entry["source"], Source)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"files": {LABELS: "sha256:" + "0" * 64}}, "must name exactly train-images-idx3-ubyte"),
        ({"mirror_variable": None}, "mirror_variable is None, must name an environment variable"),
        ({"mirror": "typo"}, "mirror is unknown"),
    ],
)
def test_a_mistake_in_the_catalog_is_named(change, said):
    source = load(ROOT / "datasets.yaml")["mnist"]["source"] | change
    with pytest.raises(UserError, match=said):
        check("mnist.source", source, Source)

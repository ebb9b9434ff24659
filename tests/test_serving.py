"""The server as people and programs meet it: a process of its own, asked by HTTP."""

import asyncio
import base64
import gzip
import io
import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from argparse import ArgumentTypeError
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from starlette.requests import ClientDisconnect

from helpers.clone import ROOT, Clone
from helpers.packaged import package
from serving import log, revision
from serving.__main__ import listening, seconds
from serving.packaged import packaged
from serving.pool import Pool
from serving.reading import Reader
from serving.service import new_id
from stages import checksums
from stages.common.entry import UserError
from stages.evaluate.model import Model
from stages.statistics import image_statistics

pytestmark = pytest.mark.xdist_group("serving")
PATIENCE = 60  # seconds, for a machine that does much else
STEP = 0.02
INFER = "/v2/models/digits/infer"


class Server:
    """A running server: its process, what it printed first, a client, and its log."""

    def __init__(self, process, line, path):
        self.process, self.line, self.log = process, line, path
        self.url = re.search(r"http://\S+?:\d+", line)[0].replace("0.0.0.0", "127.0.0.1")
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE)
        self.get, self.post = self.client.get, self.client.post
        self.port = int(self.url.rpartition(":")[2])

    def metric(self, name):
        """The value of a metric, labels included in its name; 0 if there is none yet."""
        lines = self.get("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0)

    def rows(self, columns="*", table="digits"):
        connection = sqlite3.connect(self.log)
        try:
            return connection.execute(f"SELECT {columns} FROM {table} ORDER BY rowid").fetchall()
        finally:
            connection.close()

    def stop(self):
        """SIGTERM; the exit code and what it wrote to stderr."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE), self.process.stderr.read()


def started(environment, path, *options, folder=ROOT, **variables):
    command = [sys.executable, "-m", "serving", "--port", "0", "--log", path, *options]
    return subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def serve(models, environment, tmp_path_factory):
    """A context manager that starts a server with the given options, and kills it if it has not ended by itself."""

    @contextmanager
    def run(*options, **variables):
        path = tmp_path_factory.mktemp("log") / "logs" / "requests.sqlite"
        options = options if "--rev" in options else ("--models", models, *options)
        process = started(environment, path, *options, **variables)
        server = None
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            server = Server(process, line, path)
            yield server
        finally:
            if server:
                server.client.close()
            process.kill()
            process.communicate()

    return run


@pytest.fixture(scope="module")
def server(serve):
    """One server for all tests that leave it as it was."""
    with serve() as running:
        yield running


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def of(digits, label):
    """A digit of this class as a photograph would have it: larger, dark on light."""
    image = digits[0][np.flatnonzero(digits[1] == label)[3]]
    return png(255 - np.kron(np.pad(image, 6), np.ones((6, 6), np.uint8)))


@pytest.fixture(scope="module")
def seven(digits):
    return of(digits, 7)


def form(file, **fields):
    return {"files": {"picture": ("picture.png", file)}, "data": fields}


def as_json(file, **keys):
    return {"json": {"picture": base64.b64encode(file).decode(), **keys}}


@pytest.mark.parametrize("body", [form, as_json])
def test_a_picture_is_read(server, seven, body):
    answer = server.post("/predict", **body(seven))
    assert answer.status_code == 200
    found = answer.json()
    (digit,) = found["digits"]
    probabilities = np.array(digit["probabilities"])
    assert (found["message"], found["model"]["title"]) == (None, "Digits")
    assert digit["label"] == str(probabilities.argmax())
    assert digit["confidence"] == probabilities.max()
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)
    assert digit["sure"] == (digit["confidence"] >= 0.5)
    assert found["text"] == (digit["label"] if digit["sure"] else "?")
    left, top, right, bottom = digit["box"]
    assert 0 <= left < right <= 240 and 0 <= top < bottom <= 240
    image = np.frombuffer(base64.b64decode(digit["image"]), np.uint8)
    assert image.shape == (784,) and image.max() > 128  # light on dark, though the picture is dark on light
    assert found["id"] == max(row[0] for row in server.rows("request"))


def test_what_the_row_says_is_what_the_answer_says(server, seven):
    found = server.post("/predict", **form(seven)).json()
    rows = [row for row in server.rows(", ".join(log.DIGITS)) if row[0] == found["id"]]
    (row,) = (dict(zip(log.DIGITS, row)) for row in rows)
    (digit,) = found["digits"]
    assert (row["digit"], str(row["predicted"]), row["prepared"]) == (0, digit["label"], 1)
    assert row["confidence"] == pytest.approx(digit["confidence"], abs=1e-6)
    assert row["milliseconds"] == pytest.approx(found["milliseconds"], abs=1e-3)
    assert abs(row["time"] - time.time()) < PATIENCE
    image = np.frombuffer(base64.b64decode(digit["image"]), np.uint8).reshape(1, 28, 28)
    (statistics,) = image_statistics(image).to_dict("records")
    assert {name: row[name] for name in statistics} == pytest.approx(statistics)
    assert row["picture"] is None


def test_several_digits_are_read_in_order_if_asked_for(server, digits):
    one, four = (np.asarray(Image.open(io.BytesIO(of(digits, label)))) for label in (1, 4))
    both = png(np.concatenate([one, four], axis=1))
    for body in (form(both, several="true"), as_json(both, several=True)):
        found = server.post("/predict", **body).json()
        first, second = found["digits"]
        assert first["box"][2] <= second["box"][0] + 10
        assert len(found["text"]) == 2
        assert [row[0] for row in server.rows("digit, request") if row[1] == found["id"]] == [0, 1]
    assert len(server.post("/predict", **form(both)).json()["digits"]) == 1


def test_an_empty_sheet_has_no_digit_and_no_row(server):
    before = len(server.rows())
    found = server.post("/predict", **form(png(np.full((200, 200), 255, np.uint8)))).json()
    assert (found["text"], found["digits"], found["message"]) == ("", [], "no digit found")
    assert len(server.rows()) == before


def bomb():
    """A PNG of a few hundred kilobytes that claims and has 20,000 × 20,000 pixels."""
    side = 20_000

    def chunk(name, data):
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    packer = zlib.compressobj(9)
    rows = bytes((side + 1) * 1000)
    data = b"".join(packer.compress(rows) for _ in range(side // 1000)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def refused(answer, status):
    """One line says why, and nothing else is said."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"] and "\n" not in answer.json()["error"] and "Traceback" not in answer.text
    return answer.json()["error"]


def memory(process):
    """The resident memory that a process had at most, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def test_what_is_no_picture_is_refused_and_the_server_goes_on(server, seven):
    for file in (b"seven", b"", seven[: len(seven) // 2], seven[:20], bomb()):
        refused(server.post("/predict", **form(file)), 422)
        refused(server.post("/predict", **as_json(file)), 422)
    assert memory(server.process) < 1000  # the pixels of the bomb alone are 400 MB, in colour three times as many
    assert server.post("/predict", **form(seven)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"data": {"digit": "7"}}, 415, "multipart/form-data"),
        ({"files": {"image": b"x"}}, 400, "no file `picture`"),
        ({"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "form"),
        ({"content": b"broken", "headers": {"Content-Type": "multipart/form-data"}}, 400, "form"),
        ({"files": {f"part {number}": b"x" for number in range(100)}}, 400, "too many parts"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "JSON"),
        ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400, "JSON"),
        ({"json": {}}, 400, "picture: "),
        ({"json": {"picture": 7}}, 400, "picture: "),
        ({"json": {"picture": "not base64"}}, 400, "base64"),
        ({"json": {"picture": "", "several": "perhaps"}}, 400, "several: "),
        ({"files": {"picture": b"x"}, "data": {"several": "perhaps"}}, 400, "several"),
    ],
)
def test_a_request_that_is_malformed_is_told_how(server, body, status, words):
    assert words in refused(server.post("/predict", **body), status)


@pytest.mark.parametrize("path", ["/predict", "/corrections", INFER])
@pytest.mark.parametrize("length", [True, False])
def test_a_body_over_the_limit_is_refused_with_and_without_its_length(server, seven, path, length):
    body = bytes(9 << 20)

    def parts():
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    answer = server.post(path, content=body if length else parts(), headers={"Content-Type": "application/json"})
    assert ("Content-Length" in answer.request.headers) == length
    assert "bytes" in refused(answer, 413)
    assert server.post("/predict", **form(seven)).status_code == 200


def test_who_asks_before_sending_a_large_body_is_refused_at_once(server):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(PATIENCE)
        head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 1000000000\r\n"
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_what_is_not_there_is_told_in_one_line(server):
    refused(server.get("/nothing"), 404)
    refused(server.get("/predict"), 405)


def half_sent(server, path="/predict", body=b"0123456789", headers=""):
    """A connection with a request of which a part of the body is still to come."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(PATIENCE)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    connection.sendall(head.encode() + body[:-5])
    return connection


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(STEP)


def test_more_requests_than_may_wait_are_refused_until_there_is_room(serve, seven):
    with serve("--threads", "1", "--queue", "2") as server:
        held = [half_sent(server) for _ in range(3)]
        until(lambda: server.metric("serving_queue_length") == 3)
        for body in (seven, bytes(5 << 20)):
            answer = server.post("/predict", **form(body))
            assert "waiting" in refused(answer, 429)
            assert int(answer.headers["Retry-After"]) > 0
        assert server.metric("serving_queue_length") == 3
        for connection in held:
            connection.close()
        until(lambda: server.metric("serving_queue_length") == 0)
        assert server.post("/predict", **form(seven)).status_code == 200


def test_who_leaves_before_their_turn_is_not_read():
    began, go_on = threading.Event(), threading.Event()
    read = []

    def long(reader):
        began.set()
        return go_on.wait(PATIENCE)

    async def scene():
        pool = Pool([None], 3)
        stays, leaves = asyncio.Event(), asyncio.Event()

        async def asked(job, left):
            with pool.place():
                return await pool.run(job, left.wait)

        first = asyncio.ensure_future(asked(long, stays))
        await asyncio.to_thread(began.wait, PATIENCE)
        gone = asyncio.ensure_future(asked(lambda reader: read.append("gone"), leaves))
        there = asyncio.ensure_future(asked(lambda reader: read.append("there"), stays))
        await asyncio.sleep(0)  # both wait
        leaves.set()
        with pytest.raises(ClientDisconnect):
            await gone
        assert pool.taken == 2
        go_on.set()
        assert await first is True
        await there
        assert (read, pool.taken) == (["there"], 0)

    asyncio.run(scene())


def test_a_request_that_takes_too_long_is_ended(serve, seven):
    with serve("--seconds", "3") as server:
        with half_sent(server) as connection:
            answer = b"".join(iter(lambda: connection.recv(10_000), b""))  # until the server closes it
        assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: " in answer.lower() and b"3 seconds" in answer
        assert server.post("/predict", **form(seven)).status_code == 200


def test_a_request_whose_head_never_ends_is_ended(serve, seven):
    with serve("--seconds", "0.5") as server:
        address = ("127.0.0.1", server.port)
        whole = f"GET /health HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode()
        with socket.create_connection(address, PATIENCE) as silent, socket.create_connection(address, PATIENCE) as slow:
            slow.sendall(whole)
            assert slow.recv(4096).startswith(b"HTTP/1.1 200")
            with pytest.raises(OSError):  # one byte at a time, also of a second request
                for byte in whole[:20] * 100:
                    slow.sendall(bytes([byte]))
                    time.sleep(0.1)
            assert silent.recv(4096).startswith(b"HTTP/1.1 408") and silent.recv(4096) == b""
        assert server.get("/health").status_code == 200


def test_many_at_once_each_get_their_own_answer(server, digits):
    pictures = [of(digits, label) for label in range(10)]
    alone = [server.post("/predict", **form(picture)).json()["digits"] for picture in pictures]
    answers = [None] * 200

    def ask(first):
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
            for place in range(first, len(answers), 20):
                answers[place] = client.post("/predict", **form(pictures[place % 10])).json()

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["digits"] for answer in answers] == alone * 20
    logged = {row[0] for row in server.rows("request")}
    assert len({answer["id"] for answer in answers} & logged) == len(answers)


@pytest.fixture
def client(server):
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield client
    client.close()


def asked(images, datatype, binary=True):
    tensor = triton.InferInput("images", list(images.shape), datatype)
    return [tensor.set_data_from_numpy(images, binary_data=binary)]


def test_a_client_of_the_protocol_learns_what_is_served(client):
    assert client.is_server_live() and client.is_server_ready()
    for version in ("", "1"):
        assert client.is_model_ready("digits", version)
        metadata = client.get_model_metadata("digits", version)
        assert [tensor["name"] for tensor in metadata["inputs"] + metadata["outputs"]] == ["images", "probabilities"]
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert not client.is_model_ready("another")


@pytest.mark.parametrize("outputs", [None, True, False])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("datatype", "shape"), [("UINT8", (28, 28)), ("FP32", (28, 28, 1))])
def test_a_client_of_the_protocol_gets_probabilities(client, models, digits, datatype, shape, binary, outputs):
    from stages.evaluate.model import Model

    images = digits[0][:20]
    tensor = images.reshape(20, *shape).astype({"UINT8": np.uint8, "FP32": np.float32}[datatype])
    wanted = None if outputs is None else [triton.InferRequestedOutput("probabilities", binary_data=outputs)]
    for version, compression in (("", None), ("1", "gzip"), ("", "deflate")):
        result = client.infer(
            "digits",
            asked(tensor, datatype, binary),
            version,
            wanted,
            request_id="mine",
            request_compression_algorithm=compression,
        )
        assert result.get_response()["id"] == "mine"
        expected = Model(models / "model.tflite").predict(images)
        assert result.as_numpy("probabilities") == pytest.approx(expected, abs=1e-5)


def test_images_of_the_protocol_are_logged_and_counted_like_any(server, client, digits):
    before, counted = len(server.rows()), sum(server.metric(digit_metric(label)) for label in range(10))
    images = digits[0][:1000].copy()
    images[7] = 0
    probabilities = client.infer("digits", asked(images, "UINT8")).as_numpy("probabilities")
    rows = server.rows("request, digit, predicted, confidence, mean_intensity, centre_x")[before:]
    assert len({row[0] for row in rows}) == 1
    assert [row[1] for row in rows] == list(range(1000))
    assert [row[2] for row in rows] == probabilities.argmax(axis=1).tolist()
    assert [row[3] for row in rows] == pytest.approx(probabilities.max(axis=1).tolist())
    assert [row[4] for row in rows] == pytest.approx(images.mean(axis=(1, 2)).tolist())
    assert rows[7][5] is None  # a blank image has no middle
    assert sum(server.metric(digit_metric(label)) for label in range(10)) == counted + 1000


def digit_metric(label):
    return f'serving_digits_total{{label="{label}"}}'


def inputs(data=None, shape=(1, 28, 28), datatype="UINT8", name="images", **more):
    tensor = {"name": name, "shape": list(shape), "datatype": datatype, "data": [0] * 784 if data is None else data}
    return {"inputs": [tensor | more]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "object"),
        ({}, "`inputs`"),
        ({"inputs": []}, "`inputs`"),
        ({"inputs": [7]}, "`inputs`"),
        ({"inputs": inputs()["inputs"] * 2}, "`inputs`"),
        (inputs(name="pixels"), "'pixels'"),
        (inputs(datatype="INT64"), "'INT64'"),
        (inputs(datatype=["UINT8"]), "datatype"),
        (inputs(shape=(1, 784)), "shape"),
        (inputs(shape=()), "shape"),
        (inputs(shape=(-1, 28, 28)), "1 to 1000"),
        (inputs(shape=(1001, 28, 28)), "1 to 1000"),
        (inputs(shape=(0, 28, 28), data=[]), "1 to 1000"),
        (inputs(shape=("1", 28, 28)), "shape"),
        (inputs(shape=(2, 28, 28)), "784 values"),
        (inputs(data=[256] * 784), "0 to 255"),
        (inputs(data=[0.5] * 784), "UINT8"),
        (inputs(data=["7"] * 784), "UINT8"),
        (inputs(data=[[0] * 700, [0] * 84]), "ragged"),
        (inputs(data=7), "list of numbers"),
        (inputs(data=[10**400] * 784), "list of numbers"),
        (inputs(datatype="FP32", data=[-1] * 784), "0 to 255"),
        (inputs(datatype="FP32", data=[float("nan")] * 784), "0 to 255"),
        (inputs(parameters={"binary_data_size": 784}), "0 bytes follow"),
        (inputs(parameters={"shared_memory_region": "mine"}), "shared memory"),
        (inputs(parameters=7), "parameters"),
        (inputs() | {"id": 7}, "`id`"),
        (inputs() | {"outputs": [{"name": "classes"}]}, "'classes'"),
        (inputs() | {"outputs": 7}, "`outputs`"),
        (inputs() | {"outputs": [{"name": "probabilities", "parameters": {"binary_data": "no"}}]}, "binary_data"),
        (inputs() | {"outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]}, "classification"),
    ],
)
def test_what_the_protocol_does_not_allow_is_told(server, document, words):
    answer = server.post(INFER, content=json.dumps(document), headers={"Content-Type": "application/json"})
    assert words in refused(answer, 400)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{", 400),
        ({}, b"[" * 100_000, 400),
        ({"Inference-Header-Content-Length": "99"}, b"{}", 400),
        ({"Inference-Header-Content-Length": "-1"}, b"{}", 400),
        ({"Content-Encoding": "gzip"}, b"{}", 400),
        ({"Content-Encoding": "gzip"}, gzip.compress(b"{}")[:-3], 400),
        ({"Content-Encoding": "gzip"}, gzip.compress(bytes(100 << 20)), 400),
        ({"Content-Encoding": "br"}, b"{}", 415),
    ],
)
def test_a_body_that_cannot_be_taken_apart_is_told(server, headers, body, status):
    refused(server.post(INFER, content=body, headers=headers), status)
    assert memory(server.process) < 1000


@pytest.mark.parametrize("path", ["/v2/models/another/infer", "/v2/models/digits/versions/2/infer"])
def test_another_model_or_version_is_refused_in_the_words_of_the_protocol(server, path):
    assert "unknown" in refused(server.post(path, json=inputs()), 400)


def test_metrics_count_requests_digits_and_what_is_not_sure(serve, digits):
    with serve() as server:
        read = [server.post("/predict", **form(of(digits, label))).json()["digits"][0] for label in range(10)]
        server.post("/predict", **form(b"no picture"))
        server.post("/predict", **form(png(np.full((200, 200), 255, np.uint8))))
        server.get("/one/of/many/addresses")
        assert server.metric('serving_requests_total{path="/predict",status="200"}') == 11
        assert server.metric('serving_requests_total{path="/predict",status="422"}') == 1
        assert server.metric('serving_requests_total{path="other",status="404"}') == 1
        assert server.metric('serving_request_seconds_count{path="/predict"}') == 12
        for label in range(10):
            expected = sum(digit["label"] == str(label) for digit in read)
            assert server.metric(digit_metric(label)) == expected
        assert server.metric("serving_not_sure_total") == sum(not digit["sure"] for digit in read)
        assert server.metric("serving_no_digit_total") == 1
        assert server.metric("serving_queue_length") == 0


def test_the_row_of_an_answer_outlives_a_kill(serve, seven):
    with serve() as server:
        answers = [server.post("/predict", **form(seven)).json()["id"] for _ in range(5)]
        server.process.kill()
        server.process.wait()
        assert [row[0] for row in server.rows("request")] == answers


def test_sigterm_lets_the_request_in_flight_finish(serve, seven):
    body = json.dumps(as_json(seven)["json"]).encode()
    with serve() as server:
        with half_sent(server, body=body, headers="Content-Type: application/json\r\n") as connection:
            until(lambda: server.metric("serving_queue_length") == 1)
            server.process.send_signal(signal.SIGTERM)

            def deaf():
                with socket.socket() as other:
                    return other.connect_ex(("127.0.0.1", server.port)) != 0

            until(deaf)
            connection.sendall(body[-5:])
            answer = connection.recv(100_000)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(PATIENCE) == 0
        assert "Traceback" not in server.process.stderr.read()
        assert len(server.rows()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_without_requests_stops_at_once(serve, number):
    with serve() as server:
        server.get("/health")  # the connection stays open
        server.process.send_signal(number)
        assert server.process.wait(PATIENCE) == 0
        assert "Traceback" not in server.process.stderr.read()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "localhost", "a@localhost:{port}", ""]
)
def test_another_name_than_this_machine_s_is_refused(server, host):
    refused(server.get("/health", headers={"Host": host.format(port=server.port)}), 403)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_the_names_of_this_machine_are_answered(server, host):
    assert server.get("/health", headers={"Host": f"{host}:{server.port}"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "http://["])
@pytest.mark.parametrize("path", ["/predict", "/corrections", INFER])
def test_a_page_of_another_site_may_not_post(server, seven, origin, path):
    refused(server.post(path, **form(seven), headers={"Origin": origin}), 403)


def test_its_own_page_may_post(server, seven):
    assert server.post("/predict", **form(seven), headers={"Origin": server.url}).status_code == 200


def test_beyond_this_machine_a_token_is_made_and_needed(serve, seven):
    with serve("--host", "0.0.0.0") as server:
        token = re.search(r"\?token=(\S+)", server.line)[1]
        assert len(token) >= 32
        assert server.get("/health").status_code == 200
        for path in ("/", "/metrics", "/docs", "/openapi.json", "/v2/models/digits"):
            refused(server.get(path), 401)
        for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}, {"Cookie": "digits=1"}):
            refused(server.post("/predict", **form(seven), headers=headers), 401)
        refused(server.get("/?token=wrong"), 401)
        bearer = {"Authorization": f"Bearer {token}"}
        assert server.post("/predict", **form(seven), headers=bearer).status_code == 200
        assert server.get("/health", headers={"Host": "a.name.of.mine"}).status_code == 200
        cookie = server.get(f"/metrics?token={token}").headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and token not in cookie
        assert server.post("/predict", **form(seven)).status_code == 200  # httpx keeps the cookie, as browsers do


@pytest.mark.parametrize("options", [("--token", "secret, ünd söme"), ()])
def test_a_token_of_one_s_own_is_needed_and_not_printed(serve, options):
    with serve(*options, SERVE_TOKEN="" if options else "secret, ünd söme") as server:
        assert "token" not in server.line and "secret" not in server.line
        refused(server.get("/metrics"), 401)
        assert server.get("/metrics", params={"token": "secret, ünd söme"}).status_code == 200


def test_every_answer_carries_the_headers_that_bind_browsers(server, seven):
    answers = [
        server.get("/docs"),
        server.get("/nothing"),
        server.get("/health", headers={"Host": "evil.example"}),
        server.post("/predict", **form(seven)),
    ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'unsafe-inline'; ")


def test_the_page_is_served(server):
    answer = server.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert re.search(r"\bpredict\b", answer.text)


def test_the_documentation_needs_no_network(server):
    page, schema = server.get("/docs").text, server.get("/openapi.json").json()
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "<script" not in page
    for path in schema["paths"]:
        assert path in page
    assert {"/predict", "/corrections", "/health", "/metrics", "/v2/models/{model}/infer"} <= set(schema["paths"])


def test_a_correction_is_kept(server, seven):
    found = server.post("/predict", **form(seven)).json()
    body = {"id": found["id"], "digit": 0, "label": "4", "image": found["digits"][0]["image"]}
    answer = server.post("/corrections", json=body)
    assert (answer.status_code, answer.content) == (204, b"")
    kept = log.corrections(server.log)[-1]
    assert (kept.request, kept.digit, kept.label) == (found["id"], 0, 4)
    assert kept.image.tobytes() == base64.b64decode(body["image"])
    assert abs(kept.time - time.time()) < PATIENCE


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"label": "ten"}, 422, "'ten'"),
        ({"label": 4}, 400, "label: "),
        ({"digit": -1}, 400, "digit: "),
        ({"id": "x" * 100}, 400, "id: "),
        ({"image": "AAAA"}, 422, "3 pixels"),
        ({"image": "!"}, 400, "base64"),
    ],
)
def test_a_correction_that_says_nothing_is_refused(server, change, status, words):
    before = len(server.rows(table="corrections"))
    body = {"id": new_id(), "digit": 0, "label": "4", "image": base64.b64encode(bytes(784)).decode()}
    assert words in refused(server.post("/corrections", json=body | change), status)
    assert len(server.rows(table="corrections")) == before


def test_pictures_are_kept_if_asked_for(serve, seven):
    with serve("--keep-pictures") as server:
        found = server.post("/predict", **form(seven)).json()
        assert server.rows("picture") == [(base64.b64decode(found["digits"][0]["image"]),)]


def test_the_log_stays_bounded_and_keeps_the_latest(serve, digits):
    with serve("--rows", "200") as server:
        client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
        latest = []
        for start in range(0, 1000, 70):
            images = digits[0][start : start + 70]
            latest += client.infer("digits", asked(images, "UINT8")).as_numpy("probabilities").argmax(axis=1).tolist()
            rows = [row[0] for row in server.rows("predicted")]
            assert len(rows) <= 200
            assert len(rows) >= min(len(latest), 198)
            assert rows == latest[-len(rows) :]
        client.close()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "model.tflite").unlink(), "model.tflite"),
        (lambda folder: (folder / "package.json").unlink(), "package.json"),
        (lambda folder: (folder / "requests.sqlite").write_bytes(b"no database" * 1000), "no log of requests"),
    ],
)
def test_what_is_missing_or_broken_at_the_start_gets_one_line(models, environment, tmp_path, spoil, words):
    for path in models.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spoil(tmp_path)
    process = started(environment, tmp_path / "requests.sqlite", "--models", tmp_path)
    printed, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, printed) == (1, "")
    assert re.fullmatch(f"serving: .*{words}.*\n", said)


def test_a_port_that_is_taken_gets_one_line(server, models, environment, tmp_path):
    process = started(environment, tmp_path / "requests.sqlite", "--models", models, "--port", server.port)
    printed, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, printed) == (1, "")
    assert re.fullmatch(f"serving: cannot listen on 127.0.0.1, port {server.port} .*\n", said)


STAGES = """stages:
  train:
    cmd: cp made/model.tflite models/
    deps: [made/model.tflite]
    outs: [models/model.tflite]
"""
PACKAGED = """  package:
    cmd: cp made/package.json made/reference.npz models/
    deps: [made/package.json, made/reference.npz]
    outs: [models/package.json, models/reference.npz]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory, environment, models, digits):
    """A repository with three commits: the tag `unpackaged`, from before the stage `package`, then `v1` and `v2`, whose
    models differ. Their titles are those of the commits."""
    made = Clone(tmp_path_factory.mktemp("repository"), environment)
    for folder in ("made", "models"):
        (made.folder / folder).mkdir()
    (made.folder / ".gitignore").write_text("/logs/\n")
    made.well("git", "init", "--quiet")
    made.dvc("init", "--quiet")
    made.dvc("config", "core.analytics", "false")
    for tag, stages, epochs in (("unpackaged", STAGES, 1), ("v1", STAGES + PACKAGED, 1), ("v2", STAGES + PACKAGED, 2)):
        (made.folder / "dvc.yaml").write_text(stages)
        package(made.folder / "made", digits, tag, epochs)
        np.savez(made.folder / "made/reference.npz", epochs=epochs)
        made.dvc("repro", "--quiet")
        made.commit()
        made.well("git", "tag", tag)
    return made


@contextmanager
def cache_away(made, tmp_path):
    """The repository's cache is elsewhere for a while."""
    cache = made.folder / ".dvc/cache"
    cache.rename(tmp_path / "cache")
    try:
        yield
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        (tmp_path / "cache").rename(cache)


@pytest.mark.parametrize("tag", ["v1", "v2"])
def test_the_model_of_an_earlier_commit_is_served_and_named(serve, repository, digits, seven, tmp_path, tag):
    commit = repository.well("git", "rev-parse", tag).strip()[:7]
    own = {"folder": repository.folder, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with serve("--rev", tag, **own) as server:
        assert server.post("/predict", **form(seven)).json()["model"] == {"title": tag, "commit": commit}
        client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
        read = client.infer("digits", asked(digits[0][:100], "UINT8")).as_numpy("probabilities")
        client.close()
        (folder,) = tmp_path.iterdir()
        assert sorted(path.name for path in folder.iterdir()) == ["model.tflite", "package.json", "reference.npz"]
        expected = Model(folder / "model.tflite").predict(digits[0][:100])
        now = Model(repository.folder / "models/model.tflite").predict(digits[0][:100])
        assert server.stop()[0] == 0
    assert read == pytest.approx(expected, abs=1e-5)
    assert (read == pytest.approx(now, abs=1e-5)) == (tag == "v2")
    assert list(tmp_path.iterdir()) == []
    assert repository.well("git", "status", "--porcelain") == ""


def test_a_model_that_only_the_remote_has_is_brought_from_there(repository, tmp_path):
    """Also if the remote was set up after the commit."""
    remote = tmp_path / "remote"
    repository.dvc("remote", "add", "--local", "--default", "shared", str(remote))
    repository.dvc("push", "--quiet", "--all-commits")
    try:
        with cache_away(repository, tmp_path), repository.current(), revision.brought("v1") as (folder, _):
            assert json.loads((folder / "package.json").read_text())["title"] == "v1"
        shutil.rmtree(remote)
        words = "not in DVC's cache .the remote lacks it"
        with (
            cache_away(repository, tmp_path),
            repository.current(),
            pytest.raises(UserError, match=words) as raised,
            revision.brought("v1"),
        ):
            pass
        assert "\n" not in str(raised.value)
    finally:
        repository.dvc("remote", "remove", "--local", "shared")
        (repository.folder / ".dvc/config.local").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("v9", "^unknown revision v9: "),
        ("unpackaged", r"^unpackaged \(\w{7}\) has no models/package.json, it is from before the stage `package`: "),
        ("HEAD~2", r"^HEAD~2 \(\w{7}\) has no models/package.json"),
        ("v1", r"^models/model.tflite of v1 \(\w{7}\) is not in DVC's cache \(no remote is set up\): `make push`"),
    ],
)
def test_a_revision_that_cannot_be_served_gets_one_line(repository, tmp_path, name, line):
    with (
        cache_away(repository, tmp_path),
        repository.current(),
        pytest.raises(UserError, match=line) as raised,
        revision.brought(name),
    ):
        pass
    assert "\n" not in str(raised.value)


def test_a_mistake_in_the_revision_ends_the_server_with_one_line(repository, environment, tmp_path):
    own = {"folder": repository.folder, "PYTHONPATH": str(ROOT)}
    process = started(environment, tmp_path / "requests.sqlite", "--rev", "v9", **own)
    printed, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, printed) == (1, "")
    assert re.fullmatch("serving: unknown revision v9: .*\n", said)


def test_the_commit_is_that_of_the_folder_s_repository_and_dirty_if_dvc_lock_has_changed(repository, tmp_path):
    commit = repository.well("git", "rev-parse", "--short", "HEAD").strip()
    locked = repository.folder / "dvc.lock"
    committed = locked.read_text()
    (repository.folder / "made/package.json").touch()
    assert revision.described(repository.folder / "models") == commit
    locked.write_text(committed + "# another run\n")
    try:
        assert revision.described(repository.folder / "models") == f"{commit}-dirty"
    finally:
        locked.write_text(committed)
    (tmp_path / "models").mkdir()
    assert revision.described(tmp_path / "models") is None


def reads(images, predicted, **more):
    return log.Read(
        new_id(), 1.0, np.array(predicted), np.full(len(predicted), 0.5), images, **{"prepared": False} | more
    )


def test_the_window_has_the_last_digits_in_order_of_time(tmp_path, digits):
    path = tmp_path / "requests.sqlite"
    with log.Log(path) as writer:
        for start, moment in ((0, 3.0), (2, 1.0), (4, 2.0)):
            writer.add(reads(digits[0][start : start + 2], [start, start + 1], time=moment)).result()
        seen = log.window(path, 4)  # while the server writes
    assert seen["predicted"].tolist() == [2, 3, 4, 5]
    assert log.window(path, 100)["predicted"].tolist() == [2, 3, 4, 5, 0, 1]
    statistics = image_statistics(digits[0][:6])
    assert list(seen.columns) == [*statistics.columns, "confidence", "predicted", "prepared"]
    found = log.window(path, 100)[list(statistics.columns)].to_numpy()
    assert found == pytest.approx(statistics.iloc[[2, 3, 4, 5, 0, 1]].to_numpy(float))


def test_the_window_has_the_last_digits_of_each_kind(tmp_path, digits):
    path = tmp_path / "requests.sqlite"
    with log.Log(path) as writer:
        for start, prepared in ((0, True), (3, False), (8, True)):
            writer.add(reads(digits[0][:2], [start, start + 1], prepared=prepared, time=float(start))).result()
    seen = log.window(path, 3)
    assert list(zip(seen["predicted"], seen["prepared"])) == [(1, 1), (3, 0), (4, 0), (8, 1), (9, 1)]


def test_a_blank_image_has_gaps_in_the_window(tmp_path):
    with log.Log(tmp_path / "requests.sqlite") as writer:
        writer.add(reads(np.zeros((1, 28, 28), np.uint8), [0])).result()
    (row,) = log.window(tmp_path / "requests.sqlite", 1).to_dict("records")
    assert np.isnan(row["left"]) and row["mean_intensity"] == 0


def test_a_log_that_is_missing_or_empty_gets_one_line(tmp_path):
    path = tmp_path / "requests.sqlite"
    with pytest.raises(UserError, match=r"requests\.sqlite is missing"):
        log.window(path, 10)
    log.Log(path).close()
    with pytest.raises(UserError, match=r"requests\.sqlite has no digits yet"):
        log.window(path, 10)
    assert log.corrections(path) == []
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match="cannot be read as a log"):
        log.corrections(path)


def test_a_log_of_another_version_is_not_touched(tmp_path):
    path = tmp_path / "requests.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE digits (request TEXT)")
    with pytest.raises(UserError, match="digits has other columns"):
        log.Log(path)


def test_who_waits_hears_that_a_row_cannot_be_written_and_the_next_is(tmp_path, digits):
    path = tmp_path / "requests.sqlite"
    with log.Log(path) as writer:
        wrong = writer.add(reads(digits[0][:1], [7], time="\ud800"))  # no text of Unicode
        with pytest.raises(Exception, match="surrogates"):
            wrong.result(PATIENCE)
        writer.add(reads(digits[0][:1], [7])).result(PATIENCE)
    assert len(log.window(path, 10)) == 1


def test_what_waits_when_the_log_is_closed_is_written(tmp_path, digits):
    path = tmp_path / "requests.sqlite"
    writer = log.Log(path)
    futures = [writer.add(reads(digits[0][:1], [7])) for _ in range(500)]
    writer.close()
    assert all(future.done() for future in futures)
    assert len(log.window(path, 1000)) == 500


@pytest.mark.parametrize("text", ["inf", "nan", "0", "-1", "1e9", "soon"])
def test_a_time_limit_that_is_none_is_refused(text):
    with pytest.raises((ArgumentTypeError, ValueError)):
        seconds(text)
    assert seconds("2.5") == 2.5


@pytest.mark.parametrize("host", ["a" * 70, "a..b", "x\0y", "no such host"])
def test_a_host_that_cannot_be_is_told(host):
    with pytest.raises(UserError, match="cannot listen on "):
        listening(host, 0)


@pytest.mark.parametrize(
    ("change", "where"),
    [({"classes": "01"}, "classes"), ({"threshold": "high"}, "threshold"), ({"shape": [28]}, "shape"), (None, "title")],
)
def test_a_damaged_description_of_the_model_is_told(tmp_path, change, where):
    good = {"title": "t", "classes": ["0", "1"], "shape": [28, 28, 1], "threshold": 0.5, "refused": 0.01}
    (tmp_path / "package.json").write_text(json.dumps(good | change if change else {}))
    with pytest.raises(UserError, match=rf"package.json cannot be read \({where}"):
        packaged(tmp_path)


def test_a_model_that_rotted_is_not_served(models, tmp_path):
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    checksums.write(tmp_path / "model.sha256", [tmp_path / "model.tflite"])
    Reader(tmp_path)
    content = bytearray((tmp_path / "model.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(UserError, match="model.tflite is damaged"):
        Reader(tmp_path)


def test_ids_sort_by_time():
    ids = []
    for _ in range(5):
        ids.append(new_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert all(re.fullmatch("[0-9A-HJKMNP-TV-Z]{26}", each) for each in ids)


def test_a_drawing_on_the_page_is_read_and_its_correction_kept(serve, browser):
    """The page, the server's security headers and its log together, in a real browser."""
    said, asked = [], []
    # A server of its own: the page leaves out a reading that a busy one refuses.
    with serve() as server, browser.new_page(viewport={"width": 390, "height": 800}) as page:
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{server.url}/")
        pad = page.locator("#pad").bounding_box()
        page.mouse.move(pad["x"] + pad["width"] / 2, pad["y"] + 40)
        page.mouse.down()
        page.mouse.move(pad["x"] + pad["width"] / 2 - 10, pad["y"] + pad["height"] - 40, steps=8)
        page.mouse.up()
        page.wait_for_selector("#correction:not([hidden])")
        assert page.locator("#seen").is_visible() and page.locator("#bars tr").count() == 10
        page.click("#labels button >> nth=1")
        page.wait_for_selector("#thanks:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert said == []
    assert all(url.startswith((f"{server.url}/", "data:", "blob:")) for url in asked)
    *_, correction = log.corrections(server.log)
    assert correction.label == 1 and correction.image.reshape(28, 28).any()

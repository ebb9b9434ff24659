"""How quickly the server answers, beside LiteRT called in a loop.

    python -m benchmarks.serving                            # the model in models/
    python -m benchmarks.serving --litserve ENV/bin/python  # also LitServe, installed there with ai-edge-litert, Pillow

A real server is asked by a load generator that others wrote, wrk or hey, with 1, 8 and 64 clients. The loop calls the
same model on one thread in a process for each core, as many images a call as a request has. It is measured before and
after each kind of request, since other programs take time as well. So does the generator, on the same cores. The last
column depends less on both: the processor time of the loop for an image, as a share of the server's. Compare ratios
within one run.

A picture is a PNG of 28×28 pixels, sent as a form, prepared, read and logged. Images of the Open Inference Protocol are
sent as bytes and logged too. LitServe gets the same pictures, with a process for each core; it prepares and logs
nothing.
"""

import argparse
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from PIL import Image

from serving.reading import Reader
from stages.common.entry import UserError, run
from stages.download.embedded import digits
from stages.preprocess.images import to_network_size

CLIENTS = (1, 8, 64)
BATCHES = (1, 100)  # images in a request of the protocol
START_SECONDS = 60
LEFT_SECONDS = 2  # for what the generator asked and did not wait for
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
# Only what LitServe's documentation shows for a server of one's own model.
LITSERVE = """
import sys
import litserve
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

class Digits(litserve.LitAPI):
    def setup(self, device):
        self.interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
        self.interpreter.allocate_tensors()

    def decode_request(self, request):
        return np.asarray(Image.open(request["picture"].file).convert("L"), np.float32).reshape(1, 28, 28, 1)

    def predict(self, image):
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], image)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.interpreter.get_output_details()[0]["index"])[0]

    def encode_response(self, probabilities):
        return {"label": int(probabilities.argmax()), "probabilities": probabilities.tolist()}

if __name__ == "__main__":
    server = litserve.LitServer(Digits(), accelerator="cpu", workers_per_device=int(sys.argv[3]))
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
"""


class Asked(NamedTuple):
    """A kind of request: its name in the table, where it goes, what it sends, and how many images that are."""

    name: str
    path: str
    headers: dict[str, str]
    body: bytes
    images: int


class Server(NamedTuple):
    """A running server; `group` is the number of its process group."""

    address: str
    group: int


class Load(NamedTuple):
    """What the generator measured. Times are in milliseconds."""

    median: float
    p99: float
    requests: int
    seconds: float
    failed: bool  # an answer was none, or not 200


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--models", type=Path, default=Path("models"), help="folder with model.tflite, package.json")
    options.add_argument("--seconds", type=int, default=5, help="for each measurement (default: 5)")
    options.add_argument("--litserve", metavar="PYTHON", help="a Python that has LitServe, ai-edge-litert and Pillow")
    chosen = options.parse_args()
    generator = shutil.which("wrk") or shutil.which("hey")
    if generator is None:
        raise UserError("a load generator is missing: `apt-get install wrk`, or hey")
    images = to_network_size(digits()["t10k-images-idx3-ubyte"], 28, 1, "box")
    images = np.concatenate([images] * -(-max(BATCHES) // len(images)))
    kinds = [picture(images[0]), *(tensor(images[:count]) for count in BATCHES)]
    print(f"{'':23} {'clients':>7} {'p50':>9} {'p99':>9} {'requests/s':>10} {'images/s':>8}  of LiteRT   in CPU time")
    with TemporaryDirectory() as folder:
        with server(chosen.models, Path(folder)) as started:
            for kind in kinds:
                measure(kind, started, generator, chosen.models, images, chosen.seconds, Path(folder))
        if chosen.litserve:
            with litserve(chosen.litserve, chosen.models, Path(folder)) as started:
                kind = picture(images[0])._replace(name="a picture, LitServe")
                measure(kind, started, generator, chosen.models, images, chosen.seconds, Path(folder))


def picture(image: np.ndarray) -> Asked:
    """A request to /predict: `image`, uint8 (28, 28), as a PNG in a form."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    head = (
        b'--edge\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    )
    body = head + file.getvalue() + b"\r\n--edge--\r\n"
    return Asked("a picture, /predict", "/predict", {"Content-Type": "multipart/form-data; boundary=edge"}, body, 1)


def tensor(images: np.ndarray) -> Asked:
    """A request of the Open Inference Protocol: `images`, uint8 (N, 28, 28), as bytes, as its clients send them."""
    entry = {"name": "images", "datatype": "UINT8", "shape": images.shape}
    size = {"binary_data_size": images.nbytes}
    head = json.dumps({"inputs": [entry | {"parameters": size}], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    name = f"{len(images)} image{'s' if len(images) > 1 else ''}, /v2 infer"
    return Asked(name, "/v2/models/digits/infer", headers, head + images.tobytes(), len(images))


def measure(
    kind: Asked, server: Server, generator: str, models: Path, images: np.ndarray, seconds: int, folder: Path
) -> None:
    """Print a line for the loop and one for each number of clients."""
    loops = [looped_on_all_cores(models, images[: kind.images], seconds)]
    loads = []
    for clients in CLIENTS:
        loaded(generator, server.address, kind, clients, 1, folder)
        time.sleep(LEFT_SECONDS)
        before = processor_seconds(server.group)
        load = loaded(generator, server.address, kind, clients, seconds, folder)
        time.sleep(LEFT_SECONDS)
        loads.append((load, processor_seconds(server.group) - before))
    loops.append(looped_on_all_cores(models, images[: kind.images], seconds))
    rate, own = (sum(pair) / 2 for pair in zip(*loops))
    print(f"{f'LiteRT, {kind.images} a call':23} {'':38} {rate:>8,.0f}       100 %         100 %")
    for clients, (load, spent) in zip(CLIENTS, loads):
        found = load.requests / load.seconds * kind.images
        share, processor = 100 * found / rate, 100 * own * load.requests * kind.images / spent
        print(
            f"{kind.name:23} {clients:>7} {load.median:>6.1f} ms {load.p99:>6.1f} ms {found / kind.images:>10,.0f} "
            f"{found:>8,.0f}  {share:>8.0f} %  {processor:>10.0f} %{'   SOME FAILED' if load.failed else ''}",
            flush=True,
        )


def looped_on_all_cores(models: Path, images: np.ndarray, seconds: int) -> tuple[float, float]:
    """Images a second of all cores together, and seconds of a processor for an image."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        rates, own = zip(*pool.map(looped, [models] * cores, [images] * cores, [seconds] * cores))
    return sum(rates), sum(own) / cores


def looped(models: Path, images: np.ndarray, seconds: int) -> tuple[float, float]:
    """The same of one thread, with all of `images` in each call."""
    reader = Reader(models)
    reader.probabilities(images)
    start, processor, calls = time.perf_counter(), time.process_time(), 0
    while (spent := time.perf_counter() - start) < seconds:
        reader.probabilities(images)
        calls += 1
    return calls * len(images) / spent, (time.process_time() - processor) / (calls * len(images))


def processor_seconds(group: int) -> float:
    """What the living processes of a group have used so far."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def loaded(generator: str, address: str, kind: Asked, clients: int, seconds: int, folder: Path) -> Load:
    """What wrk or hey measures."""
    body, script, url = folder / "body", folder / "request.lua", f"{address}{kind.path}"
    body.write_bytes(kind.body)
    if Path(generator).name == "wrk":
        lines = ['wrk.method = "POST"', f'wrk.body = io.open("{body}", "rb"):read("*a")']
        lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in kind.headers.items()]
        script.write_text("\n".join(lines))
        command = ["-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "--latency", "-s", str(script), url]
    else:
        named = [option for pair in kind.headers.items() for option in ("-H", ": ".join(pair))]
        command = ["-z", f"{seconds}s", "-c", str(clients), "-m", "POST", "-D", str(body), *named, url]
    return understood(subprocess.run([generator, *command], capture_output=True, text=True, check=True).stdout)


def understood(report: str) -> Load:
    """The report of wrk or hey as numbers."""

    def latency(percent: int) -> float:
        if found := re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)\s*$", report, re.MULTILINE):
            return float(found[1]) * MILLISECONDS[found[2]]
        found = re.search(rf"^\s+{percent}%+ in ([\d.]+) secs$", report, re.MULTILINE)
        return float(found[1]) * 1000 if found else float("nan")

    failed = re.search(r"Non-2xx|Socket errors|Error distribution|\[[345]\d\d\]", report) is not None
    if found := re.search(r"(\d+) requests in ([\d.]+)s", report):
        return Load(latency(50), latency(99), int(found[1]), float(found[2]), failed)
    requests = sum(map(int, re.findall(r"^\s+\[\d+\]\s+(\d+) responses", report, re.MULTILINE)))
    whole = re.search(r"Total:\s+([\d.]+) secs", report)
    return Load(latency(50), latency(99), requests, float(whole[1]) if whole else float("nan"), failed)


@contextmanager
def process(command: list[str], address: str | None, folder: Path) -> Iterator[Server]:
    """A server that `command` starts at `address`, or at the one in its first line."""
    errors = folder / "errors"
    with errors.open("w") as said:
        printed = subprocess.PIPE if address is None else said
        started = subprocess.Popen(command, stdout=printed, stderr=said, text=True, start_new_session=True)
    try:
        if started.stdout is not None:
            line = re.search(r"http://\S+:\d+", started.stdout.readline())
            address = line[0] if line else ""
        end = time.monotonic() + START_SECONDS
        while not up(f"{address}"):
            if started.poll() is not None or time.monotonic() > end:
                raise UserError(f"{' '.join(command[:3])} does not start: {errors.read_text()[-500:]}")
            time.sleep(0.1)
        yield Server(f"{address}", started.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        started.wait()


def up(address: str) -> bool:
    try:
        return bool(urlopen(f"{address}/health", timeout=5).status == 200)
    except (URLError, OSError, ValueError):
        return False


@contextmanager
def server(models: Path, folder: Path) -> Iterator[Server]:
    """This repository's server of the model in `models`, with its log in `folder`."""
    command = [sys.executable, "-m", "serving", "--port", "0", "--models", str(models)]
    with process([*command, "--log", str(folder / "requests.sqlite")], None, folder) as started:
        yield started


@contextmanager
def litserve(python: str, models: Path, folder: Path) -> Iterator[Server]:
    """LitServe with the same model."""
    (folder / "server.py").write_text(LITSERVE)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model = (models / "model.tflite").absolute()
    command = [python, str(folder / "server.py"), str(model), str(port), str(os.cpu_count() or 1)]
    with process(command, f"http://127.0.0.1:{port}", folder) as started:
        yield started


if __name__ == "__main__":
    run("serving", main)

"""The trained model in a browser, by stages/package/network.js, against the same model in LiteRT.

    python -m benchmarks.browser             # needs models/model.tflite, data/prepared/test and Chromium

It reads every test image with both, one image at a time, and prints the time of each, the largest difference of any
probability and how many predictions differ: with the weights as they are, and rounded to float16, in half the space.
"""

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from playwright.sync_api import Page, sync_playwright

from stages.common.entry import UserError, no_arguments, run
from stages.evaluate.model import Model
from stages.package import network

MODEL, IMAGES = Path("models/model.tflite"), Path("data/prepared/test/images.npy")
SCRIPT = Path(network.__file__).with_name("network.js")
TOGETHER = 500  # images from one reading of the clock to the next
READ = """([base64, count]) => {
    const pixels = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const size = pixels.length / count;
    const start = performance.now();
    const found = [];
    for (let i = 0; i < count; i++) found.push(Network.run(network, pixels.subarray(i * size, (i + 1) * size)));
    return [performance.now() - start, found.map((probabilities) => Array.from(probabilities))];
}"""


def main() -> None:
    """Read the test images with both and print what they took and where they differ."""
    no_arguments(__doc__)
    for path in (MODEL, IMAGES):
        if not path.exists():
            raise UserError(f"{path} is missing: `dvc repro` first")
    names = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    browser = os.environ.get("CHROMIUM") or next(names, None)
    if not browser:
        raise UserError("no Chromium is found: install it, or name its file in the environment variable CHROMIUM")
    images, model, text = np.load(IMAGES), Model(MODEL), network.as_json(MODEL)
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=browser, args=arguments) as opened:
        for name, given, size in (("float32", text, len(text)), ("float16", in_half(text), len(text) - saved(text))):
            with opened.new_page() as page:
                page.add_script_tag(path=SCRIPT)
                load = page.evaluate(
                    "(json) => { const start = performance.now(); globalThis.network = Network.load(json);"
                    " return performance.now() - start; }",
                    given,
                )
                compare(name, f"{size / 1e6:.2f} MB of JSON, loaded in {load:.0f} ms", images, model, page)


def compare(name: str, about: str, images: np.ndarray, model: Model, page: Page) -> None:
    """Read `images`, uint8 (N, height, width) or with 3 channels, on `page` and with `model`; print three lines."""
    differences, differ, times = [], 0, []
    for start in range(0, len(images), TOGETHER):
        some = images[start : start + TOGETHER]
        milliseconds, found = page.evaluate(READ, [base64.b64encode(some.tobytes()).decode(), len(some)])
        began = time.perf_counter()
        expected = np.concatenate([model.predict(image[np.newaxis]) for image in some])
        times.append((milliseconds / len(some), (time.perf_counter() - began) * 1000 / len(some)))
        differences.append(np.abs(np.array(found) - expected).max())
        differ += int((np.argmax(found, axis=1) != expected.argmax(axis=1)).sum())
    browser, litert = (median(column) for column in zip(*times))
    ratio = median(one / other for one, other in times)
    print(f"{name}: {about}")
    print(f"  {browser:.2f} ms an image, LiteRT {litert:.2f} ms, {ratio:.1f} times as long (medians)")
    print(f"  largest difference of a probability {max(differences):.1e}; {differ} of {len(images):,} read otherwise")


def constants(text: str) -> Iterator[str]:
    """The data of each constant of a network given as JSON: float32, little endian, in base64."""
    return (tensor["data"] for tensor in json.loads(text)["tensors"].values() if "data" in tensor)


def in_half(text: str) -> str:
    """The network's JSON `text` with each weight rounded to float16."""
    for data in constants(text):
        halves = np.frombuffer(base64.b64decode(data), "<f4").astype("<f2")
        text = text.replace(f'"{data}"', f'"{base64.b64encode(halves.astype("<f4").tobytes()).decode()}"')
    return text


def saved(text: str) -> int:
    """Bytes of JSON that float16 in base64 takes less than float32."""
    return sum(len(data) // 2 for data in constants(text))


if __name__ == "__main__":
    run("browser", main)

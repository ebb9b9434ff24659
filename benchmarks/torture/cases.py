"""The damaged and hostile inputs, and the command that each is given to."""

import base64
import gzip
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.torture import damage, texts
from record.documents import dump
from stages.common import parameters

RAW, PREPARED = "data/raw", "data/prepared"
IMAGES, LABELS = f"{RAW}/train-images-idx3-ubyte", f"{RAW}/train-labels-idx1-ubyte"
TABLES = ("classes", "history", "mistakes", "reliability", "robustness", "roc")
PREDICTED = ("confusion_matrix", "series", "suspects", "test")


@dataclass(frozen=True)
class Case:
    """`files` are put into a copy of a finished run, then `command` is called, whose lines begin with `speaker`.

    If it `may_pass`, the damage may be such that nobody can know it.
    """

    name: str
    command: tuple[str, ...]
    speaker: str
    files: dict[str, bytes]
    may_pass: bool = False


def stage(name: str, what: str, files: dict[str, bytes], may_pass: bool = False) -> Case:
    return Case(f"{name}: {what}", (f"stages.{name}",), name, files, may_pass)


def tool(name: str, what: str, files: dict[str, bytes], *arguments: str, may_pass: bool = False) -> Case:
    return Case(f"{name}: {what}", (name, *arguments), name.rpartition(".")[2], files, may_pass)


def cases(base: Path, addresses: dict[str, str]) -> Iterator[Case]:
    """All of them. `base` is a copy of the repository with a finished run, `addresses` are of a server that errs."""
    yield from raw_data(base)
    yield from prepared_data(base)
    yield from models(base)
    yield from configuration(base)
    yield from results(base)
    yield from downloads(base, addresses)
    yield from own_data(base)


def raw_data(base: Path) -> Iterator[Case]:
    images, labels = (base / IMAGES).read_bytes(), (base / LABELS).read_bytes()
    for name, content in [*damage.idx_headers(), *damage.cuts(images)]:
        yield stage("validate", f"images, {name}", {IMAGES: content})
    for name, content in [
        *damage.cuts(labels),
        ("a class 255", labels[:-1] + b"\xff"),
        ("all 0", damage.idx((1437,), bytes(1437))),
    ]:
        yield stage("validate", f"labels, {name}", {LABELS: content})
    for name, content in [*list(damage.idx_headers())[:8], *damage.cuts(images)]:
        if name != "all black":
            yield stage("preprocess", f"images, {name}", {IMAGES: content})
    for name, content in damage.cuts(labels):
        yield stage("preprocess", f"labels, {name}", {LABELS: content})
    for seed in range(10):
        yield stage("validate", f"images, noise in the header {seed}", {IMAGES: damage.noise(images, seed, 16, 2)})
        yield stage("validate", f"labels, noise {seed}", {LABELS: damage.noise(labels, seed, len(labels), 1)}, True)
        yield stage("validate", f"images, noise {seed}", {IMAGES: damage.noise(images, seed, len(images))}, True)
    for name, content in texts.jsons():
        yield stage("validate", f"dataset.json, {name}", {f"{RAW}/dataset.json": content})
        yield stage("preprocess", f"verdict.json, {name}", {"data/verdict.json": content})
    writers = b"writer,series\n" + b"1,0\n" * 1437
    odd = {
        "numbers beyond int64": writers.replace(b"1,0", b"9" * 30 + b",0", 1),
        "text": writers.replace(b"1,0", b"a,b"),
    }
    odd |= {"a row too few": writers[:-4], "NaN": writers.replace(b"1,0", b"nan,nan"), "empty": b"", "NUL": bytes(100)}
    for name, content in odd.items():
        for reader in ("validate", "preprocess"):
            yield stage(reader, f"writers, {name}", {f"{RAW}/train-writers.csv": content})
    for name, content in texts.corrections():
        for reader in ("validate", "preprocess"):
            # An image that is not there is found when the corrections are applied.
            late = reader == "validate" and name in ("an unknown image", "more columns")
            yield stage(reader, f"corrections.csv, {name}", {"corrections.csv": content}, may_pass=late)
    for name, content in damage.pictures():
        row = texts.ROW + b"digits,,,3," + base64.b64encode(content[:90_000]) + b"\n"
        yield stage("preprocess", f"corrections.csv, {name}", {"corrections.csv": row})


def prepared_data(base: Path) -> Iterator[Case]:
    files = {part: np.load(base / PREPARED / part / "images.npy") for part in ("train", "validation", "test")}
    readers = {"evaluate": "test", "package": "train", "report": "test"}
    for number, (name, content) in enumerate(damage.arrays(files["test"])):
        reader = ("evaluate", "report")[number % 2]
        odd = "noise" in name or (reader == "report" and name.endswith("too few"))  # which it need not show
        yield stage(reader, f"images, {name}", {f"{PREPARED}/test/images.npy": content}, odd)
    for number, (name, content) in enumerate(damage.arrays(files["train"])):
        reader = ("package", "train")[number % 2]
        odd = "noise" in name or (reader == "package" and name.endswith("too few"))
        yield stage(reader, f"images, {name}", {f"{PREPARED}/{readers.get(reader, 'train')}/images.npy": content}, odd)
    labels = np.load(base / PREPARED / "test/labels.npy")
    for name, content in {
        "too few": damage.npy(labels[:-1]),
        "floats": damage.npy(labels + 0.5),
        "a class 200": damage.npy(np.full_like(labels, 200)),
        "a pickle": damage.npy(np.array([damage.Runs()], dtype=object), pickles=True),
        "cut": damage.npy(labels)[:-5],
    }.items():
        yield stage("evaluate", f"labels, {name}", {f"{PREPARED}/test/labels.npy": content})
        yield stage("train", f"labels, {name}", {f"{PREPARED}/train/labels.npy": content})


def models(base: Path) -> Iterator[Case]:
    tflite = (base / "models/model.tflite").read_bytes()
    for name, content in damage.cuts(tflite):
        for reader in ("evaluate", "package"):
            yield stage(reader, f"tflite, {name}", {"models/model.tflite": content})
    for name, content in [
        ("a picture", damage.png(1, 1, b"")),
        ("the Keras model", (base / "models/model.keras").read_bytes()),
    ]:
        yield stage("evaluate", f"tflite, {name}", {"models/model.tflite": content})
    for seed in range(12):
        damaged = damage.noise(tflite, seed, (200, len(tflite))[seed % 2])
        yield stage("evaluate", f"tflite, noise {seed}", {"models/model.tflite": damaged}, True)
    archive = {"a pickle": damage.zipped(probabilities__npy=damage.npy(np.array([damage.Runs()], object), True))}
    archive |= {"no arrays": damage.zipped(), "a bomb": damage.zipped(probabilities__npy=bytes(2**29))}
    archive |= {name: content for name, content in damage.cuts(damage.zipped(a__npy=damage.npy(np.zeros(9))))}
    for name, content in archive.items():
        yield stage("evaluate", f"out_of_fold.npz, {name}", {"models/out_of_fold.npz": content}, name == "empty")
    params = (base / "params.yaml").read_bytes()
    for name, content in damage.keras_files():
        start = (
            f"{{path: pretrained/m.keras, sha256: {hashlib.sha256(content).hexdigest()}, frozen_layers: 0}}".encode()
        )
        files = {"pretrained/m.keras": content, "params.yaml": texts.changed(params, b"init_from", start)}
        yield stage("train", f"init_from, {name}", files)


def configuration(base: Path) -> Iterator[Case]:
    params, catalog, lock = ((base / name).read_bytes() for name in ("params.yaml", "datasets.yaml", "dvc.lock"))
    # Anchors are shared, not copied, and a number that is too large is a value like any other.
    fine = ("an anchor in itself", "the anchors of a bomb", "a huge exponent", "a number of 10,000 digits")
    for number, (name, content) in enumerate(texts.yamls(params)):
        reader = ("download", "report", "train")[number % 3]
        yield stage(reader, f"params.yaml, {name}", {"params.yaml": content}, name in fine)
        yield tool("tools.check", f"params.yaml, {name}", {"params.yaml": content})
    for name, content in texts.yamls(catalog):
        yield stage("validate", f"datasets.yaml, {name}", {"datasets.yaml": content}, name in fine)
    for reader, name, content in texts.parameters(params):
        yield stage(reader, f"params.yaml, {name}", {"params.yaml": content})
    more = [("cut", lock[: len(lock) // 2]), ("other types", b"schema: 7\nstages: []\n")]
    for name, content in [*texts.yamls(lock), *more]:
        yield tool("tools.fresh", f"dvc.lock, {name}", {"dvc.lock": content}, may_pass=name in fine)
    values = parameters.parse(catalog)["digits"]
    readers = {"source": "download", "about": "report", "prepare": "preprocess", "disputed": "evaluate"}
    for key in values:
        for odd in (None, 7, [], {}, "x" * 5000):
            files = {"datasets.yaml": dump({"digits": {**values, key: odd}}).encode()}
            may_pass = key == "disputed" and odd == []
            yield stage(readers.get(key, "validate"), f"datasets.yaml, {key} is {str(odd)[:9]!r}", files, may_pass)


def results(base: Path) -> Iterator[Case]:
    chance = random.Random(1)
    for folder, names in (("metrics", TABLES), ("data/predictions", PREDICTED)):
        for name in names:
            content = (base / folder / f"{name}.csv").read_bytes()
            damages = list(texts.tables(content))
            for what, damaged in chance.sample(damages, 6):
                empty = content.count(b"\n") < 2 or what in ("a space", "escape bytes", "NUL bytes", "infinity")
                yield stage("report", f"{name}.csv, {what}", {f"{folder}/{name}.csv": damaged}, empty or what in MAY)
    for name in ("environment", "evaluate", "train"):
        for what, damaged in texts.jsons():
            yield stage("report", f"{name}.json, {what}", {f"metrics/{name}.json": damaged})


MAY = ("a field of 1 MB", "merge markers", "text for numbers", "a row too short")


def downloads(base: Path, addresses: dict[str, str]) -> Iterator[Case]:
    names = [path.name for path in sorted((base / RAW).glob("*ubyte"))]
    contents = {name: (base / RAW / name).read_bytes() for name in names}
    sums = {name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in contents.items()}
    params = texts.changed((base / "params.yaml").read_bytes(), b"dataset", b"tortured")
    params = texts.changed(params, b"timeout_seconds", b"2")
    catalog = parameters.parse((base / "datasets.yaml").read_bytes())

    def entry(mirror: str, files: dict[str, str]) -> dict[str, bytes]:
        source = {
            "mirrors": [mirror],
            "mirror_variable": "TORTURED_MIRROR",
            "files": files,
            "largest_file_bytes": 2**26,
        }
        return {
            "params.yaml": params,
            "datasets.yaml": dump({"tortured": {**catalog["digits"], "source": source}}).encode(),
        }

    for how, address in addresses.items():
        yield stage("download", f"HTTP, {how}", entry(address, sums))
    for odd in (
        "http://",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "gopher://x/",
        "file:///etc/",
        "s3://",
        "/dev/",
        "\x1b[2J",
        "http://\x1b[2J/",
    ):
        yield stage("download", f"the mirror {odd!r}", entry(odd, sums))
    whole = {f"mirror/{name}": content for name, content in contents.items()}
    for name, content in damage.gzips(contents[names[0]]):
        files = whole | {f"mirror/{names[0]}.gz": content}
        fine = name in ("gzip, rubbish behind it",)
        yield stage("download", name, files | entry("mirror", sums), fine)
        told = f"sha256-gz:{hashlib.sha256(content).hexdigest()}"
        if "bomb" in name or "cut" in name or "half" in name or "endless" in name:
            promised = files | entry("mirror", sums | {names[0]: told})
            fine = name == "gzip, a bomb in a bomb"  # 256 KB that have the promised checksum: `validate` refuses them
            yield stage("download", f"{name}, as promised", promised, fine)


def own_data(base: Path) -> Iterator[Case]:
    import_it = ("--name", "mine", "--", "mine")
    for name, content in damage.pictures():
        black_below = name == "png, too few rows"  # as every viewer of pictures shows it
        yield tool("serving.predict", name, {"mine.png": content}, "mine.png", may_pass=black_below)
        files = {f"mine/{label}/{number}.png": content for label in "01" for number in range(3)}
        yield tool("tools.import", f"a folder of {name}", files, *import_it)
    good = damage.zipped(x__npy=damage.npy(np.zeros((50, 8, 8), np.uint8)), y__npy=damage.npy(np.zeros(50, np.uint8)))
    hostile = {f"npz, {name}": content for name, content in damage.cuts(good)}
    for name, content in damage.arrays(np.zeros((50, 8, 8), np.uint8)):
        hostile[f"npz of {name}"] = damage.zipped(x__npy=content, y__npy=damage.npy(np.zeros(50, np.uint8)))
    hostile["npz, a bomb"] = damage.zipped(x__npy=bytes(2**30), y__npy=damage.npy(np.zeros(50, np.uint8)))
    hostile["npz, outside its folder"] = damage.zipped(**{"../../x": damage.npy(np.zeros(5))})
    for name, content in hostile.items():
        yield tool("tools.import", name, {"mine.npz": content}, "--name", "mine", "--", "mine.npz")
    csv = b"label," + b",".join(b"p%d" % n for n in range(64)) + b"\n" + (b"1," + b",".join([b"9"] * 64) + b"\n") * 50
    for name, content in [*texts.tables(csv), ("gzip", gzip.compress(csv)[:50])]:
        yield tool(
            "tools.import", f"csv, {name}", {"mine.csv": content}, "--name", "mine", "--", "mine.csv", may_pass=True
        )
    for name, content in damage.cuts(b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1"):
        yield tool(
            "tools.import", f"parquet, {name}", {"mine.parquet": content}, "--name", "mine", "--", "mine.parquet"
        )

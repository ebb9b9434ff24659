"""Damaged and hostile contents, the same in every run."""

import gzip
import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

MARK = "torture-was-here"  # what hostile code writes: it must never be there


class Runs:
    """An object that writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (MARK, "w")


def cuts(content: bytes) -> Iterator[tuple[str, bytes]]:
    """`content` cut short, too long and as something else."""
    yield "empty", b""
    yield "one byte", content[:1]
    yield "half", content[: len(content) // 2]
    yield "the last byte missing", content[:-1]
    yield "a web page", b"<!doctype html><title>Sign in</title>" * 20
    yield "zeros", bytes(len(content))


def noise(content: bytes, seed: int, until: int, flips: int = 4) -> bytes:
    """`content` with a few random bytes among the first `until`."""
    chance, changed = random.Random(seed), bytearray(content)
    for _ in range(flips):
        changed[chance.randrange(min(until, len(changed)))] = chance.randrange(256)
    return bytes(changed)


def idx(shape: tuple[int, ...], content: bytes = b"", kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


def idx_headers() -> Iterator[tuple[str, bytes]]:
    """IDX files of images whose headers lie."""
    most = 2**32 - 1
    yield "a product beyond int64", idx((most, most, most), bytes(64))
    yield "a product of 2^64", idx((2**31, 2**31, 4), bytes(64))
    yield "a product of 2^64 that wraps to the length", idx((2**31, 2**31, 4))
    yield "4 billion images", idx((most, 8, 8), bytes(64))
    yield "no images", idx((0, 8, 8))
    yield "images without rows", idx((1437, 0, 8))
    yield "a row of 4 billion pixels", idx((1, 1, most), bytes(64))
    yield "floats", idx((1437, 8, 8), bytes(4 * 1437 * 64), 13)
    yield "an unknown type", idx((1437, 8, 8), bytes(1437 * 64), 255)
    yield "two dimensions", idx((1437, 64), bytes(1437 * 64))
    yield "255 dimensions", bytes([0, 0, 8, 255]) + bytes(4 * 255)
    yield "pixels of 9×9", idx((1437, 9, 9), bytes(1437 * 81))
    yield "one image too few", idx((1436, 8, 8), bytes(1436 * 64))
    yield "all black", idx((1437, 8, 8), bytes(1437 * 64))


def zeros(size: int) -> bytes:
    """So many zero bytes as gzip: a thousandth of their size, made without holding them."""
    packer, out = zlib.compressobj(9, zlib.DEFLATED, 31), []
    block = bytes(2**22)
    for _ in range(size // len(block)):
        out.append(packer.compress(block))
    return b"".join([*out, packer.flush()])


def gzips(content: bytes) -> Iterator[tuple[str, bytes]]:
    """gzip files that are not `content`."""
    packed = gzip.compress(content, mtime=0)
    yield from ((f"gzip, {name}", damaged) for name, damaged in cuts(packed))
    yield "gzip, wrong CRC", packed[:-8] + bytes(4) + packed[-4:]
    yield "gzip, wrong length", packed[:-4] + b"\xff\xff\xff\xff"
    yield "gzip, nested", gzip.compress(packed, mtime=0)
    yield "gzip, rubbish behind it", packed + b"rubbish"
    yield "gzip, two members", packed + packed
    yield "gzip, a bomb of 2 GB", zeros(2**31)
    yield "gzip, a bomb in a bomb", gzip.compress(zeros(2**28), mtime=0)
    yield "gzip, a header alone", packed[:10]
    yield "gzip, an endless name", b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 2**20
    yield from ((f"gzip, noise {seed}", noise(packed, seed, len(packed), 20)) for seed in range(4))


def npy(array: np.ndarray, pickles: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickles)
    return file.getvalue()


def arrays(array: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """.npy files that are not `array`, images uint8."""
    whole = npy(array)
    yield from ((f"npy, {name}", damaged) for name, damaged in cuts(whole))
    yield "npy, a pickle", npy(np.array([Runs()], dtype=object), pickles=True)
    yield "npy, a bare pickle", pickle.dumps(Runs())
    yield "npy, floats", npy(array.astype(np.float64))
    yield "npy, one dimension", npy(array.ravel())
    yield "npy, no images", npy(array[:0])
    yield "npy, a scalar", npy(np.array(1, np.uint8))
    yield "npy, text", npy(np.array(["a", "b"]))
    yield "npy, one image too few", npy(array[:-1])
    yield "npy, other pixels", npy(array[:, :-1])
    yield "npy, 2^60 images", whole.replace(b"(%d," % len(array), b"(%d," % 2**60, 1)
    yield "npy, a negative shape", whole.replace(b"(%d," % len(array), b"(-%d," % (len(array) // 10), 1)
    yield "npy, a header that calls", whole.replace(b"'descr': '|u1'", b"'descr': exit() ", 1)
    yield "npy, a header of 64 KB", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535
    yield "npy, version 9", b"\x93NUMPY\x09\x00" + whole[8:]
    yield from ((f"npy, noise {seed}", noise(whole, seed, 128)) for seed in range(4))


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


def keras_files() -> Iterator[tuple[str, bytes]]:
    """.keras files that are no model, or that would run something."""
    metadata = json.dumps({"keras_version": "3.15.0", "date_saved": "2026-01-01@00:00:00"}).encode()
    call = {"class_name": "function", "config": "system", "registered_name": "system", "module": "os"}
    layer = {"module": "keras.layers", "class_name": "Lambda", "registered_name": None}
    code = ["cHJpbnQoMSkK", None, None]  # bytecode in base64, as Keras stores a Lambda
    hostile = {
        "an unknown class": {"module": "nowhere", "class_name": "Evil", "config": {}, "registered_name": "Evil"},
        "a class of os": {"module": "os", "class_name": "system", "config": {"command": f"touch {MARK}"}},
        "a class of subprocess": {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", MARK]}},
        "a call of exec": {"module": "builtins", "class_name": "exec", "config": {"source": f"open('{MARK}','w')"}},
        "a lambda": layer
        | {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": code}}},
        "a lambda of os.system": layer | {"class_name": "Lambda", "config": {"function": call, "arguments": {}}},
        "no layers": layer | {"class_name": "Sequential", "config": {"name": "s", "layers": []}, "module": "keras"},
        "a list": [],
        "a number": 10**400,
        "nothing": None,
    }
    for name, config in hostile.items():
        content = json.dumps(config).encode()
        yield f"keras, {name}", zipped(metadata__json=metadata, config__json=content, model__weights__h5=b"")
    yield "keras, 100,000 levels", zipped(metadata__json=metadata, config__json=b"[" * 10**5, model__weights__h5=b"")
    yield "keras, without a configuration", zipped(metadata__json=metadata)
    yield "keras, a bomb", zipped(metadata__json=metadata, config__json=bytes(2**28), model__weights__h5=b"")
    yield "keras, a bare pickle", pickle.dumps(Runs())
    yield "keras, HDF5 alone", b"\x89HDF\r\n\x1a\n" + bytes(512)


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG file; `rows` are its compressed pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def pictures() -> Iterator[tuple[str, bytes]]:
    """Files that are called pictures."""
    rows = bytes(28 * 29)
    good = png(28, 28, zlib.compress(rows))
    yield from ((f"png, {name}", damaged) for name, damaged in cuts(good) if name != "the last byte missing")
    yield "png, a bomb of 10 billion pixels", png(100_000, 100_000, zlib.compress(bytes(2**20)))
    yield "png, a bomb of 2^62 pixels", png(2**31 - 1, 2**31 - 1, zlib.compress(rows))
    yield "png, a bomb of 400 million pixels", png(20_000, 20_000, zlib.compress(bytes(20_001 * 20_000), 9))
    yield "png, no pixels", png(0, 0, zlib.compress(b""))
    yield "png, too few rows", png(28, 280, zlib.compress(rows))
    yield "png, wrong filter", png(28, 28, zlib.compress(b"\x09" * len(rows)))
    yield "png, wrong depth", png(28, 28, zlib.compress(rows), depth=7)
    yield "png, damaged deflate", png(28, 28, b"\x78\x9c" + bytes(40))
    yield "png, a header alone", good[:33]
    yield "gif, a bomb", b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\x00\x00" + bytes(6) + b"," + bytes(40)
    yield "bmp, negative size", b"BM" + struct.pack("<IHHIIiiHH", 58, 0, 0, 54, 40, -5, -5, 1, 24) + bytes(28)
    yield "tiff, a circle of directories", b"II*\x00\x08\x00\x00\x00" + struct.pack("<HI", 0, 8)
    yield "jpeg, a header alone", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(20)
    yield "webp, cut", b"RIFF\xff\xff\xff\x7fWEBPVP8 \x00\x00"
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n(torture-was-here) (w) file\n"
    yield "a pickle", pickle.dumps(Runs())

"""Damaged and hostile texts: YAML, CSV and JSON, the same in every run."""

from collections.abc import Iterator


def broken(content: bytes) -> Iterator[tuple[str, bytes]]:
    """`content` that is no longer the text it was."""
    yield "empty", b""
    yield "a space", b" \n"
    yield "UTF-16", content.decode().encode("utf-16")
    yield "NUL bytes", content[:40] + b"\0\0" + content[40:]
    yield "Latin-1", content + b"# gr\xfcn\n"
    yield "escape bytes", content[:40] + b"\x1b[2J" + content[40:]
    yield "merge markers", b"<<<<<<< HEAD\n" + content + b"=======\n" + content + b">>>>>>> other\n"
    yield "random bytes", bytes(range(256)) * 16


def yamls(content: bytes) -> Iterator[tuple[str, bytes]]:
    """YAML files that are no table of blocks."""
    yield from broken(content)
    yield "a list", b"- 1\n- 2\n"
    yield "a number", b"42\n"
    yield "text", b"just text\n"
    yield "5,000 levels", content + b"deep: " + b"[" * 5000 + b"]" * 5000 + b"\n"
    yield "5,000 levels of keys", content + b"deep: " + b"{a: " * 5000 + b"1" + b"}" * 5000 + b"\n"
    yield "a tab", content + b"\tkey: 1\n"
    yield "a Python object", content + b"evil: !!python/object/apply:os.system ['touch torture-was-here']\n"
    yield "an unknown anchor", content + b"deep: *nowhere\n"
    yield "the anchors of a bomb", content + bomb()
    yield "an anchor in itself", content + b"deep: &a [*a]\n"
    yield "an open quote", content + b'key: "open\n'
    yield "two documents", content + b"---\n" + content
    yield "an impossible date", content + b"day: 2026-13-45\n"
    yield "a huge exponent", content + b"number: 1e99999999999\n"
    yield "a number of 10,000 digits", content + b"number: " + b"9" * 10_000 + b"\n"


def bomb() -> bytes:
    """A billion laughs."""
    lines = [b"l0: &l0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [b"l%d: &l%d [%s]" % (n, n, b", ".join([b"*l%d" % (n - 1)] * 9)) for n in range(1, 10)]
    return b"\n".join(lines) + b"\n"


# Values that no parameter may have, and what they look like.
ODD = {
    "nan": ".nan",
    "infinity": ".inf",
    "10^400": "1" + "0" * 400,
    "-10^400": "-1" + "0" * 400,
    "a list": "[]",
    "a table": "{}",
    "yes": "yes",
    "minutes": "1:30",
    "an underscore": "1_000",
    "text": "'5'",
    "null": "null",
    "a date": "2026-01-01",
    "true": "true",
    "a float": "5.5",
    "5,000 letters": "x" * 5000,
    "an escape": '"\\e[2J"',
}


def parameters(content: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Stage, name and a params.yaml in which one of the stage's parameters is wrong."""
    keys = {
        "download": b"timeout_seconds",
        "validate": b"sample_images",
        "preprocess": b"seed",
        "train": b"epochs",
        "evaluate": b"reliability_bins",
        "package": b"refused_fraction",
        "report": b"gallery_images",
    }
    for number, (name, value) in enumerate(ODD.items()):
        for stage in [list(keys)[number % 7], list(keys)[(number + 3) % 7]]:
            if (stage, name) not in (("package", "a float"),):
                yield stage, name, changed(content, keys[stage], value.encode())
    yield "download", "a key twice", content.replace(b"download:\n", b"download:\n  attempts: 3\n  attempts: 4\n", 1)
    yield "download", "a block twice", content + b"download:\n  attempts: 3\n"
    yield "train", "an unknown key", content.replace(b"\ntrain:\n", b"\ntrain:\n  epoch: 3\n")
    yield "train", "an unknown model", changed(content, b"model", b"__import__('os').system('touch torture-was-here')")
    yield "train", "a private model", changed(content, b"model", b"__class__")
    yield "train", "2^63 images a step", changed(content, b"batch_size", b"9223372036854775808")
    yield "train", "2^63 epochs", changed(content, b"epochs", b"9223372036854775808")
    yield "preprocess", "2^63 pixels", changed(content, b"image_size", b"9223372036854775808")
    yield "preprocess", "0020", changed(content, b"seed", b"'0020'")
    for value in (b"../../etc/passwd", b"''", b"'\\0'", b"[digits]", b"~"):
        yield "download", f"the data set {value.decode()}", changed(content, b"dataset", value)


def changed(content: bytes, key: bytes, value: bytes) -> bytes:
    """`content` with another value in the first line that has `key`."""
    lines = content.split(b"\n")
    at = next(number for number, line in enumerate(lines) if line.strip().startswith(key + b":"))
    lines[at] = lines[at].partition(b":")[0] + b": " + value
    return b"\n".join(lines)


ROW = b"dataset,image,from,to,pixels\n"


def corrections() -> Iterator[tuple[str, bytes]]:
    """Tables corrections.csv that cannot be meant."""
    image = b"0123456789abcdef" * 2
    yield from ((name, text) for name, text in broken(ROW) if name in ("UTF-16", "Latin-1", "random bytes"))
    yield "no header", b"digits," + image + b",1,2,\n"
    yield "an unknown image", ROW + b"digits," + image + b",1,2,\n"
    yield "an image twice", ROW + (b"digits," + image + b",1,2,\n") * 2
    yield "no fingerprint", ROW + b"digits,../../x,1,2,\n"
    yield "a class 10", ROW + b"digits," + image + b",1,10,\n"
    yield "a class -1", ROW + b"digits," + image + b",-1,1,\n"
    yield "no label", ROW + b"digits," + image + b",,,\n"
    yield "an open quote", ROW + b'digits,"' + image + b",1,2,\n"
    yield "a field of 1 MB", ROW + b"digits," + b"f" * 2**20 + b",1,2,\n"
    yield "an escape", ROW + b"digits,\x1b[2J,1,2,\n"
    yield "NUL", ROW + b"digits,\0,1,2,\n"
    yield "merge markers", ROW + b"<<<<<<< HEAD\ndigits," + image + b",1,2,\n=======\n>>>>>>> other\n"
    yield "more columns", ROW + b"digits," + image + b",1,2,,,,\n"


def jsons() -> Iterator[tuple[str, bytes]]:
    """JSON files that hold no object of numbers."""
    yield from ((name, text) for name, text in broken(b'{"accuracy": 0.9, "accuracy_low": 0.8, "name": 1}'))
    yield "cut", b'{"accuracy": 0.9, "accu'
    yield "a list", b"[]"
    yield "no keys", b"{}"
    yield "null", b"null"
    yield "NaN", b"NaN"
    yield "100,000 levels", b"[" * 10**5
    yield "a number of 10,000 digits", b'{"accuracy": ' + b"9" * 10_000 + b"}"
    yield "other types", b'{"accuracy": "high", "success": "no", "name": [], "files": 7}'


def tables(content: bytes) -> Iterator[tuple[str, bytes]]:
    """CSV files that are not `content`."""
    header, *rows = content.splitlines(keepends=True)
    yield from broken(content)
    yield "no header", b"".join(rows)
    yield "text for numbers", header + b",".join([b"x"] * len(header.split(b","))) + b"\n"
    yield "a row too short", content + b"1\n"
    yield "an open quote", header + b'"' + b"".join(rows)
    yield "a field of 1 MB", header + b"1" * 2**20 + b"\n"
    yield "infinity", header + b",".join([b"inf"] * len(header.split(b","))) + b"\n"

"""`make predict IMAGE=photo.jpg`: read digits in pictures, in the terminal.

    python -m serving.predict photo.jpg            one digit, drawn as the model saw it
    python -m serving.predict --several code.png   all digits in a picture, in reading order
    python -m serving.predict folder/ --json       every picture in a folder, a line of JSON each
    cat seven.png | python -m serving.predict -    standard input
    python -m serving.predict --clipboard          the picture in the clipboard

Exit code 1 if something is no picture; the others are read all the same.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from serving.reading import Digit, Reader, opened, prepared
from stages.common.entry import UserError, printable, run, words
from stages.common.files import found
from stages.download.pictures import TABLE, files_of
from stages.preprocess.several import Blob

SHADES = " ░▒▓█"
CLIPBOARDS = (["wl-paste", "--type", "image/png"], ["xclip", "-selection", "clipboard", "-t", "image/png", "-o"])
LARGEST_FILE_BYTES = 256 << 20  # of standard input
AHEAD = 64  # pictures that are prepared before the first is answered
DRAWN = 3  # pictures at most that are drawn in the terminal unless asked


def main(arguments: Sequence[str]) -> None:
    options = parse(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a name may have any character
    reader = Reader(options.models)
    drawn = options.draw or (sys.stdout.isatty() and not options.json and not any(map(is_folder, options.files)))
    failed = False
    for number, (name, picture) in enumerate(pictures(options)):
        if isinstance(picture, Exception):
            print(f"predict: {printable(words(picture))}", file=sys.stderr)
            failed = True
            continue
        digits = reader.read_prepared(picture)
        if options.json:
            print(json.dumps({"file": name, **as_json(digits, reader.classes)}, ensure_ascii=False))
            continue
        print(sentence(printable(name), digits, reader.classes))
        if drawn and (options.draw or number < DRAWN):
            print("\n".join(drawing(digit.image) for digit in digits))
    if failed:
        sys.exit(1)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(
        prog="python -m serving.predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("files", nargs="*", help="pictures or folders of pictures; -: standard input")
    options.add_argument("--several", action="store_true", help="read all digits of each picture, not just one")
    options.add_argument("--json", action="store_true", help="print a line of JSON for each picture")
    options.add_argument("--draw", action="store_true", help="draw what the model saw, whatever the output is")
    options.add_argument("--clipboard", action="store_true", help="read the picture in the clipboard")
    options.add_argument("--models", type=Path, default=Path("models"), help="folder with model.tflite, package.json")
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    chosen = options.parse_intermixed_args(arguments[:end])
    chosen.files += arguments[end + 1 :]  # whatever they begin with
    if not (chosen.files or chosen.clipboard):
        options.error("name a picture, a folder, - or --clipboard")
    return chosen


def is_folder(name: str) -> bool:
    return name != "-" and found(name).is_dir()


def pictures(options: argparse.Namespace) -> Iterator[tuple[str, list[Blob] | UserError | OSError]]:
    """Name and ink of each picture that `options` names, or why it cannot be read, in their order."""
    if options.clipboard:
        yield "clipboard", attempt(lambda: opened(io.BytesIO(from_clipboard()), "clipboard"), options.several)
    names: list[str] = []
    for name in options.files:
        if is_folder(name):
            inside = [str(Path(name) / file) for file in files_of(found(name)) if file != TABLE]
            if not inside:
                yield name, UserError(f"{name}: holds no pictures")
            names += inside
        else:
            names.append(name)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(names), AHEAD):  # so many pictures in memory at most
            some = names[start : start + AHEAD]
            yield from zip(some, pool.map(lambda name: attempt(partial(from_file, name), options.several), some))


def attempt(read: Callable[[], np.ndarray], several: bool) -> list[Blob] | UserError | OSError:
    try:
        return prepared(read(), several)
    except (UserError, OSError) as error:
        return error


def from_file(name: str) -> np.ndarray:
    """The picture in the file `name`, or in standard input if that is `-`."""
    if name == "-":
        content = sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1)
        if len(content) > LARGEST_FILE_BYTES:
            raise UserError(f"standard input: more than {LARGEST_FILE_BYTES >> 20} MiB, no picture")
        return opened(io.BytesIO(content), "standard input")
    path = found(name)
    if not path.exists():
        raise UserError(f"{name}: there is no such file")
    if not path.is_file():
        raise UserError(f"{name}: not a file; `-` reads standard input")  # a pipe may never end
    with path.open("rb") as file:
        return opened(file, name)


def from_clipboard() -> bytes:
    """The picture in the clipboard as a PNG file. Raises `UserError` if there is none, or no program to ask."""
    if sys.platform in ("darwin", "win32"):
        from PIL import Image, ImageGrab

        grabbed = ImageGrab.grabclipboard()
        if not isinstance(grabbed, Image.Image):
            raise UserError("clipboard: holds no picture")
        buffer = io.BytesIO()
        grabbed.save(buffer, "PNG")
        return buffer.getvalue()
    for command in CLIPBOARDS:
        wanted = "WAYLAND_DISPLAY" if command[0] == "wl-paste" else "DISPLAY"
        if os.environ.get(wanted) and shutil.which(command[0]):
            ended = subprocess.run(command, capture_output=True)
            if ended.returncode or not ended.stdout:
                raise UserError("clipboard: holds no picture")
            return ended.stdout
    raise UserError("no picture is named, and the clipboard needs a desktop with wl-paste or xclip: name a picture")


def sentence(name: str, digits: list[Digit], classes: list[str]) -> str:
    """What was read in the picture `name`, on a line."""
    if not digits:
        return f"{name}: no digit found"
    if len(digits) > 1:
        return f"{name}: {text(digits)}  (least sure: {min(digit.confidence for digit in digits):.1%})"
    digit = digits[0]
    second = int(np.argsort(digit.probabilities)[-2])
    next_best = f"then {classes[second]}, {digit.probabilities[second]:.1%}"
    answer = digit.label if digit.sure else f"not sure, perhaps {digit.label}"
    return f"{name}: {answer}, {digit.confidence:.1%} ({next_best})"


def text(digits: list[Digit]) -> str:
    """The labels in reading order, ? for one that is not sure."""
    return "".join(digit.label if digit.sure else "?" for digit in digits)


def as_json(digits: list[Digit], classes: list[str]) -> dict[str, Any]:
    return {
        "text": text(digits),
        "digits": [
            {
                "label": digit.label,
                "sure": digit.sure,
                "confidence": round(digit.confidence, 6),
                "probabilities": {name: round(float(p), 6) for name, p in zip(classes, digit.probabilities)},
                "box": digit.box,
                "done": digit.done,
            }
            for digit in digits
        ],
    }


def drawing(image: np.ndarray) -> str:
    """`image`, uint8 (height, width), in characters: two for each pixel, so that it looks square."""
    levels = (image.astype(int) * (len(SHADES) - 1) + 127) // 255
    return "\n".join("".join(SHADES[level] * 2 for level in row).rstrip() for row in levels[4:24])


if __name__ == "__main__":
    run("predict", partial(main, sys.argv[1:]))

"""`make identical`: run the pipeline twice in different surroundings and compare every byte that it writes.

The runs differ in path, home, temporary folder, user, host, date and time, time zone, locale, hash seed, file
permissions, number of processor cores, width of the terminal and the order in which folders are listed. Both are made
in copies of the working tree, with what params.yaml says, or with --portable on the embedded digits in the precision
`portable`. The last line is a row for the table of machines in docs/trust.md.
"""

import argparse
import locale
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from record.copies import copy_repository
from record.identity import described, files, machine, made, outputs
from stages.common.entry import UserError, run

SURROUNDINGS = Path(__file__).parent / "surroundings"
RUNS = {
    "first": {
        "umask": 0o022,
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "USER": "ada",
        "LOGNAME": "ada",
        "USER_ID": "1000",
        "HOSTNAME": "here",
        "SECONDS_AHEAD": "0",
        "COLUMNS": "200",
        "PYTHONHASHSEED": "0",
        "LIST_FOLDERS": "forwards",
        "CORES": "all",
    },
    "another place/second": {
        "umask": 0o077,
        "TZ": "Pacific/Kiritimati",
        "LANG": "C",
        "LC_ALL": "C",
        "USER": "grace",
        "LOGNAME": "grace",
        "USER_ID": "4242",
        "HOSTNAME": "elsewhere",
        "SECONDS_AHEAD": "37654321",  # 436 days: another year, month and weekday
        "COLUMNS": "40",
        "PYTHONHASHSEED": "4242",
        "LIST_FOLDERS": "backwards",
        "CORES": "one",
    },
}
PORTABLE = {"download": {"dataset": "digits"}, "train": {"precision": "portable"}}  # what --portable changes
COMMAS = [f"{name}.UTF-8" for name in ("de_DE", "fr_FR", "es_ES", "it_IT", "pt_BR", "nl_NL", "pl_PL", "ru_RU", "sv_SE")]


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tools.identical", description=__doc__)
    options.add_argument("--portable", action="store_true", help="on the digits, in the precision `portable`: minutes")
    portable = options.parse_args(arguments).portable
    first, second = RUNS.values()
    if comma := comma_locale():
        second = second | {"LC_ALL": comma}
    else:
        print("identical: no locale with a decimal comma is installed, so that is not tested", flush=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        copies = [folder / path / "repository" for path in RUNS]
        for copy, settings in zip(copies, (first, second)):
            copy_repository(copy, PORTABLE if portable else None)
            print(f"identical: running the pipeline, folders listed {settings['LIST_FOLDERS']}", flush=True)
            reproduce(copy, dict(settings))
        paths = outputs()
        unlike = [line for path in paths for line in differences(copies[0], copies[1], path)]
        for path in paths:
            print(f"  {path}: {described(copies[0] / path)}")
        if unlike:
            raise UserError("\n".join(["the two runs differ", *unlike]))
        print("identical: all of these are the same, byte for byte")
        print(f"| {machine()} | {made(copies[0])} |")


def comma_locale() -> str | None:
    """An installed locale whose decimal separator is a comma; None if there is none."""
    for name in COMMAS:
        with suppress(locale.Error):
            locale.setlocale(locale.LC_NUMERIC, name)
            locale.setlocale(locale.LC_NUMERIC, "C")
            return name
    return None


def reproduce(folder: Path, settings: dict[str, Any]) -> None:
    umask = settings.pop("umask")
    home, temporary = folder.parent / "home", folder.parent / "temporary"
    for own in (home, temporary):
        own.mkdir(mode=0o700)
    surroundings = {"HOME": str(home), "TMPDIR": str(temporary)}
    surroundings |= {"DVC_SITE_CACHE_DIR": str(home / "dvc"), "PYTHONPATH": str(SURROUNDINGS)}
    ended = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--no-run-cache"],
        cwd=folder,
        env=os.environ | surroundings | settings,
        umask=umask,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if ended.returncode:
        raise UserError(f"the pipeline stopped\n{ended.stderr.strip()}")


def differences(first: Path, second: Path, path: str) -> list[str]:
    """A line for each file of the output `path`, a file or a folder, that differs or that only one run wrote."""
    one, other = files(first / path), files(second / path)
    unlike = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    return [f"{(Path(path) / name).as_posix()}: {hint(one.get(name), other.get(name))}" for name in unlike]


def hint(one: bytes | None, other: bytes | None) -> str:
    if one is None or other is None:
        return f"only the {'second' if one is None else 'first'} run wrote it"
    place = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
    return f"{len(one):,} and {len(other):,} bytes, different from byte {place:,} on"


if __name__ == "__main__":
    run("identical", partial(main, sys.argv[1:]))

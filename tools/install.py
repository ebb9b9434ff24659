"""Install pinned packages into .venv, for the Makefile: with uv if it is there, else with pip.

On a terminal the installer shows its progress; elsewhere it prints one line for each file. Its warnings are shown only
if it fails. If two run at once, one waits for the other. This runs before anything is installed, so it imports Python's
own library alone.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

VENV = Path(".venv")
PYTHON = VENV / "bin/python"


def main(requirements: str, stamp: str) -> None:
    """Install what the file `requirements` pins, then make the file `stamp`, unless that is newer already."""
    with Path("requirements.txt").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = Path(stamp)
        if done.exists() and done.stat().st_mtime >= Path(requirements).stat().st_mtime:
            return  # by the process that this one waited for
        if not PYTHON.exists() or subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode:
            base = getattr(sys, "_base_executable", sys.executable)  # make may have found the Python of .venv itself
            gone = [] if PYTHON.exists() else ["--clear"]  # perhaps a link to a Python that is gone
            subprocess.run([base, "-m", "venv", *gone, VENV], check=True)
        print(f"Installing {requirements} into {VENV} (a few minutes, once)", flush=True)
        quiet = [] if sys.stdout.isatty() else ["--quiet"]
        uv = shutil.which("uv")
        commands = [[uv, "pip", "install", *quiet, "--python", str(PYTHON)]] if uv else []
        commands += [[str(PYTHON), "-m", "pip", "install", *quiet, "--disable-pip-version-check"]]
        if not any(installs([*command, "-r", requirements]) for command in commands):
            sys.exit(f"install: {requirements} could not be installed: the reason is above")
        done.touch()


def installs(command: list[str]) -> bool:
    """Whether `command` succeeds. If it does not, what it said is printed."""
    with TemporaryFile() as said:
        # uv draws its progress on standard error, pip on standard output.
        shown = None if sys.stderr.isatty() and "uv" in Path(command[0]).name else said
        environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
        if not subprocess.run(command, stderr=shown, env=environment).returncode:
            return True
        said.seek(0)
        sys.stderr.write(said.read().decode(errors="replace"))
        return False


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("install: interrupted; the next `make` begins again")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"install: {error}")

"""What `make` does before anything is installed: the environment and its packages."""

import os
import shutil
import subprocess
import sys

import pytest

from helpers.clone import ROOT

STAMP = ".venv/bin/.installed"


def start(folder, requirements="requirements.txt", stamp=STAMP, path=os.defpath):
    return subprocess.Popen(
        [sys.executable, "tools/install.py", requirements, stamp],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), "PIP_NO_INDEX": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with an environment that two processes made at once, and what they printed."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools/install.py", folder / "tools")
    (folder / "requirements.txt").write_text("")
    processes = [start(folder) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return folder, said


def test_two_at_once_make_one_environment(made):
    folder, said = made
    assert sorted(output for output, _ in said)[0] == ""
    assert [error for _, error in said] == ["", ""]
    assert (folder / STAMP).exists() and (folder / ".venv/bin/python").exists()


def test_a_package_that_cannot_be_had_is_told_and_tried_again(made):
    folder, _ = made
    (folder / "more.txt").write_text("no-such-package==1\n")
    for _ in range(2):
        process = start(folder, "more.txt", ".venv/bin/.more")
        _, error = process.communicate(timeout=100)
        assert process.returncode == 1 and "no-such-package" in error
        assert error.splitlines()[-1] == "install: more.txt could not be installed: the reason is above"
        assert not (folder / ".venv/bin/.more").exists()
    (folder / "more.txt").write_text("")
    assert start(folder, "more.txt", ".venv/bin/.more").wait(timeout=100) == 0
    assert (folder / ".venv/bin/.more").exists()


@pytest.mark.parametrize("works", [True, False])
def test_uv_installs_if_it_is_there_and_pip_if_it_fails(made, tmp_path, works):
    folder, _ = made
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\necho noise >&2\necho \"$@\" >> '{tmp_path}/asked'\nexit {int(not works)}\n")
    uv.chmod(0o755)
    stamp = f".venv/bin/.uv-{works}"
    process = start(folder, stamp=stamp, path=f"{tmp_path}:{os.defpath}")
    _, error = process.communicate(timeout=100)
    assert process.returncode == 0 and (folder / stamp).exists()
    assert error == ("" if works else "noise\n")
    asked = (tmp_path / "asked").read_text()
    assert asked == "pip install --quiet --python .venv/bin/python -r requirements.txt\n"

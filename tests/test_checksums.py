"""Damage to what a stage wrote is noticed by the stage that reads it."""

import re
import subprocess

import pytest

from stages import checksums
from stages.common.entry import UserError


@pytest.fixture
def listed(tmp_path):
    """A list of two files, of which one lies in a folder."""
    (tmp_path / "part").mkdir()
    files = [tmp_path / "part/images.npy", tmp_path / "model.tflite"]
    for path in files:
        path.write_bytes(path.name.encode() * 1000)
    checksums.write(tmp_path / "part.sha256", files)
    return tmp_path / "part.sha256", *files


def test_files_as_they_were_written_are_sound(listed):
    listing, *_ = listed
    checksums.check(listing)
    subprocess.run(["sha256sum", "--check", "--strict", listing.name], cwd=listing.parent, check=True)


@pytest.mark.parametrize("damage", ["a bit", "a byte less", "gone"])
def test_damage_is_told_with_the_file_and_what_to_do(listed, damage):
    listing, images, _ = listed
    content = bytearray(images.read_bytes())
    content[500] ^= 1
    images.write_bytes({"a bit": content, "a byte less": content[:-1], "gone": b""}[damage])
    if damage == "gone":
        images.unlink()
    problem = "is missing, although " if damage == "gone" else "is damaged: "
    with pytest.raises(UserError, match=re.escape(f"{images} {problem}") + ".*make verify"):
        checksums.check(listing)
    checksums.check(listing, "model.tflite")


def test_without_a_list_there_is_nothing_to_compare_with(tmp_path):
    checksums.check(tmp_path / "none.sha256")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"garbage\n", b"12  model.tflite\n"])
def test_a_damaged_list_is_told(listed, content):
    listing, *_ = listed
    listing.write_bytes(content)
    with pytest.raises(UserError, match=rf"{listing} is damaged: `make verify`"):
        checksums.check(listing)

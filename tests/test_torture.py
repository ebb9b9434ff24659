"""Each part of `make torture` sees a fault that is planted."""

import random
import signal
import sys

import pytest

from benchmarks.torture import damage, full_disk, kill, no_home, sandbox
from benchmarks.torture.sandbox import Ended

REFUSED = Ended(1, "", "validate: data/raw is missing\n", 1.0, 100.0)


def test_a_refusal_in_one_line_is_no_fault():
    assert sandbox.complaints(REFUSED, "validate") == []
    assert sandbox.in_plain_words(REFUSED) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"code": 0}, "accepted"),
        ({"code": -11}, "killed by signal 11"),
        ({"errors": ""}, "says nothing"),
        ({"errors": "Traceback (most recent call last)\nKeyError: 'x'\n"}, "a traceback: KeyError: 'x'"),
        ({"errors": "validate: a\nb\n"}, "a line that does not begin with validate: 'b'"),
        ({"errors": "validate: \x1b[2J\n"}, "control characters"),
        ({"errors": f"validate: {'x' * 5000}\n"}, "a line of 5,010 characters"),
        ({"megabytes": 501.0}, "501 MB of memory"),
        ({"seconds": 61.0}, "61 seconds"),
    ],
)
def test_a_refusal_that_is_none_is_seen(change, fault):
    assert sandbox.complaints(REFUSED._replace(**change), "validate") == [fault]


def test_a_file_that_differs_is_missing_or_is_left_is_seen(tmp_path):
    for name in ("same", "changed", "missing"):
        (tmp_path / name).write_bytes(b"0123")
    before = sandbox.tree(tmp_path)
    (tmp_path / "changed").write_bytes(b"0223")
    (tmp_path / "missing").unlink()
    (tmp_path / ".left.123.npy").touch()
    now = sandbox.tree(tmp_path)
    assert sandbox.differences(before, now) == [".left.123.npy is left over", "changed differs", "missing is missing"]
    assert sandbox.litter(before, now) == ["left .left.123.npy"]


def test_a_run_that_fails_after_the_fault_is_seen(tmp_path):
    assert sandbox.recovered(tmp_path, {})[0].startswith("the next run failed")


def test_memory_and_the_end_of_a_command_are_measured(tmp_path):
    (tmp_path / "greedy.py").write_text("x = bytearray(2**28)\nimport time\ntime.sleep(60)")
    ended = sandbox.run(tmp_path, "greedy", seconds=1.5)
    assert ended.code == -signal.SIGKILL
    assert ended.megabytes > 200


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_lives_on_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(kill, "GRACE", 0)
    (tmp_path / "stays.py").write_text("import time\ntime.sleep(60)")
    process = sandbox.started(tmp_path, ["stays"])
    assert kill.survivors(process.pid) == [f"processes live on: {[process.pid]}"]
    sandbox.kill_group(process.pid)
    process.wait()
    assert kill.survivors(process.pid) == []


def test_moments_are_spread_over_the_whole_time():
    assert kill.moments(2.0, 4) == [0.25, 0.75, 1.25, 1.75]
    assert 7 * 2 * kill.MOMENTS >= 100


def test_a_full_disk_that_is_not_named_is_seen():
    assert full_disk.says_full(REFUSED._replace(errors="train: no space left on the disk: free some\n")) == []
    assert full_disk.says_full(REFUSED) == ["does not say that the disk is full: validate: data/raw is missing"]


def test_what_must_not_be_written_cannot_be(tmp_path):
    (tmp_path / "folder").mkdir()
    try:
        with no_home.read_only(tmp_path / "folder"), pytest.raises(OSError):
            (tmp_path / "folder/file").touch()
    except no_home.subprocess.CalledProcessError:
        pytest.skip("root may not mount here")
    (tmp_path / "folder/file").touch()


def test_the_damage_is_damage_and_the_same_each_time():
    content = random.Random(0).randbytes(300)
    assert content not in dict(damage.cuts(content)).values()
    assert damage.noise(content, 1, 300) == damage.noise(content, 1, 300) != content

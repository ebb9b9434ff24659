"""`make verify`: damage that DVC does not see is found, named and repaired; and what each command says of a broken file
of DVC's own."""

import io
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import pytest
import yaml

from record import cache, leftovers
from stages.common.entry import run
from stages.train import checkpoint
from tools import check, fresh, history, push, verify
from tools import run as launcher

pytestmark = pytest.mark.xdist_group("settled")
TABLE, PAGE, NETWORK = "data/prepared/train/labels.npy", "reports/index.html", "comparison/models/two/model.tflite"
FOLDER = "data/prepared/train"


def told(clone, main=verify.main, name="verify"):
    """The exit code and the lines of a command that runs in the clone."""
    printed, complained = io.StringIO(), io.StringIO()
    code, last = 0, ""
    with clone.current(), redirect_stdout(printed), redirect_stderr(complained):
        try:
            run(name, main)
        except SystemExit as ended:
            code, last = 1, str(ended.code)
    lines = [*complained.getvalue().splitlines(), *printed.getvalue().splitlines(), *last.splitlines()]
    return code, [line.removeprefix(f"{name}: ") for line in lines]


def sound(clone):
    code, [line] = told(clone)
    return code == 0 and " are sound" in line


def stored(clone, path, within=".dvc/cache"):
    """The object of the output, or of the file in an output, `path`."""
    folder = clone.folder / within / "files/md5"
    for file in ("dvc.lock", "comparison/dvc.lock"):
        for stage in yaml.safe_load((clone.folder / file).read_text())["stages"].values():
            for out in stage["outs"]:
                found = folder / out["md5"][:2] / out["md5"][2:]
                if out["path"] == path:
                    return found
                if path.startswith(out["path"] + "/"):
                    md5 = cache.listing(found)[path.removeprefix(out["path"] + "/")]
                    return folder / md5[:2] / md5[2:]
    raise AssertionError(path)


def rot(path):
    """Change a byte as a disk does: size, time and rights stay."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-3] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextmanager
def remote(clone, folder, whole=()):
    """A default remote that has what the cache has; the objects of the paths `whole` are sound there."""
    shutil.copytree(clone.folder / ".dvc/cache", folder)
    for path in whole:
        rot(clone.folder / stored(clone, path, folder))
    text = f'[core]\n    remote = shared\n[remote "shared"]\n    url = {folder}\n'
    (clone.folder / ".dvc/config.local").write_text(text)
    try:
        yield
    finally:
        (clone.folder / ".dvc/config.local").unlink()


def test_a_sound_cache_is_one_line_and_nothing_changes(settled):
    code, [line] = told(settled)
    assert code == 0 and line.endswith(" of the outputs are sound")
    assert settled.well("git", "status", "--porcelain") == ""


@pytest.mark.parametrize("path", [TABLE, PAGE, FOLDER, NETWORK])
def test_an_object_is_repaired_from_the_workspace(settled, path):
    place = stored(settled, path)
    before = place.read_bytes()
    rot(place)
    assert told(settled) == (0, [f"{path} was damaged in the cache: repaired"])
    assert place.read_bytes() == before and sound(settled)


def test_an_output_is_repaired_from_the_cache(settled):
    before = (settled.folder / TABLE).read_bytes()
    rot(settled.folder / TABLE)
    assert told(settled) == (0, [f"{TABLE} was damaged in the workspace: repaired"])
    assert (settled.folder / TABLE).read_bytes() == before and sound(settled)


def test_rot_that_dvc_restores_and_takes_for_sound_is_removed_and_made_again(settled):
    before = (settled.folder / PAGE).read_bytes()
    rot(stored(settled, PAGE))
    (settled.folder / PAGE).unlink()
    settled.dvc("checkout", PAGE)
    assert (settled.folder / PAGE).read_bytes() != before
    assert settled.dvc("status", "dvc.yaml") == "Data and pipelines are up to date.\n"
    assert told(settled) == (
        1,
        [
            f"{PAGE} was damaged in the cache and is moved to .dvc/tmp/damaged: `dvc repro` makes it again",
            f"{PAGE} was damaged in the workspace and is moved to .dvc/tmp/damaged: `dvc repro` makes it again",
        ],
    )
    assert settled.reproduced()[0] == ["report"]
    assert (settled.folder / PAGE).read_bytes() == before and sound(settled)


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("stages.train", TABLE),
        ("stages.train", "data/prepared/validation/images.npy"),
        ("stages.evaluate", "data/prepared/test/images.npy"),
        ("stages.evaluate", "models/model.tflite"),
        ("stages.package", "data/prepared/train/images.npy"),
        ("stages.package", "data/prepared/validation/images.npy"),
        ("stages.package", "models/model.tflite"),
        ("tools.score digits", "models/model.tflite"),
    ],
)
def test_nothing_is_computed_with_what_is_damaged(settled, command, path):
    damaged = settled.folder / path
    before = damaged.read_bytes()
    rot(damaged)
    ended = settled.python("-m", *command.split())
    damaged.write_bytes(before)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    name = command.split()[0].partition(".")[2]
    assert line.startswith(f"{name}: {path} is damaged: its checksum is not the one in ")


@pytest.mark.parametrize("damage", ["exchanged", "half", "not UTF-8", "another path"])
def test_a_damaged_record_of_a_run_is_put_aside(settled, damage):
    folder = settled.folder / ".dvc/cache/runs"
    one, two, *_ = sorted(folder.glob("*/*/*"))
    before = {path: path.read_bytes() for path in (one, two)}
    one.write_bytes(
        {
            "exchanged": before[two],
            "half": before[one][: len(before[one]) // 2],
            "not UTF-8": b"\xff\xfe" + before[one],
            "another path": before[one].replace(b"path: ", b"path: x"),
        }[damage]
    )
    code, [line] = told(settled)
    path = one.relative_to(settled.folder)
    assert (code, line.partition(" and ")[0]) == (1, f"the run {path} was damaged")
    assert not one.exists() and two.read_bytes() == before[two]
    one.write_bytes(before[one])
    assert sound(settled)


@pytest.mark.parametrize("path", [TABLE, FOLDER])
def test_what_the_workspace_lacks_comes_from_the_remote(settled, tmp_path, path):
    place, output = stored(settled, path), settled.folder / path
    before = place.read_bytes()
    output.rename(tmp_path / "kept")
    rot(place)
    with remote(settled, tmp_path / "remote", whole=[path]):
        assert told(settled) == (0, [f"{path} was damaged in the cache: repaired"])
    (tmp_path / "kept").rename(output)
    assert place.read_bytes() == before and sound(settled)


def test_a_remote_whose_copy_is_damaged_too_repairs_nothing(settled, tmp_path):
    place, output = stored(settled, NETWORK), settled.folder / NETWORK
    output.rename(tmp_path / "kept")
    rot(place)
    with remote(settled, tmp_path / "remote"):
        lost = f"{NETWORK} was damaged in the cache and is moved to .dvc/tmp/damaged: `make comparison` makes it again"
        assert told(settled) == (1, [lost])
        assert not place.exists()
    (tmp_path / "kept").rename(output)
    assert told(settled) == (0, [f"{NETWORK} was missing in the cache: repaired"])


def test_a_file_of_another_run_is_removed_too(settled):
    other = settled.folder / ".dvc/cache/files/md5/00/11223344556677889900aabbccddee"
    other.parent.mkdir(exist_ok=True)
    other.write_text("not what the name says")
    code, [line] = told(settled)
    assert code == 1 and line.startswith("a file of a run that no lock names (00112233) was damaged in the cache")
    assert not other.exists() and sound(settled)


def test_a_file_that_only_the_listing_of_its_folder_has_is_put_back(settled):
    stored(settled, TABLE).unlink()
    assert told(settled) == (0, [f"{TABLE} was missing in the cache: repaired"])
    assert sound(settled)


def test_what_no_stage_makes_is_never_deleted(settled):
    own = settled.folder / "own.bin"
    own.write_bytes(b"mine" * 1000)
    settled.dvc("add", "own.bin")
    md5 = yaml.safe_load((settled.folder / "own.bin.dvc").read_text())["outs"][0]["md5"]
    try:
        for path in (own, settled.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]):
            rot(path)
        code, lines = told(settled)
        assert code == 1 and all(line.endswith("moved to .dvc/tmp/damaged: no stage makes it") for line in lines)
        kept = [path.read_bytes() for path in (settled.folder / ".dvc/tmp/damaged").iterdir() if md5[:8] in path.name]
        assert len(kept) == 2 and all(content.startswith(b"minemine") for content in kept)
    finally:
        for name in ("own.bin", "own.bin.dvc", ".gitignore"):
            settled.run("git", "checkout", "--", name)
            if name != ".gitignore":
                (settled.folder / name).unlink(missing_ok=True)
    assert sound(settled)


def test_an_output_that_somebody_changed_is_named_and_left_as_it_is(settled):
    before = (settled.folder / PAGE).read_bytes()
    (settled.folder / PAGE).write_text("mine")
    remedy = f"`dvc checkout --force {PAGE}` restores that"
    assert told(settled) == (1, [f"{PAGE} is not what the lock records: {remedy}"])
    assert (settled.folder / PAGE).read_text() == "mine"
    settled.well(*remedy.split("`")[1].split())
    assert (settled.folder / PAGE).read_bytes() == before


def test_what_interrupted_writes_left_is_removed_unless_somebody_else_may_write_it(settled):
    places = [settled.folder / ".dvc/cache/files/md5", settled.folder / "models"]
    for place in places:
        (place / ".abcdefghijklmnopqrst_-.tmp").touch()
        (place / "mine.tmp").touch()
    code, [line] = told(settled)
    assert code == 0 and line.endswith("; removed what 2 interrupted writes left")
    for place in places:
        (place / "mine.tmp").unlink()  # still there
        assert not list(place.glob(".*.tmp"))

    with settled.current():
        queue = Path(".dvc/tmp/exps/standalone/.dvc")
        queue.mkdir(parents=True)
        new, old = (cache.FOLDER / f".{letter * 22}.tmp" for letter in "ab")
        for path in (new, old):
            path.touch()
        os.utime(old, (time.time() - 2 * cache.HOUR,) * 2)
        assert cache.sweep(cache.FOLDER) == 1 and new.exists()
        shutil.rmtree(queue.parent)
        leftovers.sweep()
        assert not new.exists()


def test_a_cache_that_is_missing_is_no_damage(settled, tmp_path):
    kept = tmp_path / "cache"
    (settled.folder / ".dvc/cache").rename(kept)
    try:
        assert told(settled) == (0, ["the cache is empty: `dvc pull` or `dvc repro` fills it"])
    finally:
        shutil.rmtree(settled.folder / ".dvc/cache", ignore_errors=True)
        kept.rename(settled.folder / ".dvc/cache")


def test_while_another_command_holds_the_lock_nothing_is_touched(settled):
    holder = settled.folder / ".dvc/tmp/hold.py"
    holder.write_text(
        "import sys\nfrom dvc.repo import Repo\nwith Repo().lock:\n    print(flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, holder],
        cwd=settled.folder,
        env=settled.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        other.stdout.readline()
        assert told(settled) == (1, ["another DVC command is running: wait until it has ended"])


# DVC's own files, damaged


COMMANDS = {
    "run": launcher.main,
    "verify": verify.main,
    "fresh": partial(fresh.main, []),
    "push": push.main,
    "check": check.main,
    "history": partial(history.main, ["--branch", "HEAD"]),
}


FAULTS = [
    ("dvc.lock", "", "cannot be read as a lock, it is empty", "git restore dvc.lock"),
    ("dvc.lock", "<<<<<<< ours\na: [", "has the marks of a merge conflict", "make resolve"),
    (".dvc/tmp/rwlock", "", "no DVC command can start", "rm .dvc/tmp/rwlock"),
    (".dvc/tmp/rwlock", "[1]", "no DVC command can start", "rm .dvc/tmp/rwlock"),
]


@pytest.mark.parametrize(
    ("name", "file", "content", "wrong", "remedy"),
    # The launcher goes on from the committed lock if this one is empty: below.
    [(name, *fault) for name in COMMANDS for fault in FAULTS if (name, *fault[:2]) != ("run", "dvc.lock", "")],
)
def test_a_damaged_file_of_dvc_is_one_line_that_says_what_to_do(settled, name, file, content, wrong, remedy):
    path = settled.folder / file
    before = path.read_bytes() if path.exists() else None
    path.write_text(content)
    try:
        code, lines = told(settled, COMMANDS[name], name)
    finally:
        path.unlink() if before is None else path.write_bytes(before)
    [line] = [line for line in lines if file in line]
    assert line.startswith(file) and wrong in line and f"`{remedy}`" in line
    if name not in ("check", "history"):  # which do not need it, and go on
        assert (code, lines) == (1, [line])


def test_without_a_lock_there_is_nothing_to_verify_by(settled, tmp_path):
    (settled.folder / "dvc.lock").rename(tmp_path / "dvc.lock")
    try:
        code, [line] = told(settled)
    finally:
        (tmp_path / "dvc.lock").rename(settled.folder / "dvc.lock")
    assert code == 1 and line.startswith("dvc.lock is missing")


@pytest.mark.parametrize("rest", ["", "schema: '2.0'\nstages:\n  download:\n    cmd", "schema: '2.0'\nstages: {}"])
def test_the_launcher_goes_on_from_the_committed_lock_if_a_killed_run_left_a_part_of_it(settled, rest):
    path = settled.folder / "dvc.lock"
    before = path.read_bytes()
    path.write_text(rest)
    code, [told_first, *lines] = told(settled, launcher.main, "run")
    assert code == 0 and any("nothing changed, so nothing ran" in line for line in lines)
    assert told_first.startswith("dvc.lock was cut off by an interrupted run")
    assert told_first.endswith("that of the last commit is restored")
    assert path.read_bytes() == before
    assert (settled.folder / cache.ASIDE / "dvc.lock").read_text() == rest


def test_the_launcher_removes_the_state_that_a_killed_training_left_and_no_other(settled):
    with settled.current():
        ours, theirs = checkpoint.folder(Path("models")), checkpoint.folder(Path("comparison/models/one"))
        for folder in (ours, theirs):
            folder.mkdir(parents=True)
            (folder / "member 1.npz").touch()
    assert told(settled, launcher.main, "run")[0] == 0
    assert not (settled.folder / ours).exists()
    shutil.rmtree(settled.folder / theirs)

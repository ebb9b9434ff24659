"""The accuracy over the commits of a branch, in real Git repositories."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from helpers.commits import MACHINE, GitRepository, alone
from record import declared, environment, git, lock, results
from record import history as record
from stages.common.entry import UserError
from tools import history

ROOT = Path(__file__).parent.parent


class Repository(GitRepository):
    """A Git repository of numbers and the dvc.lock that fits them."""

    def score(self, mistakes, images=1000, test_data="f00d", path=results.NUMBERS):
        """Write what a model with so many mistakes leaves."""
        accuracy = round(1 - mistakes / images, 5)
        low, high = max(0, accuracy - 0.01), min(1, accuracy + 0.01)
        numbers = {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}
        numbers |= {"loss": 0.1, "f1_macro": 0.9, "mistakes": mistakes, "images": images}
        self.write(path, json.dumps(numbers, indent=2) + "\n", test_data)

    def write(self, path, text, test_data="f00d"):
        """Write the file of the numbers, whatever `text` is, and a dvc.lock that records it."""
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text(text, encoding="utf-8")
        outs = [{"path": path, "md5": hashlib.md5(text.encode()).hexdigest()}]
        stages = {
            "download": {"cmd": "true"},
            "evaluate": {"cmd": "true", "deps": [{"path": results.TEST_DATA, "md5": test_data}], "outs": outs},
            "report": {"cmd": "true"},
        }
        lock = yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False)
        (self.folder / "dvc.lock").write_text(lock, encoding="utf-8")

    def commit(self, message="results"):
        return super().commit(message)[:7]

    def commits(self, *mistakes, **how):
        for count in mistakes:
            self.score(count, **how)
            self.commit(f"{count} mistakes")


@pytest.fixture
def repository(tmp_path, environment, monkeypatch):
    """The current folder: an empty repository, out of reach of what this machine's user has set for Git."""
    monkeypatch.setenv("COLUMNS", "120")
    return Repository(alone(tmp_path, environment, monkeypatch))


def printed(capsys, *arguments):
    history.main(arguments)
    return capsys.readouterr().out.splitlines()


def read(branch="main"):
    """The points of `branch`, as `main` makes them."""
    return record.points(git.resolve(branch))


def test_each_commit_that_changed_the_numbers_is_a_line(repository, capsys):
    repository.score(40)
    first = repository.commit("The first model")
    repository.commit("Words only")
    repository.score(31)
    second = repository.commit("A better model")
    head, *lines, last = printed(capsys)
    date = repository.git("log", "-1", "--format=%as")
    assert head.split() == ["commit", "date", "accuracy", "95", "%", "interval", "mistakes", "subject"]
    assert lines == [
        f"{first}  {date}    96.00%  95.00% to 97.00%  40 of 1,000  The first model",
        f"{second}  {date}    96.90%  95.90% to 97.90%  31 of 1,000  A better model",
    ]
    assert last == f"The picture: {history.PICTURE}"
    assert ElementTree.parse(history.PICTURE).getroot().tag.endswith("svg")


def test_the_first_commit_counts_whatever_the_user_has_set(repository):
    repository.git("config", "log.showRoot", "false")
    repository.commits(40, 39)
    assert [each.numbers["mistakes"] for each in read()] == [40, 39]


def test_a_project_in_a_folder_of_its_repository_has_its_history(repository, monkeypatch):
    repository.score(40)
    (repository.folder / "project").mkdir()
    for name in ("metrics", lock.FILE):
        (repository.folder / name).rename(repository.folder / "project" / name)
    repository.commit("in a folder")
    monkeypatch.chdir(repository.folder / "project")
    [point] = read()
    assert (point.problem, point.numbers["mistakes"]) == ("", 40)


def test_a_subject_that_the_terminal_cannot_show_is_no_failure(repository, environment):
    repository.score(40)
    repository.commit("Größer → besser, " + "und noch viel mehr " * 9)
    ended = subprocess.run(
        [sys.executable, "-m", "tools.history"],
        env=environment | {"PYTHONIOENCODING": "latin-1", "COLUMNS": "90", "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "Größer ? besser".encode("latin-1") in ended.stdout


def test_without_a_branch_it_is_the_default_branch(repository, capsys):
    repository.commits(40)
    repository.git("update-ref", "refs/remotes/origin/trunk", "HEAD")
    repository.commits(39)
    assert len(printed(capsys)) == 4  # main's two commits, between the head and the picture
    repository.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    assert len(printed(capsys)) == 3
    repository.git("switch", "--quiet", "-c", "trunk")
    assert len(printed(capsys)) == 4  # one's own trunk is ahead of origin's
    for name in ("HEAD", "trunk"):
        repository.git("update-ref", "--no-deref", "-d", f"refs/remotes/origin/{name}")
    repository.git("branch", "--delete", "--force", "main")
    assert len(printed(capsys)) == 4


def test_other_test_data_are_a_break_in_table_and_line(repository, capsys):
    repository.commits(40, 39)
    repository.commits(8, 7, images=100, test_data="beef")
    lines = printed(capsys)
    assert lines[3] == "-- other test data: do not compare across"
    assert sum(line.startswith("--") for line in lines) == 1
    assert [record.comparable(*pair) for pair in zip(read(), read()[1:])] == [True, False, True]


def test_a_step_to_another_machine_is_marked_in_table_and_picture_where_both_sides_are_known(repository, capsys):
    def trained(text):
        (repository.folder / environment.FILE).write_text(text)

    known = json.dumps(MACHINE)
    repository.commits(40)
    trained("damaged")
    repository.commits(39)
    trained(known)
    repository.commits(38, 37)
    assert not [line for line in printed(capsys) if line.startswith("--")]
    assert "machine" not in history.PICTURE.read_text()
    trained(known.replace("AVX2", "AMX"))
    repository.commits(36)
    trained(known.replace("AVX2", "AMX").replace("keras 3.15.0", "keras 3.16.0"))
    repository.commits(35)
    lines = printed(capsys)
    assert lines[5] == "-- not trained alike, compare with care: x86_64 with AVX2 before; x86_64 with AMX from here"
    assert lines[7] == "-- not trained alike, compare with care: keras 3.15.0 before; keras 3.16.0 from here"
    assert sum(line.startswith("--") for line in lines) == 2
    assert ">other machine or packages</text>" in history.PICTURE.read_text()
    assert "unknown test data" not in history.PICTURE.read_text()
    trained(known)
    repository.commits(34, test_data="beef")
    assert printed(capsys)[-3] == "-- other test data: do not compare across"
    trained("damaged")
    repository.commits(33, test_data="beef")
    trained(known.replace("AVX2", "AMX"))
    repository.commits(32, test_data="beef")
    assert (
        printed(capsys)[-3]
        == "-- not trained alike, compare with care: x86_64 with AVX2 before; x86_64 with AMX from here"
    )


def test_a_lock_that_does_not_say_what_was_scored_is_no_bridge(repository, capsys):
    repository.commits(40, 39)
    repository.score(38)
    (repository.folder / "dvc.lock").write_text("stages: [\n")
    repository.commit()
    assert printed(capsys)[3] == "-- the test data are not known: do not compare across"


@pytest.mark.parametrize(
    "text, problem",
    [
        ("<<<<<<< HEAD\n{}\n", "metrics/evaluate.json: not valid JSON"),
        ("[]", "metrics/evaluate.json: not a JSON object"),
        ('{"accuracy": 0.9}', "has no number for accuracy_low, accuracy_high, mistakes, images"),
        ('{"accuracy": NaN}', "has no number for accuracy, accuracy_low"),
        (
            '{"accuracy": 0, "accuracy_low": 0, "accuracy_high": 1, "mistakes": 0, "images": 0}',
            "metrics/evaluate.json has scored no images",
        ),
        ("", "metrics/evaluate.json: not valid JSON"),
    ],
)
def test_numbers_that_cannot_be_read_are_shown_as_such(repository, capsys, text, problem):
    repository.commits(40)
    repository.write(results.NUMBERS, text)
    name = repository.commit("Broken")
    repository.commits(39)
    lines = printed(capsys)
    assert lines[2].startswith(name)
    assert "unreadable: metrics/evaluate.json" in lines[2]
    assert problem in read()[1].problem
    assert "39 mistakes" in lines[3]


def test_numbers_edited_by_hand_are_not_drawn(repository, capsys):
    repository.commits(40)
    path = repository.folder / results.NUMBERS
    path.write_text(path.read_text().replace("0.96", "0.99"))
    repository.commit()
    assert "unreadable: metrics/evaluate.json is not what dvc.lock records" in printed(capsys)[2]


def test_deleted_numbers_are_said_to_be_deleted(repository, capsys):
    repository.commits(40)
    repository.git("rm", "--quiet", results.NUMBERS)
    repository.commit()
    repository.commits(39)
    assert printed(capsys)[2].endswith("metrics/evaluate.json was deleted")
    assert [each.numbers is None for each in read()] == [False, True, False]


def test_a_renamed_file_keeps_its_past(repository):
    repository.commits(40, 39, path="metrics/scores.json")
    repository.git("mv", "metrics/scores.json", results.NUMBERS)
    repository.score(39)
    repository.commit()
    repository.commits(38)
    assert [each.numbers["mistakes"] for each in read()] == [40, 39, 39, 38]
    assert [each.change.path for each in read()] == ["metrics/scores.json"] * 2 + [results.NUMBERS] * 2


def test_only_the_branch_itself_counts_not_what_was_merged_into_it(repository):
    repository.commits(40)
    repository.git("switch", "--quiet", "-c", "feature")
    repository.commits(60, 30)
    repository.git("switch", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--message", "Merge the feature", "feature")
    assert [each.change.subject for each in read()] == ["40 mistakes", "Merge the feature"]
    assert [each.numbers["mistakes"] for each in read("feature")] == [40, 60, 30]


def test_a_shallow_clone_says_that_the_past_is_missing(repository, tmp_path, capsys, monkeypatch):
    repository.commits(40, 39, 38)
    repository.git("clone", "--quiet", "--depth", "2", f"file://{repository.folder}", str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    *lines, note, _ = printed(capsys)
    assert len(lines) == 3
    assert note.startswith("This clone is shallow, so earlier commits are missing: `git fetch --unshallow`")


def test_the_checkout_is_not_needed_and_not_touched(repository, capsys):
    repository.commits(40, 39)
    before = printed(capsys)
    for path in (results.NUMBERS, "dvc.lock"):
        (repository.folder / path).unlink()
    assert printed(capsys) == before
    assert not (repository.folder / "dvc.lock").exists()


def test_the_number_of_processes_does_not_grow_with_the_commits(repository, monkeypatch):
    started = []
    real = subprocess.run
    monkeypatch.setattr(git.subprocess, "run", lambda *arguments, **how: started.append(1) or real(*arguments, **how))
    repository.commits(40)
    started.clear()
    assert len(read()) == 1
    few = len(started)
    repository.commits(*range(30, 10, -1))
    started.clear()
    assert len(read()) == 21
    assert len(started) == few


@pytest.mark.parametrize("broken", ["nothing", "no branch", "no repository"])
def test_where_there_is_nothing_to_tell_it_says_why(repository, tmp_path, monkeypatch, broken):
    repository.commit()
    if broken == "no repository":
        monkeypatch.chdir(tmp_path)
    reasons = {"nothing": "no commit of main has", "no branch": "unknown revision nix", "no repository": "not in a Git"}
    with pytest.raises(UserError, match=reasons[broken]):
        history.main(["--branch", "nix"] if broken == "no branch" else [])
    assert not history.PICTURE.exists()


def points(count):
    """So many made-up points, with perfect scores, breaks and gaps among them."""

    def at(place):
        mistakes = max(0, 300 - 40 * place) + place % 4
        accuracy = 1 - mistakes / 1000
        numbers = {"accuracy": accuracy, "accuracy_low": accuracy - 0.01, "accuracy_high": min(1, accuracy + 0.01)}
        numbers |= {"mistakes": mistakes, "images": 1000}
        change = record.Change(f"{place:07x}", "2024-05-06", "made up", results.NUMBERS, "")
        return record.Point(change, None if place % 20 == 13 else numbers, "", "f00d" if place < 50 else "beef")

    return [at(place) for place in range(count)]


@pytest.mark.parametrize("count", [1, 9, 60, 1000])
def test_the_same_history_is_the_same_picture_and_names_a_few_commits(count):
    picture = history.picture(points(count))
    assert picture == history.picture(points(count))
    names = [text.text for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert 1 <= sum(len(name) == 7 for name in names if name) <= 16


def test_the_picture_is_in_nobodys_way(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert subprocess.run(["git", "check-ignore", "--quiet", str(history.PICTURE)]).returncode == 0
    outputs = [Path("comparison"), *(Path(path) for stage in declared.stages() for path in stage.outputs)]
    assert not {history.PICTURE, *history.PICTURE.parents} & set(outputs)

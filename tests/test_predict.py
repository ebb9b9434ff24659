"""Pictures read in the terminal, and a folder of them scored."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers.clone import ROOT
from serving import predict
from serving.reading import Reader, opened
from stages.preprocess.digit import digit
from tools import pictures

pytestmark = pytest.mark.xdist_group("predict")


def as_picture(image):
    """A digit as a photograph would have it: larger, dark on light."""
    return 255 - np.kron(np.pad(image, 6), np.ones((4, 4), np.uint8))


@pytest.fixture(scope="module")
def right(models, digits):
    """For each class a picture that the model reads right, by its label."""
    reader, found = Reader(models), {}
    for image, label in zip(*digits):
        [read] = reader.read(as_picture(image))
        if read.label == str(label) and read.sure:
            found.setdefault(str(label), as_picture(image))
        if len(found) == 10:
            return found
    raise AssertionError("the model is too weak for this test")


@pytest.fixture
def folder(tmp_path, right):
    for label, picture in right.items():
        (tmp_path / "mine" / label).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "mine" / label / "a picture.png")
    return tmp_path / "mine"


@pytest.fixture
def run(models, environment, tmp_path):
    def command(*arguments, module="serving.predict", content=b""):
        return subprocess.run(
            [sys.executable, "-m", module, "--models", models, *map(str, arguments)],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
            input=content,
            capture_output=True,
        )

    return command


def test_a_picture_gets_its_answer_and_the_next_best_one(run, folder):
    ended = run(folder / "7" / "a picture.png")
    assert ended.returncode == 0
    assert f"{folder}/7/a picture.png: 7, " in ended.stdout.decode() and "(then " in ended.stdout.decode()


def test_a_folder_is_read_in_the_order_of_its_names_as_lines_of_json(run, folder):
    lines = [json.loads(line) for line in run(folder, "--json").stdout.splitlines()]
    assert [line["text"] for line in lines] == list("0123456789")
    assert all(abs(sum(line["digits"][0]["probabilities"].values()) - 1) < 1e-4 for line in lines)


def test_standard_input_is_read(run, folder):
    ended = run("-", content=(folder / "3" / "a picture.png").read_bytes())
    assert ended.stdout.decode().startswith("-: 3, ")


def test_what_is_no_picture_gets_a_line_and_the_others_are_read(run, folder, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "half.png").write_bytes((folder / "4" / "a picture.png").read_bytes()[:200])
    (tmp_path / "empty").mkdir()
    good = folder / "5" / "a picture.png"
    ended = run("notes.txt", "half.png", "nowhere.png", "empty", good)
    assert ended.returncode == 1 and f"{good}: 5, " in ended.stdout.decode()
    lines = ended.stderr.decode().splitlines()
    assert len(lines) == 4 and all(line.startswith("predict: ") for line in lines)
    assert "nowhere.png: there is no such file" in ended.stderr.decode()


def test_an_empty_page_has_no_digit(run, tmp_path):
    Image.new("L", (200, 100), 255).save(tmp_path / "page.png")
    ended = run("page.png")
    assert ended.returncode == 0 and ended.stdout.decode() == "page.png: no digit found\n"


def test_several_digits_are_read_in_order(run, right, tmp_path):
    Image.fromarray(np.hstack([right["1"], right["4"], right["7"]])).save(tmp_path / "code.png")
    [line] = run("--several", "--json", "code.png").stdout.splitlines()
    boxes = [each["box"] for each in json.loads(line)["digits"]]
    assert len(boxes) == 3 and boxes == sorted(boxes)


def test_the_drawing_shows_what_the_model_saw(run, folder):
    text = run("--draw", folder / "1" / "a picture.png").stdout.decode()
    with (folder / "1" / "a picture.png").open("rb") as file:
        assert predict.drawing(digit(opened(file, "")).image) in text


def test_a_pipe_is_refused_and_a_name_cannot_steer_the_terminal(run, folder, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (folder / "1" / "a picture.png").rename(folder / "1" / "\x1b[31mred.png")
    ended = run(tmp_path / "pipe", folder, "\x1b[2Jnowhere")
    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 1
    assert f"{tmp_path}/pipe: not a file; `-` reads standard input" in said
    assert "\x1b" not in said and "\\x1b[31mred.png: " in said and "\\x1b[2Jnowhere: there is no such file" in said


def test_without_a_model_or_a_display_it_says_what_to_do(run, environment, tmp_path):
    ended = run("--models", "nowhere", "x.png")
    assert ended.stderr.decode() == (
        "predict: nowhere/package.json is missing: `dvc repro` or `dvc checkout` makes it\n"
    )
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & environment.keys():
        ended = run("--clipboard")
        assert ended.returncode == 1 and ended.stderr.decode().startswith(
            "predict: no picture is named, and the clipboard needs "
        )


def test_reading_a_picture_imports_no_tensorflow_and_no_pandas(run, folder, environment):
    code = "import sys; import serving.predict; print({'tensorflow', 'keras', 'pandas'} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.stdout == "set()\n"


def test_a_folder_is_scored_by_kind_with_people_resampled(run, right, tmp_path):
    (tmp_path / "theirs").mkdir()
    rows = ["file,label,kind,person"]
    for number, (label, picture) in enumerate(sorted(right.items())):
        Image.fromarray(picture).save(tmp_path / "theirs" / f"{number}.png")
        kind = "photo" if number % 2 else "paint\x1b[1m"
        wrong = number == 9  # the table says what the picture is not
        rows.append(f"{number}.png,{'0' if wrong else label},{kind},p{number // 3}")
    (tmp_path / "theirs" / "labels.csv").write_text("\n".join(rows) + "\n")
    ended = run("theirs", module="tools.pictures")
    assert ended.returncode == 0, ended.stderr
    lines = [line.split() for line in ended.stdout.decode().splitlines()]
    assert "resampling 4 people" in ended.stdout.decode()
    assert [(line[0], line[1], line[2], line[-1]) for line in lines[1:4]] == [
        ("paint\\x1b[1m", "5", "100.00%", "0"),
        ("photo", "5", "80.00%", "1"),
        ("all", "10", "90.00%", "1"),
    ]
    page = (tmp_path / "reports/pictures.html").read_text()
    assert "<em>9</em>, labelled 0" in page and page.count("<figure>") == 1


def test_a_folder_with_a_label_that_the_model_has_not_is_refused(run, folder, tmp_path):
    (folder / "7").rename(folder / "seven")
    ended = run(folder, module="tools.pictures")
    assert ended.returncode == 1 and "has the label 'seven'; the model has 0, 1, 2" in ended.stderr.decode()
    assert not (tmp_path / "reports").exists()


def test_the_least_sure_pictures_are_the_ones_refused():
    certain = np.linspace(0.5, 0.99, 100)
    read = [pictures.Digit("1", True, p, np.array([1 - p, p]), np.zeros((28, 28)), (0, 0, 1, 1), []) for p in certain]
    labels = np.ones(100, int)
    labels[:3] = 0  # the three least sure are wrong
    assert pictures.refusing(labels, read) == 0
    labels[50] = 0
    assert pictures.refusing(labels, read) == pytest.approx(1 / 97)
    read[0] = None  # nothing was found in one: refused first
    assert pictures.refusing(labels, read) == pytest.approx(1 / 97)

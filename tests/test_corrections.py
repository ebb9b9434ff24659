"""What people decide about labels is a line in a table: the pipeline applies it and shows it."""

import base64
import shutil
import struct
import sys
import zlib

import numpy as np
import pytest

from serving.log import Correction, Log
from stages import corrections
from stages.common.entry import UserError
from stages.corrections import COLUMNS, fingerprint
from tools.correct import Change, as_png, write

CLASSES = list("0123456789")
HEAD = ",".join(COLUMNS)
HASH = "0123456789abcdef0123456789abcdef"
DRAWN = as_png(np.full((28, 28), 77, np.uint8) + np.eye(28, dtype=np.uint8))
# A PNG file that announces 10 billion pixels: the length, name and content of its header, and their checksum.
HEADER = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
HEADER = struct.pack(">I", 13) + HEADER + struct.pack(">I", zlib.crc32(HEADER))
BOMB = base64.b64encode(b"\x89PNG\r\n\x1a\n" + HEADER).decode()


def table(folder, *lines):
    path = folder / "corrections.csv"
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return path


def test_rows_of_other_data_sets_are_not_read(tmp_path):
    path = table(tmp_path, f"fashion_mnist,{HASH},Bag,Coat,", f"mnist,{HASH},4,9,", f"mnist,,,3,{DRAWN}")
    found = corrections.read("mnist", CLASSES, path)
    assert [(each.image, each.before, each.to) for each in found.relabelled] == [(HASH, 4, 9)]
    assert [(each.image.min(), each.label) for each in found.added] == [(77, 3)]
    assert corrections.read("digits", CLASSES, path) == corrections.read("mnist", CLASSES, tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"mnist,{HASH},4,x,", "line 2: to is 'x', must be one of 0, 1"),
        (f"mnist,{HASH},,9,", "line 2: from is empty"),
        ("mnist,1234,4,9,", "line 2: image is '1234', must be 32 hexadecimal digits"),
        (f"mnist,,,,{DRAWN}", "line 2: to is empty"),
        ("mnist,,,3,bm8=", "line 2: pixels are no PNG file of 28×28"),
        (f"mnist,,,3,{as_png(np.zeros((8, 8), np.uint8))}", "line 2: pixels are no PNG file of 28×28"),
        (f"mnist,,,3,{BOMB}", "line 2: pixels are no PNG file of 28×28"),
        (f"<<<<<<< HEAD\nmnist,{HASH},4,9,", "line 2: a conflict of a merge"),
        (f"mnist,{HASH},4,9,\n>>>>>>> other", "line 3: a conflict of a merge"),
        (f"mnist,{HASH},4,9,\nmnist,{HASH},4,7,", "line 3: this image has a row already"),
        (f"mnist,{HASH},4,9,\n\n\nmnist,{HASH},4,7,", "line 5: this image has a row already"),
        (f"mnist,,,3,{DRAWN}\nmnist,,,4,{DRAWN}", "line 3: this image is added already"),
        (f"mnist,,,3,{as_png(np.full((28, 28), 9, np.uint8))}", "line 2: pixels have a single grey level"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        corrections.read("mnist", CLASSES, table(tmp_path, line))


def test_a_table_without_a_column_is_refused(tmp_path):
    (tmp_path / "corrections.csv").write_text("dataset,image\n")
    with pytest.raises(UserError, match="no column from, to, pixels"):
        corrections.read("mnist", CLASSES, tmp_path / "corrections.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEAD}\n".encode("utf-16"), "is in UTF-16: save it as CSV in UTF-8"),
        (HEAD.replace(",", ";").encode(), "its columns are divided by ';': save it with commas"),
        (HEAD.replace(",", "\t").encode(), r"its columns are divided by '\\t': save it with commas"),
        (f"{HEAD}\nmnist,\xff".encode("latin-1"), "not a table in UTF-8"),
    ],
)
def test_a_table_as_spreadsheets_save_it_is_told(tmp_path, content, message):
    (tmp_path / "corrections.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        corrections.read("mnist", CLASSES, tmp_path / "corrections.csv")
    assert len(str(raised.value).splitlines()) == 1


def test_a_row_of_a_data_set_that_is_misspelt_is_told(tmp_path):
    path = table(tmp_path, f"mnist,{HASH},4,9,", f"mnsit,{HASH},4,9,", f",{HASH},4,9,")
    assert [line.partition(": this")[0].partition("csv ")[2] for line in corrections.strange(["mnist"], path)] == [
        "line 3: dataset is 'mnsit', which is no entry of datasets.yaml",
        "line 4: dataset is '', which is no entry of datasets.yaml",
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "the end of the last line"])
def test_a_change_leaves_the_other_lines_and_their_ends_as_they_are(tmp_path, monkeypatch, end, last):
    monkeypatch.chdir(tmp_path)
    head = "\ufeff" + ",".join([*reversed(COLUMNS), "note"])
    lines = [head, ",9,4,aa,mnist,why", "", ",8,4,bb,mnist,", ",7,4,cc,mnist,x"]
    (tmp_path / "corrections.csv").write_bytes((end.join(lines) + (end if last else "")).encode())
    write(Change([["mnist", "dd", "1", "2", ""]], {2: ["mnist", "aa", "4", "5", ""], 4: None}, "said elsewhere"))
    after = [head, ",5,4,aa,mnist,why", "", ",7,4,cc,mnist,x", ",2,1,dd,mnist,", ""]
    assert (tmp_path / "corrections.csv").read_bytes().decode() == end.join(after)


def test_equal_images_are_corrected_together_and_others_stay():
    images = np.zeros((4, 5, 5), np.uint8)
    images[1:3] = 9
    images[3] = 1
    wrong = corrections.Relabelled(2, fingerprint(images[1]), 4, 9)
    out = corrections.Relabelled(3, fingerprint(images[3]), 5, None)
    right, kept, seen = corrections.applied([wrong, out], images, np.array([3, 4, 4, 5], np.uint8))
    assert right.tolist() == [3, 9, 9, 5] and kept.tolist() == [True, True, True, False]
    assert seen == {wrong.image, out.image}
    with pytest.raises(UserError, match=r"line 2: this image is labelled otherwise now"):
        corrections.applied([wrong], images, np.array([3, 4, 5, 5], np.uint8))


@pytest.fixture(scope="module")
def here(clone):
    """A clone whose digits are prepared, and a stage's or a tool's run in it."""
    made = clone()
    made.change(lambda values: values["download"].update(dataset="digits"))
    for stage in ("download", "validate", "preprocess"):
        made.well(sys.executable, "-m", f"stages.{stage}")
    return made


def prepared(here, part):
    return tuple(np.load(here.folder / f"data/prepared/{part}/{name}.npy") for name in ("images", "labels"))


@pytest.mark.xdist_group("corrections")
def test_the_loop_closes(here):
    """Two suspects are decided, a drawing is corrected on the page: the next run trains on that and shows it."""
    images, labels = prepared(here, "train")
    place, out = 7, 11
    right = (int(labels[place]) + 1) % 10
    said = here.well(sys.executable, "-m", "tools.correct", "--part=train", f"--index={place}", f"--label={right}")
    assert f"{labels[place]} → {right}" in said and "dvc repro && make compare" in said
    here.well(sys.executable, "-m", "tools.correct", "--part=train", f"--index={out}", "--label=")
    drawing = np.arange(784, dtype=np.uint8)
    with Log(here.folder / "logs/requests.sqlite") as log:
        for label in (3, 4):  # the person changed their mind
            log.add(Correction("01J", 0, label, drawing, 1.0)).result()
    correct = (sys.executable, "-m", "tools.correct")
    assert "1 new" in here.well(*correct)
    with Log(here.folder / "logs/requests.sqlite") as log:
        log.add(Correction("01J", 0, 5, drawing, 2.0)).result()
        log.add(Correction("01K", 0, 5, np.zeros(784, np.uint8), 2.0)).result()  # nothing is drawn
    assert "0 new of those made on the page, 1 with another label than before" in here.well(*correct)
    assert here.well(*correct).endswith("0 new of those made on the page\n")
    assert len((here.folder / "corrections.csv").read_text().splitlines()) == 4

    before = prepared(here, "validation"), prepared(here, "test")
    for stage in ("validate", "preprocess"):
        here.well(sys.executable, "-m", f"stages.{stage}")
    corrected_images, corrected_labels = prepared(here, "train")
    assert len(corrected_images) == len(images)  # one left out, one added
    changed = np.flatnonzero((corrected_images[:out] == images[place]).all(axis=(1, 2)))
    assert corrected_labels[changed].tolist() == [right] * len(changed) and place in changed
    assert not (corrected_images == images[out]).all(axis=(1, 2)).any()
    assert np.array_equal(corrected_images[-1].ravel(), drawing) and corrected_labels[-1] == 5
    for then, now in zip(before, (prepared(here, "validation"), prepared(here, "test"))):
        assert all(map(np.array_equal, then, now))
    page = (here.folder / "reports/data/index.html").read_text()
    assert f"{labels[place]}: in truth {right}" in page and f"{labels[out]}: left out" in page and "added as 5" in page
    other, line = (right + 1) % 10, f"--index={place}"
    assert f"{labels[place]} → {other}, in place of what line 2 said" in here.well(*correct, line, f"--label={other}")
    assert "as the data have it: line 2 is taken out" in here.well(*correct, line, f"--label={labels[place]}")
    assert len((here.folder / "corrections.csv").read_text().splitlines()) == 3
    here.well("git", "restore", "corrections.csv")
    shutil.rmtree(here.folder / "logs")


@pytest.mark.xdist_group("corrections")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index=0"], "LABEL is missing"),
        (["--index=0", "--label=ten"], "LABEL is 'ten', must be one of 0, 1"),
        (["--index=99999", "--label=1"], "INDEX=99999: train has images 0 to"),
        (["--log", "nowhere.sqlite"], "nowhere.sqlite is missing"),
    ],
)
def test_a_decision_that_cannot_be_written_ends_with_one_line(here, arguments, message):
    ended = here.python("-m", "tools.correct", *arguments)
    assert ended.returncode == 1 and message in ended.stderr and len(ended.stderr.splitlines()) == 1


@pytest.mark.xdist_group("corrections")
def test_a_correction_of_an_image_that_is_not_there_stops_the_pipeline(here):
    table(here.folder, f"digits,{HASH},4,9,")
    ended = here.python("-m", "stages.preprocess")
    assert ended.returncode == 1
    assert ended.stderr == ("preprocess: corrections.csv line 2: no image has this fingerprint: take the line out\n")
    here.well("git", "restore", "corrections.csv")


def test_a_value_with_a_line_break_is_refused(tmp_path):
    (tmp_path / "c.csv").write_text('dataset,image,from,to,pixels,note\ndigits,ab,1,2,,"two\nlines"\n')
    with pytest.raises(UserError, match="c.csv line 3: a value has a line break"):
        corrections.rows(tmp_path / "c.csv")

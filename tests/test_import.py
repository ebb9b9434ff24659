"""`make import`: what is found at a path, what is written, and that the pipeline takes it."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from catalog import entries
from helpers.clone import ROOT
from helpers.dataset import small_digits
from stages.common import parameters
from stages.common.entry import UserError
from stages.download.__main__ import main as download
from stages.idx import read_idx, read_images, write_idx
from stages.preprocess.__main__ import main as preprocess
from stages.validate.__main__ import main as validate
from tools import check

tool = importlib.import_module("tools.import")


@pytest.fixture(scope="module")
def digits():
    return small_digits(400, 100)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The working directory: params.yaml, datasets.yaml and what `make check` reads."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("params.yaml", "datasets.yaml"):
        shutil.copy(ROOT / name, folder)
    monkeypatch.chdir(folder)
    return folder


def as_npz(folder, digits):
    (x_train, y_train), (x_test, y_test) = digits
    np.savez_compressed(folder / "my-own-data.npz", x_test=x_test, x_train=x_train, y_train=y_train, y_test=y_test)
    return folder / "my-own-data.npz"


def as_csv(folder, digits):
    for name, (images, labels) in zip(("train", "test"), digits):
        table = pd.DataFrame(images.reshape(len(images), -1)).add_prefix("pixel")
        table.insert(0, "label", labels)
        table.to_csv(folder / f"mnist_{name}.csv", index=False)
    return folder


def as_csv_without_header(folder, digits):
    for name, (images, labels) in zip(("train", "test"), digits):
        np.savetxt(folder / f"{name}.csv.gz", np.c_[labels, images.reshape(len(images), -1)], "%d", ",")
    return folder


def as_parquet(folder, digits):
    for part, (images, labels) in zip(("train", "test"), digits):
        cells = []
        for image in images:
            Image.fromarray(image).save(folder / "x.png")
            cells.append({"bytes": (folder / "x.png").read_bytes(), "path": None})
        (folder / "x.png").unlink()
        pq.write_table(pa.table({"image": cells, "label": labels}), folder / f"{part}-00000-of-00001.parquet")
    return folder


def as_folder(folder, digits, background=False):
    for part, (images, labels) in zip(("train", "test"), digits):
        for number, (image, label) in enumerate(zip(images, labels)):
            place = folder / part / str(label)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - np.pad(image, 2) if background else image).save(place / f"{number:04}.png")
    return folder


def as_idx(folder, digits):
    for name, (images, labels) in zip(("train", "t10k"), digits):
        write_idx(folder / f"{name}-images.idx3-ubyte", images)
        write_idx(folder / f"{name}-labels.idx1-ubyte", labels.astype(np.uint8))
    return folder


@pytest.fixture
def place(tmp_path):
    (tmp_path / "my own-data").mkdir()
    return tmp_path / "my own-data"


@pytest.mark.parametrize("form", [as_npz, as_csv, as_csv_without_header, as_parquet, as_folder, as_idx])
def test_each_form_is_found_written_and_taken_by_the_pipeline(project, place, digits, form, capsys):
    before = (project / "datasets.yaml").read_text()
    path = form(place, digits)
    tool.main([str(path)])
    name = "my_own_data"
    after = (project / "datasets.yaml").read_text()
    assert after.startswith(before.rstrip())
    entry = yaml.safe_load(after)[name]
    assert entry["classes"] == list("0123456789") and entry["prepare"] == "box"
    assert entry["expect"]["train_images"] == 400 and entry["expect"]["test_images"] == 100
    assert [len(values) for values in entry["expect"]["reference"]["classes"]] == [17] * 10
    printed = capsys.readouterr().out
    assert f"dvc exp run -S download.dataset={name} -S train.batch_size=32" in printed
    check.main()

    use(name)
    download()
    validate()
    preprocess()
    ordered = [np.argsort(labels, kind="stable") if form is as_folder else slice(None) for _, labels in digits]
    for prefix, (images, labels), order in zip(("train", "t10k"), digits, ordered):
        assert (read_images(Path("data/raw"), prefix) == images[order]).all()
        assert (read_idx(Path("data/raw") / f"{prefix}-labels-idx1-ubyte", 1) == labels[order]).all()


def use(name):
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["download"]["dataset"] = name
    Path("params.yaml").write_text(yaml.safe_dump(values))


def test_a_second_import_says_that_it_is_there_and_changes_nothing(project, place, digits, capsys):
    as_csv(place, digits)
    tool.main([str(place)])
    text = (project / "datasets.yaml").read_text()
    for arguments in ([], ["--name", "another"]):
        capsys.readouterr()
        tool.main([str(place), *arguments])
        assert "has these data already, as my_own_data: nothing changed" in capsys.readouterr().out
    assert (project / "datasets.yaml").read_text() == text
    (place / "mnist_test.csv").write_text((place / "mnist_test.csv").read_text().replace("255", "254"))
    with pytest.raises(UserError, match="has an entry my_own_data of other data: choose another NAME"):
        tool.main([str(place)])


def test_a_test_table_without_labels_is_left_out_as_kaggles_is(project, place, digits, capsys):
    as_csv(place, digits)
    table = pd.read_csv(place / "mnist_test.csv").drop(columns="label")
    table.to_csv(place / "mnist_test.csv", index=False)
    tool.main([str(place), "--name", "kaggle"])
    assert "mnist_test.csv has no labels and is left out" in capsys.readouterr().out
    source = yaml.safe_load((project / "datasets.yaml").read_text())["kaggle"]["source"]
    assert source["train"] == ["mnist_train.csv"] and source["test_fraction"] == 0.2 and "test" not in source


def test_the_hub_names_the_classes(project, place, digits):
    as_parquet(place, digits)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    for path in place.iterdir():
        pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": json.dumps(info)}), path)
    tool.main([str(place), "--name", "hub"])
    assert yaml.safe_load((project / "datasets.yaml").read_text())["hub"]["classes"] == names


def test_dark_ink_and_many_sizes_are_noticed(project, place, digits, capsys):
    as_folder(place, digits, background=True)
    Image.fromarray(np.full((90, 300), 255, np.uint8)).save(place / "train/3/wide.png")
    tool.main([str(place)])
    source = yaml.safe_load((project / "datasets.yaml").read_text())["my_own_data"]["source"]
    assert source["ink"] == "dark" and source["size"] == 128
    printed = capsys.readouterr().out
    assert "12×12 to 300×90 pixels; 0 of 501 pictures in colour" in printed
    assert "501 of 501 images inverted" in printed and "odd: 1 images of a single grey level" in printed


def test_classes_may_be_words_and_the_name_of_a_path_may_say_who(project, place, digits):
    images, labels = digits[0]
    for number, (image, label) in enumerate(zip(images, labels)):
        folder = place / f"digit {label}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03}-w{number % 9}.png")
    tool.main([str(place), r"--group=-(w\d)"])
    entry = yaml.safe_load((project / "datasets.yaml").read_text())["my_own_data"]
    assert entry["classes"] == entry["source"]["labels"] == [f"digit {number}" for number in range(10)]
    use("my_own_data")
    download()
    writers = [set(pd.read_csv(f"data/raw/{name}-writers.csv")["writer"]) for name in ("train", "t10k")]
    assert writers[0] | writers[1] == set(range(9)) and not writers[0] & writers[1]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([""], "FROM is '', must be a file or a folder that exists"),
        (["nowhere"], "FROM is 'nowhere', must be a file or a folder that exists"),
        (["empty"], "empty: nothing that is known here: a folder with a folder of pictures for each class"),
        (["empty", "--name", "my.data"], "NAME is 'my.data', must begin with a letter"),
        (["flat"], "flat/a.png: lies in no folder of a class: make one for each class, such as flat/7/a.png"),
        (["one"], "one: 1 different labels, must be 2 to 256: a"),
        (["bad.csv"], "bad.csv: cannot be read: No columns to parse from file"),
        (["empty", "--name", "null"], "NAME is 'null', must begin with a letter"),
        (["bad.npz"], "bad.npz: cannot be read: "),
        (["text.npz"], "text.npz: cannot be read: .*magic string"),
        (["lies.npz"], "lies.npz: cannot be read: x.npy is shorter than it says"),
        (["bad.parquet"], "bad.parquet: cannot be read: "),
        (["one", "--group", "("], "one: cannot be read: missing \\), unterminated subpattern"),
    ],
)
def test_what_cannot_be_imported_is_told_and_nothing_is_written(project, arguments, reason):
    text = (project / "datasets.yaml").read_text()
    Path("bad.csv").write_bytes(b"")
    Path("bad.npz").write_bytes(b"PK no zip")
    Path("bad.parquet").write_bytes(b"no table")
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9, 999999, 999999)}".ljust(117) + b"\n"
    for name, content in {"text.npz": b"no array", "lies.npz": b"\x93NUMPY\x01\x00\x76\x00" + header}.items():
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("x.npy", content)
    for name in ("empty", "flat", "one/a"):
        Path(name).mkdir(parents=True)
    for number in range(12):
        picture = Image.fromarray(np.full((9, 9), number, np.uint8))
        picture.save(f"one/a/{number}.png")
    picture.save("flat/a.png")
    with pytest.raises(UserError, match=f"^{reason}"):
        tool.main(arguments)
    assert (project / "datasets.yaml").read_text() == text


def test_colour_of_any_size_trains_with_the_same_networks_and_is_scored_and_shown(project, place, environment):
    generator = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 20)):
        for label, colour in enumerate(([220, 40, 40], [40, 220, 40], [40, 40, 220])):
            folder = place / part / ["red", "green", "blue"][label]
            folder.mkdir(parents=True)
            for number in range(count):
                image = np.clip(generator.normal(colour, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(image).save(folder / f"{number}.png")
    tool.main([str(place), "--name", "colours"])
    entry = yaml.safe_load((project / "datasets.yaml").read_text())["colours"]
    assert entry["classes"] == ["blue", "green", "red"] and entry["source"]["channels"] == 3
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["download"]["dataset"] = "colours"
    values["preprocess"] |= {"image_size": 32, "channels": 3}
    values["train"] |= {"epochs": 12, "batch_size": 16}
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    for stage in ("download", "validate", "preprocess", "train", "evaluate", "package", "report"):
        command = [sys.executable, "-m", f"stages.{stage}"]
        ended = subprocess.run(command, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
    assert np.load("data/prepared/train/images.npy").shape[1:] == (32, 32, 3)
    assert json.loads(Path("metrics/evaluate.json").read_text())["accuracy"] > 0.9
    assert "`[images, 32, 32, 3]`, colours 0 to 255" in Path("reports/model_card.md").read_text()


def pictures_in(folder, names, count=20):
    """A folder of pictures for each of `names`, each class with a bar at another place."""
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = np.zeros((12, 12), np.uint8)
            image[2:10, place + 1 : place + 3] = 200 + number % 50
            image[0, 0] = number
            Image.fromarray(image).save(folder / name / f"{number}.png")


@pytest.mark.parametrize("names", [["12:30", "1:00"], ["a?", "- b"], ["null", "true"], ["ä", "x, y"], ["[1]", "{2}"]])
def test_classes_of_any_name_are_written_so_that_they_are_read_back(project, place, names):
    pictures_in(place, names)
    tool.main([str(place)])
    check.main()
    assert parameters.load(Path("datasets.yaml"))["my_own_data"]["classes"] == sorted(names)


@pytest.mark.parametrize("parts", ["train valid test", "Train Val Test", "training val testing"])
@pytest.mark.parametrize("around", ["", "archive/v1"])
def test_validation_folders_count_as_training_images_and_a_folder_around_all_does_not_matter(
    project, place, parts, around
):
    for part in parts.split():
        pictures_in(place / around / part, ["a", "b", "c"])
    tool.main([str(place)])
    entry = yaml.safe_load((project / "datasets.yaml").read_text())["my_own_data"]
    assert entry["classes"] == ["a", "b", "c"]
    assert entry["expect"]["train_images"] == 120 and entry["expect"]["test_images"] == 60


def test_an_archive_with_a_validation_part_gives_the_test_part_and_the_labels_by_their_names(
    project, place, digits, capsys
):
    (x_train, y_train), (x_test, y_test) = digits
    arrays = {"train_images": x_train, "train_labels": y_train, "val_images": x_test[:50], "val_labels": y_test[:50]}
    arrays |= {"test_images": x_test, "test_labels": y_test, "train_writer": y_train + 1, "test_writer": y_test + 1}
    np.savez(place / "med.npz", **arrays)
    tool.main([str(place / "med.npz")])
    source = yaml.safe_load((project / "datasets.yaml").read_text())["med"]["source"]
    assert source["train"] == ["train_images", "train_labels"] and source["test"] == ["test_images", "test_labels"]
    assert "val_images is left out" in capsys.readouterr().out
    np.savez(place / "unclear.npz", x=x_train, one=y_train, two=y_train)
    with pytest.raises(UserError, match="one or two may be the labels of x: call them labels"):
        tool.main([str(place / "unclear.npz")])


def test_kaggles_folder_with_a_sample_of_what_to_hand_in(project, place, digits, capsys):
    as_csv(place, digits)
    test = pd.read_csv(place / "mnist_test.csv").drop(columns="label")
    test.to_csv(place / "mnist_test.csv", index=False)
    pd.DataFrame({"ImageId": [1, 2], "Label": [0, 0]}).to_csv(place / "sample_submission.csv", index=False)
    (place / "._mnist_train.csv").write_bytes(b"\0\1")
    tool.main([str(place)])
    printed = capsys.readouterr().out
    assert "sample_submission.csv has 2 columns" in printed and "mnist_test.csv has no labels" in printed


def test_labels_in_the_last_column_are_noticed(project, place, digits):
    images, labels = digits[0]
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    np.savetxt(place / "last.csv", np.c_[framed.reshape(len(framed), -1), labels], "%d", ",")
    tool.main([str(place / "last.csv")])
    entry = yaml.safe_load((project / "datasets.yaml").read_text())["last"]
    assert entry["source"]["label"] == 100 and entry["classes"] == list("0123456789")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["a/0.png,"], r"labels.csv line 3: the label is empty"),
        (["a/0.png"], r"labels.csv line 3: the label is empty"),
        (["b/0.png,x"], r"labels.csv line 3: there is no picture 'b/0.png'"),
    ],
)
def test_a_table_with_a_hole_is_told_with_its_line(project, place, rows, reason):
    pictures_in(place, ["a"])
    (place / "labels.csv").write_text("\n".join(["file,label", "a/1.png,one", *rows]))
    with pytest.raises(UserError, match=reason):
        tool.main([str(place)])


def test_a_csv_without_a_label_somewhere_is_told(project, place, digits):
    as_csv(place, digits)
    lines = (place / "mnist_train.csv").read_text().splitlines()
    lines[5] = lines[5][lines[5].index(",") :]
    (place / "mnist_train.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match="mnist_train.csv: image 4 has no label"):
        tool.main([str(place)])


@pytest.mark.parametrize("label", ["b\x1b[31m", "b\u202ec", "b\u200b", "b\nc", " b", "b\udcff", "b" * 101, ""])
def test_a_class_whose_name_cannot_be_shown_is_told(project, place, digits, label):
    if label:
        pictures_in(place, ["a", label])
        (place / "a" / "0.png").write_bytes(b"")  # before any picture is read
    else:
        as_csv(place, digits)
        table = pd.read_csv(place / "mnist_train.csv", dtype={"label": str})
        table.assign(label=table["label"].replace("3", "3\x07")).to_csv(place / "mnist_train.csv", index=False)
    before = (project / "datasets.yaml").read_bytes()
    with pytest.raises(UserError, match=r"source\.label\.\d+ is '") as raised:
        tool.main([str(place)])
    assert len(str(raised.value).splitlines()) == 1
    assert (project / "datasets.yaml").read_bytes() == before


def test_a_path_that_is_not_utf_8_and_one_of_nobody_are_told(project, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/p\xff"))
    pictures_in(folder, ["a", "b"])
    with pytest.raises(UserError, match="a path or a name is not UTF-8: rename"):
        tool.main([str(folder)])
    with pytest.raises(UserError, match="FROM is '~nosuchuser/x', must be a file or a folder"):
        tool.main(["~nosuchuser/x"])


@pytest.mark.parametrize(
    ("count", "reason"), [(1, "test_fraction"), (3, "test_fraction"), (8, "preprocess.validation_fraction")]
)
def test_too_few_pictures_are_told_by_the_import(project, place, count, reason):
    pictures_in(place, ["a", "b", "c"], count)
    with pytest.raises(UserError, match=reason):
        tool.main([str(place)])


def test_a_class_without_training_images_is_told_by_the_import(project, place):
    pictures_in(place / "train", ["a", "b"])
    pictures_in(place / "test", ["a", "b", "c"])
    with pytest.raises(UserError, match="no training image of c: add some"):
        tool.main([str(place)])


def test_line_ends_stay_and_a_catalog_that_cannot_grow_is_told(project, place):
    pictures_in(place, ["a", "b"])
    file = project / "datasets.yaml"
    text = file.read_bytes()
    file.write_bytes(text.replace(b"\n", b"\r\n"))
    tool.main([str(place)])
    assert b"\n" not in file.read_bytes().replace(b"\r\n", b"")
    file.write_bytes(text + b"...\n")
    with pytest.raises(UserError, match="nothing can be added at its end"):
        tool.main([str(place)])
    assert file.read_bytes() == text + b"...\n"


def test_data_that_were_moved_are_known_and_the_new_place_is_told(project, place, digits, capsys):
    as_csv(place, digits)
    tool.main([str(place)])
    place.rename(place.with_name("moved"))
    tool.main([str(place.with_name("moved"))])
    assert f"they lie elsewhere now: write {place.with_name('moved')}" in capsys.readouterr().out


def test_names_that_other_programs_would_misread_are_quoted(tmp_path):
    names = {"no": {"classes": ["yes", "no", "0020", "1_000", "12:30", "plain", "a b"], "about": {"on": 1, "n": 0.5}}}
    text = "".join(entries.as_yaml(name, entry) for name, entry in names.items())
    (tmp_path / "datasets.yaml").write_text(text, encoding="utf-8")
    assert parameters.load(tmp_path / "datasets.yaml") == names == yaml.safe_load(text)

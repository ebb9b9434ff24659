"""The validate stage, tried on scikit-learn's digits: intact, and with the damage that real data come with."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.ndimage import gaussian_filter
from scipy.stats import ks_2samp
from sklearn.datasets import load_digits

from stages import arrays
from stages.common.entry import UserError
from stages.corrections import fingerprint
from stages.idx import read_idx, write_idx
from stages.statistics import measures
from stages.validate import by_class, partial
from stages.validate.__main__ import main
from stages.validate.params import Expect
from stages.validate.raw import Split
from stages.validate.repeats import fingerprints, repeats
from stages.validate.suite import Check, judge, judge_set, set_checks
from stages.validate.table import COMPARED, Values, distance, image_table, put_together, set_table, with_more
from tools import measure

ROOT = Path(__file__).parents[1]
TEST_IMAGES = 360


@pytest.fixture(scope="session")
def digits():
    """Images uint8 [1797, 8, 8] and labels uint8 [1797]."""
    pixels, labels = load_digits(return_X_y=True)
    return np.round(pixels.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8), labels.astype(np.uint8)


@pytest.fixture
def raw(digits, tmp_path, monkeypatch):
    """An intact data/raw below the working directory, and the repository's params.yaml and datasets.yaml beside it."""
    images, labels = digits
    folder = tmp_path / "data" / "raw"
    folder.mkdir(parents=True)
    for name, part in (("train", slice(None, -TEST_IMAGES)), ("t10k", slice(-TEST_IMAGES, None))):
        save(folder, name, images[part], labels[part])
    (folder / "dataset.json").write_text(json.dumps({"name": "digits", "files": {}}))
    for name in ("params.yaml", "datasets.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return folder


def load(folder, name):
    images = read_idx(folder / f"{name}-images-idx3-ubyte", 3).copy()
    return images, read_idx(folder / f"{name}-labels-idx1-ubyte", 1).copy()


def save(folder, name, images, labels):
    write_idx(folder / f"{name}-images-idx3-ubyte", images)
    write_idx(folder / f"{name}-labels-idx1-ubyte", labels)


def refusal():
    """The message `main` refuses the data with, which validate.json and the page must tell as well."""
    with pytest.raises(UserError) as caught:
        main()
    verdict = json.loads(Path("metrics/validate.json").read_text())
    assert verdict["success"] is False
    assert verdict["failures"]
    assert all(line in str(caught.value) for line in verdict["failures"])
    assert "The data were refused" in Path("reports/data/index.html").read_text()
    return str(caught.value)


def change_entry(change):
    """Apply `change` to the entry `digits` of datasets.yaml."""
    catalog = yaml.safe_load(Path("datasets.yaml").read_text())
    change(catalog["digits"])
    Path("datasets.yaml").write_text(yaml.safe_dump(catalog))


def lines(message):
    """The failures in `message`, without the closing hint."""
    return [line.removeprefix("validate: ") for line in message.splitlines()][:-1]


def test_intact_digits_pass_with_the_same_bytes_twice(raw):
    main()
    outputs = [Path("metrics/validate.json"), Path("reports/data/index.html")]
    first = [path.read_bytes() for path in outputs]
    main()
    assert [path.read_bytes() for path in outputs] == first
    verdict = json.loads(first[0])
    assert verdict["success"] is True
    assert verdict["failures"] == []
    assert (verdict["train_images"], verdict["test_images"]) == (1437, 360)
    assert verdict["expectations"] > 30
    page = first[1].decode()
    assert "http" not in page.replace("https://archive.ics.uci.edu", "").replace("http://www.w3.org", "")


def test_names_are_not_taken_for_markup(raw):
    change_entry(lambda entry: entry["about"].update(title="Digits <i>"))
    change_entry(lambda entry: entry.update(classes=["<b>", "$\\frac$", *map(str, range(2, 10))]))
    main()
    page = Path("reports/data/index.html").read_text()
    assert "<i>" not in page and "&lt;b&gt;" in page and "Digits &lt;i&gt;" in page and "$\\frac$" in page
    assert page.count("<b>") == len([*re.finditer("</b>", page)])


def test_the_command_ends_with_code_1_and_one_line_a_failure(raw):
    images, labels = load(raw, "t10k")
    images[[3, 17]] = 0
    save(raw, "t10k", images, labels)
    result = subprocess.run(
        [sys.executable, "-m", "stages.validate"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "t10k: 2 of 360 images are blank (ink_fraction 0, at least 0.1): indices 3, 17\n" in result.stderr
    assert all(line.startswith("validate: ") for line in result.stderr.splitlines())
    assert result.stdout == ""


def test_idx_cut_short(raw):
    path = raw / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    assert "t10k-images-idx3-ubyte: cut short: 22956 bytes, its header announces 23056" in refusal()


def test_wrong_magic(raw):
    path = raw / "train-labels-idx1-ubyte"
    path.write_bytes(b"\x1f\x8b" + path.read_bytes()[2:])
    assert "train-labels-idx1-ubyte: wrong magic number 1f8b0801" in refusal()


def test_missing_file(raw):
    (raw / "train-labels-idx1-ubyte").unlink()
    assert "train-labels-idx1-ubyte is missing: run the download stage again" in refusal()


def test_counts_of_images_and_labels_differ(raw):
    images, labels = load(raw, "train")
    save(raw, "train", images, labels[:-1])
    assert "train: 1,437 images but 1,436 labels" in refusal()


def test_wrong_image_size(raw):
    images, labels = load(raw, "train")
    save(raw, "train", np.pad(images, ((0, 0), (1, 1), (1, 1))), labels)
    assert "train-images-idx3-ubyte: images are 10x10 pixels, expected 8x8" in refusal()


def test_label_outside_the_classes(raw):
    images, labels = load(raw, "train")
    labels[42] = 10
    save(raw, "train", images, labels)
    assert lines(refusal()) == ["train: 1 of 1,437 images has a label outside the classes (label 10, 0 to 9): index 42"]


def test_blank_images(raw):
    images, labels = load(raw, "train")
    blank = np.arange(0, len(images), 20)
    images[blank] = 0
    save(raw, "train", images, labels)
    failures = lines(refusal())
    assert (
        "train: 72 of 1,437 images are blank (ink_fraction 0, at least 0.1):"
        " indices 0, 20, 40, 60, 80, 100, 120, 140, 160, 180, …"
    ) in failures
    assert any("images are constant or nearly so (distinct_values 1, at least 4)" in line for line in failures)


def test_inverted_images(raw):
    images, labels = load(raw, "train")
    images[100:110] = 255 - images[100:110]
    save(raw, "train", images, labels)
    assert any(
        line.startswith("train: 10 of 1,437 images look inverted (border_intensity ")
        and line.endswith("at most 120): indices 100, 101, 102, 103, 104, 105, 106, 107, 108, 109")
        for line in lines(refusal())
    )


def test_off_centre_images(raw):
    images, labels = load(raw, "t10k")
    images[5] = 0
    images[5, :, :2] = np.arange(16).reshape(8, 2) * 17
    save(raw, "t10k", images, labels)
    assert any(line.startswith("t10k: 1 of 360 images is off centre horizontally (") for line in lines(refusal()))


@pytest.mark.parametrize("split", ["train", "t10k"])
def test_permuted_labels(raw, split):
    images, labels = load(raw, split)
    save(raw, split, images, np.random.default_rng(0).permutation(labels))
    failures = lines(refusal())
    assert failures[0].startswith(f"{split}: labels do not fit the images: the nearest class mean (of train) agrees")
    assert all(re.search("do not fit the images|its reference", line) for line in failures)


def blurred(images):
    return gaussian_filter(images, (0, 1, 1))


def turned(images):
    return np.rot90(images, axes=(1, 2))


def by_a_pixel(images):
    return np.roll(images, 1, axis=1)


# What a whole set may suffer, train and test alike, while every image by itself stays as it should be.
DAMAGES = {
    "transposed": lambda images: images.transpose(0, 2, 1),
    "mirrored": lambda images: images[:, :, ::-1],
    "turned": turned,
    "turned by 180°": lambda images: images[:, ::-1, ::-1],
    "inverted": lambda images: 255 - images,
    "shifted": by_a_pixel,
    "blurred": blurred,
    "halved": lambda images: images // 2,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_both_parts_alike_differs_from_the_reference(digits, damage):
    found = unlike_reference(DAMAGES[damage](digits[0]), digits[1])
    assert {line.partition(":")[0] for line in found} == {"train", "t10k"}
    assert any("its reference" in line for line in found)


@pytest.mark.parametrize("pair", [(3, 8), (4, 9), (1, 7)])
def test_classes_that_are_exchanged_in_both_parts_differ_from_the_reference(digits, pair):
    names = np.arange(10, dtype=np.uint8)
    names[list(pair)] = pair[::-1]
    found = unlike_reference(digits[0], names[digits[1]])
    assert (
        sum(bool(re.match("(train|t10k): class [0-9] does not look like its reference", line)) for line in found) == 2
    )


@pytest.mark.parametrize("seed", range(3))
def test_half_of_the_images_are_like_the_reference(digits, seed):
    random = np.random.default_rng(seed)
    halves = [random.permutation(1437)[:718], 1437 + random.permutation(360)[:180]]
    assert unlike_reference(*(values[np.concatenate(halves)] for values in digits), test=180) == []


def unlike_reference(images, labels, test=TEST_IMAGES):
    """The failures of the checks of classes on the digits, of which the last `test` images are the test part."""
    expect = Expect(**yaml.safe_load((ROOT / "datasets.yaml").read_text())["digits"]["expect"])
    names = list("0123456789")
    parts = {"train": slice(None, -test), "test": slice(-test, None)}
    wholes = {key: by_class.of_split(Split(images[part], labels[part], None), 10) for key, part in parts.items()}
    row = by_class.unlike(wholes, expect.reference, names) | by_class.set_apart(wholes["train"], names)
    row = pd.DataFrame([row | by_class.groups_apart(wholes, names)])
    checks = [check for check in set_checks(expect, names) if check.column in row]
    assert len(checks) == 8
    return [line for outcome in judge_set(row, checks) for line in outcome.failures]


# What a class may carry that no other does, so that a network would learn that and not the class.
SHORTCUTS = {
    "a bright corner": lambda images: np.where(np.arange(64).reshape(8, 8) == 0, 255, images),
    "noise": lambda images: np.clip(images + np.random.default_rng(0).normal(0, 10, images.shape), 0, 255),
    "inverted": lambda images: 255 - images,
    "shifted": lambda images: np.roll(images, 1, axis=2),
    "another size": lambda images: images[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2) * 0.9,
    "blurred": blurred,
    "darker": lambda images: images * 0.8,
}


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_what_one_class_alone_carries_is_found_without_a_reference(digits, shortcut):
    images, labels = digits[0].copy(), digits[1]
    images[labels == 3] = SHORTCUTS[shortcut](images[labels == 3]).astype(np.uint8)
    apart = [line for line in unlike_reference(images, labels) if "A network would learn that" in line]
    one = "train: class 3 differs from every other class in one"
    both = "(train|t10k): a mark of class 3 that all others lack"
    assert any(line.startswith(one) for line in apart)
    assert all(re.match(f"{one}|{both}", line) for line in apart)


@pytest.mark.parametrize("shortcut", ["a bright corner", "noise", "inverted", "darker"])
@pytest.mark.parametrize("marked", [[0, 1], [2, 6], [0, 2, 4]])
def test_what_several_classes_share_is_found_without_a_reference(digits, shortcut, marked):
    images, labels = digits[0].copy(), digits[1]
    chosen = np.isin(labels, marked)
    images[chosen] = SHORTCUTS[shortcut](images[chosen]).astype(np.uint8)
    said = f"a mark of classes {', '.join(map(str, marked))} that all others lack, "
    apart = [line for line in unlike_reference(images, labels) if said in line]
    assert [line.partition(":")[0] for line in apart] == ["train", "t10k"]


@pytest.mark.parametrize("shortcut", ["a bright corner", "inverted"])
def test_what_marks_a_class_of_test_alone_is_found(digits, shortcut):
    images, labels = digits[0].copy(), digits[1]
    chosen = np.flatnonzero(labels == 5)
    chosen = chosen[chosen >= len(labels) - TEST_IMAGES]
    images[chosen] = SHORTCUTS[shortcut](images[chosen]).astype(np.uint8)
    found = unlike_reference(images, labels)
    assert any(line.startswith("t10k: a mark of class 5 that all others lack") for line in found)


def test_refused_classes_are_told_and_without_a_reference_the_page_says_so(raw):
    for name in ("train", "t10k"):
        images, labels = load(raw, name)
        save(raw, name, images.transpose(0, 2, 1).copy(), labels)
    failures = lines(refusal())
    assert [line.partition(" class ")[0] for line in failures] == ["train:", "t10k:"]
    assert all(
        re.search(r"does not look like its reference: the mean image differs by \d+\.\d grey", line)
        for line in failures
    )
    change_entry(lambda entry: entry["expect"].pop("reference"))
    main()
    assert "without a reference of its classes" in Path("reports/data/index.html").read_text()


def test_measure_prints_the_reference_that_the_catalog_has(raw, capsys):
    measure.main()
    printed = yaml.safe_load(capsys.readouterr().out)["digits"]["expect"]
    known = yaml.safe_load(Path("datasets.yaml").read_text())["digits"]["expect"]
    assert printed == {key: known[key] for key in ("class_gap", "pixel_gap", "group_gap", "reference")}
    change_entry(lambda entry: entry["expect"]["reference"].update(classes=[[0] * 17] * 9))
    measure.main()  # also if the one that is there is of no use
    assert yaml.safe_load(capsys.readouterr().out)["digits"]["expect"] == printed


def test_a_reference_of_another_number_of_classes_is_told(raw):
    change_entry(lambda entry: entry["expect"]["reference"]["classes"].pop())
    with pytest.raises(
        UserError, match=r"digits\.expect\.reference\.classes has 9 lists, must have one for each of the 10"
    ):
        main()


def test_what_is_counted_of_classes_by_parts_is_that_of_all(digits):
    colour = np.stack([digits[0], digits[0] // 2, 255 - digits[0]], axis=3)
    whole = by_class.of_split(Split(colour, digits[1], None), 9)
    parts = [by_class.of_split(Split(colour[i : i + 700], digits[1][i : i + 700], None), 9) for i in (0, 700, 1400)]
    assert all(map(np.array_equal, whole, parts[0].plus(parts[1]).plus(parts[2])))
    kept = colour[digits[1] == 4].astype(int)
    assert (whole.sums[4] == kept.sum(axis=0)).all() and (whole.squares[4] == (kept**2).sum(axis=0)).all()
    cells = kept.mean(axis=(0, 3)).reshape(4, 2, 4, 2).mean(axis=(1, 3))
    assert np.allclose(by_class.portrait(whole)[4, :-1], cells.ravel())


def test_test_images_leaked_into_train(raw):
    images, labels = load(raw, "train")
    leaked, leaked_labels = load(raw, "t10k")
    images[:3], labels[:3] = leaked[[7, 8, 9]], leaked_labels[[7, 8, 9]]
    save(raw, "train", images, labels)
    assert lines(refusal()) == ["t10k: 3 of 360 images are in train too (3 shared, at most 0): indices 7, 8, 9"]


def test_a_class_that_the_test_part_lacks_passes_if_the_bound_allows_it(raw):
    images, labels = load(raw, "t10k")
    save(raw, "t10k", images[labels != 7], labels[labels != 7])
    left = int((labels != 7).sum())
    change_entry(lambda entry: entry["expect"].update(test_images=left))
    assert "t10k: no images of class 7: 9 classes present, expected 10" in lines(refusal())
    change_entry(lambda entry: entry["expect"].update(class_fraction=[0, 0.2]))
    main()


def test_class_removed(raw):
    images, labels = load(raw, "train")
    save(raw, "train", images[labels != 7], labels[labels != 7])
    failures = lines(refusal())
    assert "train: no images of class 7: 9 classes present, expected 10" in failures
    assert "train: 1,294 images, expected 1,437" in failures


def test_too_common_class(raw):
    images, labels = load(raw, "train")
    images[labels == 3], labels[labels == 3] = images[np.flatnonzero(labels == 8)[0]], 8
    save(raw, "train", images, labels)
    assert any(line.startswith("train: class 8 is too common: 0.199") for line in lines(refusal()))


def test_duplicated_images(raw):
    images, labels = load(raw, "train")
    images[1000:1014], labels[1000:1014] = images[:14], labels[:14]
    save(raw, "train", images, labels)
    (line,) = lines(refusal())
    assert line == (
        "train: 14 of 1,437 images repeat an earlier one (0.0097 of them, at most 0.001):"
        " indices 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, …"
    )


def test_train_and_test_unlike(raw):
    images, labels = load(raw, "t10k")
    save(raw, "t10k", (images * 0.8).astype(np.uint8), labels)
    failures = lines(refusal())
    assert any(line.startswith("train and t10k differ in ") for line in failures)
    assert "t10k: the largest pixel value is 204, expected 255" in failures


def test_unknown_writer(raw):
    for name in ("train", "t10k"):
        count = len(load(raw, name)[1])
        rows = [f"4,{i % 40}" for i in range(count)]
        rows[11] = "4," if name == "train" else rows[11]
        (raw / f"{name}-writers.csv").write_text("\n".join(["series,writer", *rows]) + "\n")
    assert lines(refusal()) == ["train: 1 of 1,437 images has no writer: index 11"]


def test_bounds_the_wrong_way_round(raw):
    change_entry(lambda entry: entry["expect"].update(ink_fraction=[0.6, 0.1]))
    with pytest.raises(UserError, match=r"digits\.expect\.ink_fraction is \[0\.6, 0\.1\], must be \[smallest"):
        main()


def test_unknown_values_and_missing_columns_fail(digits):
    images, labels = digits
    blank = np.zeros((1, 8, 8), np.uint8)
    splits = {"train": Split(np.vstack([images[:500], blank]), np.append(labels[:500], 0).astype(np.uint8), None)}
    splits["test"] = Split(images[500:], labels[500:], None)
    table = pd.concat([image_table(splits["train"], "train"), image_table(splits["test"], "t10k")], ignore_index=True)
    assert np.isnan(table.loc[500, "centre_x"])
    whole = set_table(table, splits, list("0123456789"), 1000)
    table.loc[503, "centre_x"] = np.nan
    checks = [
        Check(column="centre_x", title="Centre", failure="have no centre_x", inked_only=True),  # ignores blank images
        Check(column="colour", low=0, high=1, title="Colour", failure="are coloured"),
    ]
    known, missing = judge(table, whole, checks, [])
    assert known.failures == ["t10k: 1 of 1,297 images has no centre_x: index 2"]
    assert not missing.success
    assert missing.failures[0].startswith("Colour: could not be checked: ")
    assert "colour" in missing.failures[0]


def test_image_table():
    image = np.zeros((8, 8), np.uint8)
    image[2:4, 1:7] = 200
    row = image_table(Split(image[None], np.array([3], np.uint8), None), "train").iloc[0]
    assert row["label"] == 3
    assert row[["left", "right", "top", "bottom", "box_size"]].tolist() == [1, 6, 2, 3, 6]
    assert (row["centre_x"], row["centre_y"]) == (3.5, 2.5)
    assert (row["smallest"], row["largest"], row["distinct_values"]) == (0, 200, 2)
    assert row["ink_fraction"] == 12 / 64
    assert row["mean_intensity"] == image.mean()
    assert row["standard_deviation"] == pytest.approx(image.std())
    assert row["border_intensity"] == 0


OUTPUTS = [Path("metrics/validate.json"), Path("data/verdict.json"), Path("reports/data/index.html")]


def save_writers(folder, name, count, unknown):
    rows = ["4," if i in unknown else f"4,{i % 40}" for i in range(count)]
    (folder / f"{name}-writers.csv").write_text("\n".join(["series,writer", *rows]) + "\n")


@pytest.fixture
def damaged(raw):
    """Damage of every kind on both sides of where ranges of 100 and of 257 images meet; the images and labels."""
    train, train_labels = load(raw, "train")
    test, test_labels = load(raw, "t10k")
    train[[99, 100, *range(600, 720), 1436]] = 0
    train[[256, 257, 1024]] = 255 - train[[256, 257, 1024]]
    train[[400, 1290]] = train[5]
    train[[199, 200, 514]] = test[[0, 99, 359]]
    test[300] = test[17]
    train_labels[[42, 101, 900]] = 10, 11, 200
    train_labels[train_labels == 7] = 1
    save(raw, "train", train, train_labels)
    save(raw, "t10k", test, test_labels)
    save_writers(raw, "train", len(train), {0, 99, 100, 1436})
    save_writers(raw, "t10k", len(test), set(range(95, 120)))
    return {"train": (train, train_labels), "t10k": (test, test_labels)}


def test_the_bytes_are_the_same_for_any_ranges_and_processes(damaged, monkeypatch):
    def written(processes, images):
        monkeypatch.setenv("STAGE_PROCESSES", processes)
        monkeypatch.setenv("STAGE_RANGE", images)
        refusal()
        return [path.read_bytes() for path in OUTPUTS]

    whole = written("1", "65536")
    assert written("1", "257") == whole
    assert written("3", "100") == whole


def test_the_damage_is_told_as_tables_of_all_images_tell_it(damaged):
    failures = lines(refusal())
    metrics = json.loads(OUTPUTS[0].read_text())
    tables = {name: pd.DataFrame(measures(images)) for name, (images, _) in damaged.items()}
    names = {name: pd.Series([fingerprint(image) for image in images]) for name, (images, _) in damaged.items()}
    again = {name: prints[prints.duplicated()].index for name, prints in names.items()}
    shared = names["t10k"][names["t10k"].isin(names["train"])].index

    def shown(indices):
        return ", ".join(map(str, indices[:10])) + (", …" if len(indices) > 10 else "")

    assert len(again["train"]) == 124 and len(again["t10k"]) == 1 and shared.tolist() == [0, 99, 359]
    assert metrics["duplicate_fraction"] == round(125 / 1797, 4)
    assert metrics["shared_images"] == 3
    assert f"indices {shown(again['train'])}" in next(line for line in failures if "train: 124 of 1,437" in line)
    assert any(line.startswith("t10k: 3 of 360 images are in train too") and "0, 99, 359" in line for line in failures)
    shifts = {name: ks_2samp(*(table[name] for table in tables.values())).statistic for name in COMPARED}
    assert metrics["split_shift"] == round(max(shifts.values()), 4)

    blank = tables["train"].index[tables["train"]["ink_fraction"] < 0.1]
    assert f"train: {len(blank)} of 1,437 images are blank (ink_fraction 0" in "\n".join(failures)
    assert f"at least 0.1): indices {shown(blank)}" in "\n".join(failures)
    assert (
        "train: 3 of 1,437 images have a label outside the classes (label 10 to 200, 0 to 9): indices 42, 101, 900"
    ) in failures
    assert "train: no images of class 7: 9 classes present, expected 10" in failures
    assert "train: 4 of 1,437 images have no writer: indices 0, 99, 100, 1436" in failures
    assert f"t10k: 25 of 360 images have no writer: indices {shown(range(95, 120))}" in failures
    page = OUTPUTS[2].read_text()
    border = pd.concat(tables.values())["border_intensity"]
    assert f"<td>at most 120</td><td>0 to {border.max():.4g}</td>" in page
    assert "<td>1,768 of 1,797</td>" in page  # writers


def test_a_part_without_writers_lacks_all_of_them(raw, monkeypatch):
    monkeypatch.setenv("STAGE_RANGE", "500")
    monkeypatch.setenv("STAGE_PROCESSES", "1")
    save_writers(raw, "train", 1437, set())
    assert lines(refusal()) == ["t10k: 360 of 360 images have no writer: indices 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe,1"])
def test_a_table_of_writers_that_is_none(raw, content):
    (raw / "train-writers.csv").write_bytes(content)
    assert "data/raw/train-writers.csv: not a table" in refusal()


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"name": [], "files": {}}', b'{"name": "digits", "files": 7}'])
def test_a_description_that_is_none(raw, content):
    (raw / "dataset.json").write_bytes(content)
    with pytest.raises(UserError, match=r"data/raw/dataset\.json cannot be read"):
        main()


def test_fewer_writers_than_images(raw):
    save_writers(raw, "train", 1436, set())
    assert "train: 1,437 images but 1,436 rows in data/raw/train-writers.csv" in refusal()
    assert len(json.loads(OUTPUTS[0].read_text())["failures"]) == 1


def test_two_ranges_start_no_other_process(raw, monkeypatch):
    monkeypatch.setattr(partial, "in_order", lambda *arguments: pytest.fail("other processes were asked"))
    main()


def test_only_the_corrected_images_are_shown(raw, monkeypatch, capsys):
    monkeypatch.setenv("STAGE_RANGE", "500")
    monkeypatch.setenv("STAGE_PROCESSES", "1")
    images, labels = load(raw, "train")
    test, test_labels = load(raw, "t10k")
    half = fingerprint(images[3])[:16] + "0" * 16  # that of another image
    table = [
        f"digits,{fingerprint(images[1400])},{labels[1400]},,",
        f"digits,{fingerprint(test[2])},{test_labels[2]},{(test_labels[2] + 1) % 10},",
        f"digits,{half},{labels[3]},0,",
        f"digts,{half},{labels[3]},0,",
    ]
    Path("corrections.csv").write_text("\n".join(["dataset,image,from,to,pixels", *table]) + "\n")
    main()
    page = Path("reports/data/index.html").read_text()
    assert page.count('<img class="ink"') == 2
    assert (
        "line 5: dataset is 'digts', which is no entry of datasets.yaml: this row is not used"
        in capsys.readouterr().err
    )
    assert page.index(f"{labels[1400]}: left out") < page.index(f"{test_labels[2]}: in truth")


def test_images_whose_hashes_agree_by_half_are_told_apart(digits):
    train, test = digits[0][:300].copy(), digits[0][300:400].copy()
    train[[7, 250, 299]] = train[[0, 0, 9]]
    test[[4, 60, 61]] = train[9], train[5], test[4]
    names = [pd.Series([fingerprint(image) for image in images]) for images in (train, test)]
    images = {"train": train, "test": test}
    halves = {key: fingerprints(each)[:, 0] for key, each in images.items()}
    same = {key: np.zeros(len(each), np.uint64) for key, each in images.items()}
    for hashes in (halves, same):
        found = repeats(hashes, images)
        assert found.again["train"].tolist() == names[0].index[names[0].duplicated()].tolist() == [7, 250, 299]
        assert found.again["test"].tolist() == names[1].index[names[1].duplicated()].tolist() == []
        assert found.shared.tolist() == names[1].index[names[1].isin(names[0])].tolist() == [4, 60]


def test_the_two_halves_of_a_fingerprint(digits):
    assert [f"{first:016x}{second:016x}" for first, second in fingerprints(digits[0][:9]).tolist()] == [
        fingerprint(image) for image in digits[0][:9]
    ]


def test_counted_values_are_as_far_apart_as_the_values_themselves():
    random = np.random.default_rng(0)
    for first, second in ((300, 4000), (1, 1), (5000, 12_000)):
        parts = [random.integers(0, 900, count) / 7 for count in (first, second)]
        counted = [Values(*np.unique(part, return_counts=True)) for part in parts]
        assert distance(*counted) == pytest.approx(ks_2samp(*parts).statistic, abs=1e-12)


def test_values_counted_by_parts_are_those_of_all():
    values = np.random.default_rng(0).integers(0, 500, 3000) / 7
    parts = []
    for start in range(0, 3000, 130):
        parts = with_more(parts, Values(*np.unique(values[start : start + 130], return_counts=True)))
    assert len(parts) < 5
    assert all(map(np.array_equal, put_together(parts), np.unique(values, return_counts=True)))


def test_rows_of_a_memory_map_are_those_of_the_file(raw):
    images = read_idx(raw / "train-images-idx3-ubyte", 3)
    chosen = np.random.default_rng(0).permutation(len(images))[:700]
    assert type(arrays.some(images, chosen)) is np.ndarray
    assert np.array_equal(arrays.some(images, chosen), np.array(images)[chosen])

"""`make grow`: a large data set of MNIST's images, here of the embedded digits in MNIST's form."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from catalog import grown
from helpers.clone import ROOT
from stages.common.entry import UserError
from stages.download.__main__ import main as download
from stages.idx import read_idx, read_images, write_idx
from tools import check, grow

TRAIN, TEST = 120, 40
RAW = Path("data/raw")


@pytest.fixture
def here(tmp_path, monkeypatch, digits):
    """The working directory with params.yaml, datasets.yaml and a small data/raw that is called mnist."""
    for name in ("params.yaml", "datasets.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STAGE_PROCESSES", "1")
    RAW.mkdir(parents=True)
    images, labels = digits
    for prefix, chosen in (("train", slice(TRAIN)), ("t10k", slice(TRAIN, TRAIN + TEST))):
        write_idx(RAW / f"{prefix}-images-idx3-ubyte", images[chosen])
        write_idx(RAW / f"{prefix}-labels-idx1-ubyte", labels[chosen])
        writers = np.arange(len(labels))[chosen] // 7
        pd.DataFrame({"series": writers % 2, "writer": writers}).to_csv(RAW / f"{prefix}-writers.csv", index=False)
    (RAW / "dataset.json").write_text(json.dumps({"name": "mnist", "files": {}}))
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def part(folder, prefix):
    return read_images(Path(folder), prefix), read_idx(Path(folder) / f"{prefix}-labels-idx1-ubyte", 1)


def test_each_image_is_one_of_its_own_part_a_little_deformed_with_its_label(here, digits):
    grow.main(["700"])
    sources = digits[0][: TRAIN + TEST].reshape(TRAIN + TEST, -1).astype(float)
    for prefix, count, number, first in (("train", 600, TRAIN, 0), ("t10k", 100, TEST, TRAIN)):
        images, labels = part("grown/700", prefix)
        assert images.shape == (count, 28, 28)
        of = first + np.arange(count) % number
        assert (labels == digits[1][of]).all()
        alike = np.corrcoef(images.reshape(count, -1), sources)[:count, count:]
        own = alike[np.arange(count), of]
        assert ((alike >= own[:, None]).sum(axis=1) <= 5).mean() > 0.9  # of 160 images, by few hands
        assert len(np.unique(images.reshape(count, -1), axis=0)) == count
        assert not (images == digits[0][of]).all(axis=(1, 2)).any()


def test_the_pipeline_takes_images_and_writers(here, capsys):
    before = Path("datasets.yaml").read_text()
    known = {prefix: pd.read_csv(RAW / f"{prefix}-writers.csv") for prefix in ("train", "t10k")}
    grow.main(["0700"])
    assert "next: dvc exp run -S download.dataset=mnist_700" in capsys.readouterr().out
    assert Path("datasets.yaml").read_text().startswith(before.rstrip())
    check.main()
    entry = yaml.safe_load(Path("datasets.yaml").read_text())["mnist_700"]
    assert (entry["expect"]["train_images"], entry["expect"]["test_images"]) == (600, 100)
    assert "largest_file_bytes" not in entry["source"]
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["download"]["dataset"] = "mnist_700"
    Path("params.yaml").write_text(yaml.safe_dump(values))
    download()
    for prefix, table in known.items():
        images, labels = part("grown/700", prefix)
        found = part(RAW, prefix)
        assert (found[0] == images).all() and (found[1] == labels).all()
        brought = pd.read_csv(RAW / f"{prefix}-writers.csv")
        assert brought.equals(table.iloc[np.arange(len(images)) % len(table)].reset_index(drop=True))


@pytest.mark.parametrize(("size", "processes"), [("100", "2"), ("7", "1")])
def test_ranges_and_processes_change_no_byte_and_a_second_run_changes_nothing(here, monkeypatch, size, processes):
    grow.main(["700"])
    first, text = contents("grown/700"), Path("datasets.yaml").read_text()
    monkeypatch.setenv("STAGE_RANGE", size)
    monkeypatch.setenv("STAGE_PROCESSES", processes)
    grow.main(["700"])
    assert contents("grown/700") == first and Path("datasets.yaml").read_text() == text
    grown.write_range(RAW, Path("grown/700"), "train", 93, 241)  # as a machine does that takes over
    assert contents("grown/700") == first


def test_a_larger_set_begins_with_the_images_of_a_smaller_one(here):
    for images in ("70", "700"):
        grow.main([images])
    assert (part("grown/700", "train")[0][:60] == part("grown/70", "train")[0]).all()


def test_a_file_above_the_default_bound_gets_one_of_its_own(here, monkeypatch):
    monkeypatch.setattr(grow, "LARGEST_FILE_BYTES", 1000)
    grow.main(["700"])
    source = yaml.safe_load(Path("datasets.yaml").read_text())["mnist_700"]["source"]
    assert source["largest_file_bytes"] == 16 + 600 * 28 * 28


def test_without_writers_none_are_promised(here):
    for path in RAW.glob("*.csv"):
        path.unlink()
    grow.main(["70"])
    assert "writers" not in yaml.safe_load(Path("datasets.yaml").read_text())["mnist_70"]["source"]


def test_what_fails_leaves_nothing_behind(here, monkeypatch):
    text = Path("datasets.yaml").read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(grown, "write_writers", full)
    with pytest.raises(OSError, match="No space left"):
        grow.main(["70"])
    assert list(Path("grown").iterdir()) == [] and Path("datasets.yaml").read_text() == text


def test_an_entry_of_other_data_is_not_overwritten(here):
    grow.main(["70"])
    first = contents("grown/70")
    labels = np.array(read_idx(RAW / "train-labels-idx1-ubyte", 1))
    write_idx(RAW / "train-labels-idx1-ubyte", labels[::-1])
    with pytest.raises(UserError, match="datasets.yaml has an entry mnist_70 of other data: delete it"):
        grow.main(["70"])
    assert contents("grown/70") == first


@pytest.mark.parametrize("images", ["", "6", "-70", "many", "1e6"])
def test_a_number_that_is_none_is_told(here, images):
    with pytest.raises(UserError, match=f"^IMAGES is '{images}', must be a whole number from 7: make grow IMAGES="):
        grow.main(["--", images])


@pytest.mark.parametrize(
    ("description", "holds"), [('{"name": "digits"}', "digits"), ("{", "no data set"), (None, "no data set")]
)
def test_without_mnist_it_says_how_to_get_it(here, description, holds):
    (RAW / "dataset.json").unlink()
    if description:
        (RAW / "dataset.json").write_text(description)
    with pytest.raises(UserError, match=f"data/raw holds {holds}, and this needs mnist: .* run `dvc repro download`$"):
        grow.main(["70"])
    assert not Path("grown").exists()


def test_nothing_deforms_nothing(digits):
    assert (grown.deformed(digits[0][:9], np.zeros((9, 10))) == digits[0][:9]).all()


def test_the_largest_deformations_take_no_pixel_of_a_neighbour():
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    images = np.zeros((2 * len(signs), 28, 28), np.uint8)
    images[::2] = 255
    by = np.repeat(signs * list(grown.LARGEST.values()), 2, axis=0)
    found = grown.deformed(images, by)
    assert (found[1::2] == 0).all() and (found[::2, 14, 14] == 255).all()

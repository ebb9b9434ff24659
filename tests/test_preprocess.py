"""The preprocess stage: who ends up on which side, and what becomes of the pixels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.common.entry import UserError
from stages.idx import write_idx
from stages.preprocess.__main__ import main
from stages.preprocess.images import to_network_size
from stages.preprocess.split import split_by_writer, split_stratified

ROOT = Path(__file__).parent.parent


@pytest.fixture
def writers():
    """1,000 images by 40 writers, 1 to 60 images each, in no order."""
    generator = np.random.default_rng(0)
    return generator.permutation(np.repeat(np.arange(40), generator.multinomial(960, np.ones(40) / 40) + 1))


@pytest.mark.parametrize("seed", range(5))
def test_no_writer_is_on_both_sides(writers, seed):
    held = split_by_writer(writers, 0.1, seed)
    assert not set(writers[held]) & set(writers[~held])


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.25, 0.5])
def test_the_split_by_writer_is_within_a_writer_of_the_fraction(writers, fraction):
    held = split_by_writer(writers, fraction, seed=3)
    assert abs(held.sum() - fraction * len(writers)) <= np.bincount(writers).max()
    assert 0 < held.sum() < len(writers)


def test_one_of_two_writers_stays_on_each_side():
    held = split_by_writer(np.array([7, 7, 7, 7, 9]), 0.5, seed=0)
    assert sorted({held[0], held[-1]}) == [False, True]


@pytest.mark.parametrize("split", [split_by_writer, split_stratified])
def test_the_seed_decides_the_split(writers, split):
    groups = writers % 10 if split is split_stratified else writers
    assert (split(groups, 0.2, seed=1) == split(groups, 0.2, seed=1)).all()
    assert (split(groups, 0.2, seed=1) != split(groups, 0.2, seed=2)).any()


def test_the_stratified_split_keeps_each_class_share():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 300, 600]))
    held = split_stratified(labels, 0.1, seed=5)
    assert np.bincount(labels[held]).tolist() == [10, 30, 60]


def test_what_cannot_be_split_is_told():
    with pytest.raises(UserError, match="all images are by one writer: set preprocess.split_by_writer to false"):
        split_by_writer(np.full(5, 7), 0.5, seed=0)
    with pytest.raises(UserError, match="preprocess.validation_fraction is 0.1: .*least populated class"):
        split_stratified(np.array([0] * 30 + [1]), 0.1, seed=0)


@pytest.mark.parametrize("prepare", ["as is", "fit", "box"])
def test_images_of_the_networks_size_stay_as_they_are(prepare):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    assert (to_network_size(images, 28, 1, prepare) == images).all()


def test_images_of_another_size_are_not_taken_as_they_are():
    with pytest.raises(UserError, match="the images are 8×8 and preprocess.image_size is 28: set that to 8, or `prep"):
        to_network_size(np.zeros((2, 8, 8), np.uint8), 28, 1, "as is")


def test_what_fits_fills_the_networks_size():
    (image,) = to_network_size(np.full((1, 20, 20), 255, np.uint8), 32, 1, "fit")
    assert image.shape == (32, 32) and (image == 255).all()


def test_colours_become_brightness_and_grey_becomes_three_equal_channels():
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], np.uint8).reshape(1, 2, 2, 3)
    grey = to_network_size(colours, 2, 1, "as is")
    assert grey.tolist() == [[[76, 150], [29, 255]]]
    assert (to_network_size(colours, 2, 3, "as is") == colours).all()
    assert (to_network_size(grey, 2, 3, "as is") == grey[..., np.newaxis]).all()
    assert to_network_size(colours, 28, 3, "box").shape == (1, 28, 28, 3)


def test_small_images_become_20_pixels_centred_in_28():
    standard = to_network_size(np.full((3, 8, 8), 200, np.uint8), 28, 1, "box")
    expected = np.zeros((28, 28), np.uint8)
    expected[4:24, 4:24] = 200
    assert standard.dtype == np.uint8
    assert (standard == expected).all()


@pytest.mark.parametrize(("side", "size", "inked"), [(10, 28, 20), (56, 28, 20), (100, 32, 23), (1, 28, 20)])
def test_the_box_is_in_the_middle(side, size, inked):
    (image,) = to_network_size(np.full((1, side, side), 255, np.uint8), size, 1, "box")
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert len(rows) == len(columns) == inked
    # To the half pixel that an odd rest leaves.
    assert abs(rows.mean() - (size - 1) / 2) <= 0.5
    assert abs(columns.mean() - (size - 1) / 2) <= 0.5


def test_each_image_is_resized_by_itself(digits):
    images, _ = digits
    raw = np.random.default_rng(0).integers(0, 256, (4, 8, 8), np.uint8)
    assert (to_network_size(raw, 28, 1, "box")[2] == to_network_size(raw[2:3], 28, 1, "box")[0]).all()
    assert images.max() > 200


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """The working directory with params.yaml, an accepted data/raw of 400 and 60 images, and its writers."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "datasets.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    folder = tmp_path / "data" / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 400), ("t10k", 60)):
        # The first pixels number the images, so that each can be found again.
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
        rows = "".join(f"{i % 3},{i // 10}\n" for i in range(count))
        (folder / f"{prefix}-writers.csv").write_text("series,writer\n" + rows)
    verdict(True)
    return folder


def verdict(success):
    Path("data/verdict.json").write_text(json.dumps({"success": success}))


def change(**settings):
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["preprocess"] |= settings
    Path("params.yaml").write_text(yaml.safe_dump(values))


def load(part, name):
    return np.load(f"data/prepared/{part}/{name}.npy", mmap_mode="r")


def numbered(images):
    return images[:, 0, 0].astype(int) * 256 + images[:, 0, 1]


@pytest.mark.parametrize("by_writer", [True, False])
def test_the_parts_add_up_to_the_raw_data(raw, by_writer):
    change(split_by_writer=by_writer)
    main()
    found = {part: numbered(load(part, "images")) for part in ("train", "validation", "test")}
    assert sorted([*found["train"], *found["validation"]]) == list(range(400))
    assert found["test"].tolist() == list(range(60))
    for part, numbers in found.items():
        assert (load(part, "labels") == numbers % 10).all()
    assert (load("test", "series") == found["test"] % 3).all()
    described = json.loads(Path("data/prepared/dataset.json").read_text())
    assert described["images"] == {part: len(numbers) for part, numbers in found.items()}
    assert described["split"] == ("by writer" if by_writer else "stratified")
    if by_writer:
        assert not set(found["train"] // 10) & set(found["validation"] // 10)


def test_arrays_can_be_mapped_into_memory_as_bytes(raw):
    main()
    for part in ("train", "validation", "test"):
        images, labels = load(part, "images"), load(part, "labels")
        assert isinstance(images, np.memmap)
        assert images.dtype == labels.dtype == np.uint8
        assert images.shape == (len(labels), 28, 28)


def test_without_known_writers_the_split_is_stratified(raw):
    for path in raw.glob("*-writers.csv"):
        path.unlink()
    change(validation_fraction=0.25)
    main()
    assert json.loads(Path("data/prepared/dataset.json").read_text())["split"] == "stratified"
    assert np.bincount(load("validation", "labels")).tolist() == [10] * 10
    assert not Path("data/prepared/test/series.npy").exists()


def test_the_same_input_gives_the_same_bytes(raw):
    main()
    first = {path: path.read_bytes() for path in Path("data/prepared").rglob("*.*")}
    main()
    assert {path: path.read_bytes() for path in Path("data/prepared").rglob("*.*")} == first


def test_refused_data_are_not_prepared(raw):
    verdict(False)
    with pytest.raises(UserError, match=r"data/verdict\.json says that the data failed its checks"):
        main()
    assert not Path("data/prepared").exists()

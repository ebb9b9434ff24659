"""The preprocess stage: who ends up on which side, and what becomes of the pixels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.common.entry import UserError
from stages.corrections import COLUMNS, fingerprint
from stages.download.embedded import digits as embedded
from stages.idx import write_idx
from stages.preprocess.__main__ import main
from stages.preprocess.images import to_network_size
from stages.preprocess.split import split_by_writer, split_stratified
from tools.correct import as_png

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


@pytest.mark.parametrize("classes", [2, 10, 47])
def test_the_stratified_split_is_the_one_of_scikit_learn(classes):
    from sklearn.model_selection import train_test_split

    generator = np.random.default_rng(classes)
    alike = np.repeat(np.arange(classes, dtype=np.uint8), 30)  # classes of one size: who gets one more is drawn
    for labels in (generator.permutation(alike), generator.integers(0, classes, 3001, np.uint8)):
        for seed, fraction in enumerate((0.1, 0.25, 1 / 3, 0.5)):
            indices = np.arange(len(labels))
            _, held = train_test_split(indices, test_size=fraction, stratify=labels, random_state=seed)
            assert np.flatnonzero(split_stratified(labels, fraction, seed)).tolist() == sorted(held)


def test_what_cannot_be_split_is_told():
    with pytest.raises(UserError, match="all images are by one writer: set preprocess.split_by_writer to false"):
        split_by_writer(np.full(5, 7), 0.5, seed=0)
    with pytest.raises(UserError, match="preprocess.validation_fraction is 0.1: .*least populated class"):
        split_stratified(np.array([0] * 30 + [1]), 0.1, seed=0)
    with pytest.raises(UserError, match="0.1: 2 of 20 images are held out: too few for 5 classes"):
        split_stratified(np.repeat(np.arange(5), 4), 0.1, seed=0)


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


@pytest.mark.parametrize("verdict", [b"", b"[]", b"{}", b'{"success": "no"}', b"\xff", b"[" * 100_000])
def test_a_verdict_that_says_nothing_prepares_nothing(raw, verdict):
    Path("data/verdict.json").write_bytes(verdict)
    with pytest.raises(UserError, match=r"data/verdict\.json is missing or says nothing"):
        main()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-writers.csv", b"", "train-writers.csv: no column writer or series"),
        ("train-writers.csv", bytes(100), "train-writers.csv: no column writer or series"),
        ("train-labels-idx1-ubyte", bytes([0, 0, 8, 1, 0, 0, 0, 0]), "400 images of 28×28 pixels and 0 labels"),
        ("t10k-images-idx3-ubyte", bytes([0, 0, 8, 3, *bytes(12)]), "0 images of 0×0 pixels and 60 labels"),
    ],
)
def test_raw_data_that_do_not_fit_together_are_refused(raw, name, content, message):
    (raw / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        main()


WRITERS = {"train": np.arange(1437) * 7 % 41, "t10k": np.arange(360) % 50}
SERIES = {"train": np.arange(1437) % 8, "t10k": np.arange(360) % 5}


@pytest.fixture
def decided(raw):
    """data/raw with scikit-learn's digits and writers, and decisions on two training images, a test image, a drawing.

    What the stage must make of it: its arrays by part and name, and the wrong label of the second training image.
    """
    given = embedded()
    for name, values in given.items():
        write_idx(raw / name, values)
    for prefix in WRITERS:
        rows = "".join(f"{series},{writer}\n" for series, writer in zip(SERIES[prefix], WRITERS[prefix]))
        (raw / f"{prefix}-writers.csv").write_text("series,writer\n" + rows)
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["download"]["dataset"] = "digits"
    Path("params.yaml").write_text(yaml.safe_dump(values))

    images = {prefix: given[f"{prefix}-images-idx3-ubyte"] for prefix in WRITERS}
    labels = {prefix: given[f"{prefix}-labels-idx1-ubyte"].copy() for prefix in WRITERS}
    drawing = np.arange(784, dtype=np.uint8).reshape(28, 28)
    lines = [",".join(COLUMNS), f"digits,,,7,{as_png(drawing)}"]
    kept = {prefix: np.full(len(labels[prefix]), True) for prefix in WRITERS}
    for prefix, index, to in (("train", 5, ""), ("train", 1200, "3"), ("t10k", 300, "4")):
        lines.append(f"digits,{fingerprint(images[prefix][index])},{labels[prefix][index]},{to},")
        equal = (images[prefix] == images[prefix][index]).all(axis=(1, 2))
        kept[prefix][equal], labels[prefix][equal] = bool(to), to or 0
    Path("corrections.csv").write_text("\n".join(lines) + "\n")

    def expected(by_writer):
        split = (
            split_by_writer(WRITERS["train"], 0.1, 20)
            if by_writer
            else split_stratified(given["train-labels-idx1-ubyte"], 0.1, 20)
        )
        masks = {"train": kept["train"] & ~split, "validation": kept["train"] & split, "test": kept["t10k"]}
        arrays = {}
        for part, mask in masks.items():
            prefix = "t10k" if part == "test" else "train"
            arrays[part, "images"] = to_network_size(images[prefix], 28, 1, "box")[mask]
            arrays[part, "labels"] = labels[prefix][mask]
            arrays[part, "writers"] = WRITERS[prefix][mask].astype(np.uint16)
        arrays["test", "series"] = SERIES["t10k"][kept["t10k"]].astype(np.uint8)
        last = {"images": drawing, "labels": 7, "writers": arrays["train", "writers"].max() + 1}
        for name, row in last.items():
            values = arrays["train", name]
            arrays["train", name] = np.concatenate([values, np.array([row], values.dtype)])
        return arrays

    return expected


@pytest.mark.parametrize(
    ("by_writer", "processes", "size"),
    [
        (True, "1", ""),
        (False, "1", "100"),
        (True, "1", "257"),
        (False, "3", ""),
        (True, "3", "100"),
        (False, "3", "257"),
    ],
)
def test_ranges_and_processes_make_the_same_as_all_images_at_once(decided, monkeypatch, by_writer, processes, size):
    monkeypatch.setenv("STAGE_PROCESSES", processes)
    monkeypatch.setenv("STAGE_RANGE", size)
    change(split_by_writer=by_writer)
    main()
    expected = decided(by_writer)
    for (part, name), values in expected.items():
        np.save("expected.npy", values)
        assert Path(f"data/prepared/{part}/{name}.npy").read_bytes() == Path("expected.npy").read_bytes(), (part, name)
    assert len(list(Path("data/prepared").glob("*/*"))) == len(expected)
    counts = {part: len(expected[part, "labels"]) for part in ("train", "validation", "test")}
    assert json.loads(Path("data/prepared/dataset.json").read_text())["images"] == counts


def test_an_image_that_was_relabelled_since_is_told_whatever_its_range(decided, monkeypatch):
    monkeypatch.setenv("STAGE_RANGE", "100")
    dataset, image, before, *rest = Path("corrections.csv").read_text().splitlines()[3].split(",")
    line = ",".join([dataset, image, str((int(before) + 1) % 10), *rest])
    Path("corrections.csv").write_text(",".join(COLUMNS) + f"\n{line}\n")
    with pytest.raises(UserError, match="line 2: this image is labelled otherwise now: take the line out"):
        main()


@pytest.mark.parametrize("size", ["", "100"])
def test_images_without_a_digit_are_told_whatever_their_range_and_nothing_is_written(raw, monkeypatch, digits, size):
    monkeypatch.setenv("STAGE_PROCESSES", "1")
    monkeypatch.setenv("STAGE_RANGE", size)
    entry = yaml.safe_load(Path("datasets.yaml").read_text())
    entry["mnist"]["prepare"] = "digit"
    Path("datasets.yaml").write_text(yaml.safe_dump(entry))
    images = digits[0][:400].copy()
    images[[7, 99, 100, 305]] = 0
    write_idx(raw / "train-images-idx3-ubyte", images)
    with pytest.raises(UserError, match="no digit in 4 of 400 images: 7, 99, 100, 305$"):
        main()
    assert [path for path in Path("data/prepared").rglob("*") if path.is_file()] == []


def test_what_a_killed_run_left_is_removed(raw):
    main()
    whole = {path for path in Path("data/prepared").rglob("*") if path.is_file()}
    for left in ("train/.images.4711.npy", ".dataset.12.json"):
        Path("data/prepared", left).write_bytes(b"half")
    main()
    assert {path for path in Path("data/prepared").rglob("*") if path.is_file()} == whole


@pytest.mark.parametrize("writer", ["65536", "-1", "4.5", ""])
def test_a_writer_that_is_no_such_number_is_told(raw, writer):
    table = raw / "train-writers.csv"
    table.write_text(table.read_text().replace("0,0\n", f"0,{writer}\n", 1))
    with pytest.raises(UserError, match=r"train-writers\.csv: .*: a writer is 0 to 65,535"):
        main()

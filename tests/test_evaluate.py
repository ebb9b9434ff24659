"""The evaluate stage: its numbers against cases small enough to work out by hand."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from stages import arrays
from stages.common.entry import UserError
from stages.evaluate import __main__ as stage
from stages.evaluate import model, robustness, scores, suspects
from stages.evaluate.corruptions import SEVERITIES, STRENGTHS, corrupt
from stages.evaluate.model import Model

ROOT = Path(__file__).parent.parent
NAMES = ["cat", "dog", "owl"]

# Six images of three classes: two cats right; one dog right, one taken for a cat; two owls, one taken for a dog.
LABELS = np.array([0, 0, 1, 1, 2, 2], np.uint8)
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.1, 0.8, 0.1],
        [0.7, 0.2, 0.1],
        [0.1, 0.1, 0.8],
        [0.2, 0.6, 0.2],
    ],
    np.float32,
)
PREDICTED = PROBABILITIES.argmax(axis=1)


def answers(right, images):
    """Probabilities for `images` images of class 0, of which `right` are recognised."""
    labels = np.zeros(images, np.uint8)
    labels[-1] = 1  # one-vs-rest curves need two classes
    probabilities = np.full((images, 2), [0.9, 0.1], np.float32)
    probabilities[-1] = [0.1, 0.9]
    probabilities[: images - right] = [0.1, 0.9]
    return probabilities, labels


def test_the_headline_numbers_are_those_worked_out_by_hand():
    numbers = scores.summary(PROBABILITIES, LABELS, bins=5)
    assert numbers["accuracy"] == 0.66667
    # Precision: cat 2/3, dog 1/2, owl 1; recall: 1, 1/2, 1/2; F1: 4/5, 1/2, 2/3.
    assert numbers["precision_macro"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3, abs=1e-5)
    assert numbers["recall_macro"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3, abs=1e-5)
    assert numbers["f1_macro"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3, abs=1e-5)
    assert numbers["loss"] == pytest.approx(-np.log([0.8, 0.6, 0.8, 0.2, 0.8, 0.2]).mean(), abs=1e-5)
    # Of the 8 pairs of an image of the class and another, ranked right: cat 7, dog 6, owl 8.
    assert numbers["auc_macro"] == pytest.approx((7 / 8 + 6 / 8 + 8 / 8) / 3, abs=1e-5)
    assert (numbers["mistakes"], numbers["images"]) == (2, 6)


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [(95, 100, 0.88825, 0.97846), (9, 10, 0.59585, 0.98212), (100, 100, 0.96301, 1.0)],
)
def test_the_interval_is_wilsons(right, images, low, high):
    numbers = scores.summary(*answers(right, images), bins=15)
    assert numbers["accuracy"] == right / images
    assert (numbers["accuracy_low"], numbers["accuracy_high"]) == pytest.approx((low, high), abs=1e-5)


def wrong_by_writer(*wrong, images=10):
    """`writer_interval` of writers of `images` images of class 0 each, so many of them `wrong`."""
    writers = np.repeat(np.arange(len(wrong)) * 7 + 3, images)
    predicted = np.concatenate([np.arange(images) < count for count in wrong]).astype(int)
    order = np.random.default_rng(0).permutation(len(writers))
    return scores.writer_interval(writers[order], predicted[order], np.zeros(len(writers), np.uint8))


def test_with_one_image_a_writer_the_interval_is_close_to_wilsons():
    # Wilson for 900 of 1,000: 0.87983 to 0.91708.
    interval = wrong_by_writer(*[1] * 100, *[0] * 900, images=1)
    assert interval["accuracy_low_writers"] == pytest.approx(0.87983, abs=0.003)
    assert interval["accuracy_high_writers"] == pytest.approx(0.91708, abs=0.003)


def test_writers_who_are_all_right_or_all_wrong_count_as_one_image_each():
    # 1,000 images of 100 writers, 90 of whom are all right: as uncertain as 90 of 100, Wilson 0.82563 to 0.94477.
    interval = wrong_by_writer(*[10] * 10, *[0] * 90)
    assert interval["accuracy_low_writers"] == pytest.approx(0.82563, abs=0.015)
    assert interval["accuracy_high_writers"] == pytest.approx(0.94477, abs=0.015)


def test_mistakes_spread_evenly_over_writers_make_no_wider_interval():
    # 1,000 images of 100 writers, 1 or 2 wrong of each: the same 85 % from nearly every choice of writers.
    interval = wrong_by_writer(*[1] * 50, *[2] * 50)
    assert interval["accuracy_low_writers"] == pytest.approx(0.85 - 1.96 * 0.05 / 100**0.5, abs=0.002)
    assert interval["accuracy_high_writers"] == pytest.approx(0.85 + 1.96 * 0.05 / 100**0.5, abs=0.002)


def test_a_writer_of_many_images_weighs_as_many():
    # One writer of 900 images all right, 100 of one image all wrong: the accuracy, 0.9, lies within.
    writers = np.concatenate([np.zeros(900, np.uint16), np.arange(1, 101, dtype=np.uint16)])
    predicted = (writers > 0).astype(int)
    interval = scores.writer_interval(writers, predicted, np.zeros(1000, np.uint8))
    assert interval["accuracy_low_writers"] < 0.9 <= interval["accuracy_high_writers"]


def test_a_writers_images_and_mistakes_are_resampled_together():
    # 50 writers with 1 of 10 wrong, 50 with 9 or 11 of 100: whoever is drawn, about 90 % are right.
    images = np.array([10] * 50 + [100] * 50)
    wrong = np.array([1] * 50 + [9, 11] * 25)
    writers = np.repeat(np.arange(100), images)
    predicted = np.concatenate([np.arange(count) < mistakes for count, mistakes in zip(images, wrong)]).astype(int)
    interval = scores.writer_interval(writers, predicted, np.zeros(len(writers), np.uint8))
    assert 0.896 < interval["accuracy_low_writers"] < 0.9 < interval["accuracy_high_writers"] < 0.904


def test_the_interval_over_writers_is_the_same_each_time():
    generator = np.random.default_rng(0)
    writers, predicted = generator.integers(0, 200, 5000) ** 2, generator.integers(0, 2, 5000)
    first, second = (scores.writer_interval(writers, predicted, np.zeros(5000, np.uint8)) for _ in range(2))
    assert first == second


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrong", [(0, 0, 0), (10, 10), (3, 3, 3), (4,)])
def test_where_all_writers_fare_the_same_no_interval_is_made_up(wrong):
    assert wrong_by_writer(*wrong) == {}


def test_reliability_bins_have_the_means_of_their_images():
    table = scores.reliability(PROBABILITIES, LABELS, bins=5)
    # Confidences 0.8, 0.6, 0.8, 0.7, 0.8, 0.6; float32 0.6 lies a hair above the edge, 0.8 too.
    assert table["images"].tolist() == [3, 3]
    assert table["confidence_low"].tolist() == [0.6, 0.8]
    assert table["confidence_high"].tolist() == [0.8, 1.0]
    assert table["confidence"].tolist() == pytest.approx([1.9 / 3, 0.8], abs=1e-5)
    assert table["accuracy"].tolist() == pytest.approx([1 / 3, 1], abs=1e-5)


def test_the_calibration_error_is_the_mean_gap_by_images():
    # Three images at gap 1.9/3 - 1/3, three at gap 0.2.
    by_hand = (3 * (1.9 / 3 - 1 / 3) + 3 * 0.2) / 6
    assert scores.summary(PROBABILITIES, LABELS, bins=5)["calibration_error"] == pytest.approx(by_hand, abs=1e-5)


def test_full_confidence_falls_into_the_last_bin():
    table = scores.reliability(np.eye(3, dtype=np.float32), np.arange(3), bins=4)
    assert table.to_dict("records") == [
        {"confidence_low": 0.75, "confidence_high": 1.0, "images": 3, "confidence": 1.0, "accuracy": 1.0}
        | {"accuracy_low": 0.43850, "accuracy_high": 1.0}
    ]


def test_mistakes_are_in_index_order_with_what_was_taken_for_what():
    table = scores.mistakes(PROBABILITIES, LABELS)
    assert table.to_csv(index=False, lineterminator="\n") == (
        "index,label,predicted,confidence\n3,1,0,0.7\n5,2,1,0.6\n"
    )


def test_without_a_mistake_the_table_has_its_columns():
    assert scores.mistakes(np.eye(3, dtype=np.float32), np.arange(3)).columns.tolist() == [
        "index",
        "label",
        "predicted",
        "confidence",
    ]


def test_each_class_has_its_row_in_order_of_names():
    table = scores.per_class(PREDICTED, LABELS, NAMES)
    assert table.to_dict("list") == {
        "class": NAMES,
        "precision": [0.66667, 0.5, 1.0],
        "recall": [1.0, 0.5, 0.5],
        "f1": [0.8, 0.5, 0.66667],
        "support": [2, 2, 2],
        # Wilson for 2 of 2 and 1 of 2.
        "recall_low": [0.34238, 0.09453, 0.09453],
        "recall_high": [1.0, 0.90547, 0.90547],
    }


def test_accuracy_is_told_apart_by_series():
    table = scores.accuracy_by(np.array([0, 0, 4, 4, 4, 4]), PREDICTED, LABELS)
    assert table.to_csv(index=False, lineterminator="\n") == (
        "group,images,right,accuracy,accuracy_low,accuracy_high\n0,2,2,1.0,0.34238,1.0\n4,4,2,0.5,0.15004,0.84996\n"
    )


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(9962, 10000, 0.994788, 0.997230), (505, 1010, 0.4692, 0.5308), (0, 1010, 0, 0.0037), (1010, 1010, 0.9962, 1)],
)
def test_an_interval_ends_at_zero_or_one_only_where_none_or_all_are_right(right, total, low, high):
    found = scores.wilson(right, total)
    assert found == pytest.approx((low, high), abs=1e-4)
    assert (found[0] == 0, found[1] == 1) == (right == 0, right == total)


def test_of_no_images_nothing_is_known():
    assert scores.wilson(0, 0) == (0, 1)


def test_roc_curves_go_from_corner_to_corner_and_are_thinned():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 5000)
    probabilities = generator.dirichlet(np.ones(3), 5000).astype(np.float32)
    table = scores.roc(probabilities, labels, NAMES)
    assert table["class"].unique().tolist() == NAMES
    for _, curve in table.groupby("class"):
        points = curve[["false_positive_rate", "true_positive_rate"]].to_numpy()
        assert points[0].tolist() == [0, 0]
        assert points[-1].tolist() == [1, 1]
        assert 100 < len(points) <= 200
        assert (np.diff(points, axis=0) >= 0).all()


def test_a_class_that_no_test_image_has_is_left_out_of_curves_and_counts_nothing():
    labels = np.array([0, 0, 1, 1])
    probabilities = PROBABILITIES[:4]
    numbers = scores.summary(probabilities, labels, bins=5)
    assert all(np.isfinite(value) for value in numbers.values())
    assert scores.roc(probabilities, labels, NAMES)["class"].unique().tolist() == ["cat", "dog"]
    assert scores.per_class(PREDICTED[:4], labels, NAMES)["support"].tolist() == [2, 2, 0]


def fold(train, validation, train_labels=(), validation_labels=()):
    """Write probabilities out of fold, and labels, as the training does."""
    labels = {
        "train_labels": np.array(train_labels, np.uint8),
        "validation_labels": np.array(validation_labels, np.uint8),
    }
    np.savez("models/out_of_fold.npz", train=np.float32(train), validation=np.float32(validation), **labels)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The working directory with six prepared test images, known writers, and a model with PROBABILITIES as outputs."""
    monkeypatch.chdir(tmp_path)
    test = tmp_path / "data" / "prepared" / "test"
    test.mkdir(parents=True)
    np.save(test / "images.npy", np.zeros((6, 28, 28), np.uint8))
    np.save(test / "labels.npy", LABELS)
    np.save(test / "series.npy", np.array([0, 0, 0, 0, 4, 4], np.uint8))
    Path("datasets.yaml").write_text(json.dumps({"animals": {"classes": NAMES, "disputed": []}}))
    blocks = {"download": {"dataset": "animals"}, "evaluate": {"reliability_bins": 5, "robustness_images": 100}}
    Path("params.yaml").write_text(json.dumps(blocks))
    Path("models").mkdir()
    fold(np.zeros((0, 3)), np.zeros((0, 3)))
    for module in (stage, model):
        monkeypatch.setattr(module, "Model", lambda path: SimpleNamespace(predict=lambda images: PROBABILITIES))


def test_the_stage_writes_its_numbers_and_tables(project):
    stage.main()
    numbers = json.loads(Path("metrics/evaluate.json").read_text())
    assert numbers == scores.summary(PROBABILITIES, LABELS, 5) | {
        "accuracy_series_0": 0.75,
        "accuracy_series_4": 0.5,
        "accuracy_corrupted": 0.66667,
        "accuracy_corrupted_worst": 0.66667,
        "suspect_labels": len(suspects.find(PROBABILITIES, LABELS, {"test": 6})),
    }
    matrix = Path("data/predictions/confusion_matrix.csv").read_text()
    assert matrix == "actual,cat,dog,owl\ncat,2,0,0\ndog,1,1,0\nowl,0,1,1\n"
    assert Path("metrics/mistakes.csv").read_text() == "index,label,predicted,confidence\n3,1,0,0.7\n5,2,1,0.6\n"
    predictions = pd.read_csv("data/predictions/test.csv")
    assert predictions["label"].tolist() == ["cat", "cat", "dog", "dog", "owl", "owl"]
    assert predictions["predicted"].tolist() == ["cat", "cat", "dog", "cat", "owl", "dog"]
    assert (np.load("data/predictions/probabilities.npy") == PROBABILITIES).all()
    assert sorted(path.name for path in Path("metrics").iterdir()) == [
        "classes.csv",
        "evaluate.json",
        "mistakes.csv",
        "reliability.csv",
        "robustness.csv",
        "roc.csv",
    ]
    assert pd.read_csv("data/predictions/series.csv")["images"].tolist() == [4, 2]
    assert np.load("data/predictions/corrupted.npy").shape == (7, 6, 28, 28)


def test_without_prepared_images_it_says_what_to_do(project):
    Path("data/prepared/test/labels.npy").unlink()
    with pytest.raises(UserError, match=r"^data/prepared/test lacks .* `dvc repro preprocess`$"):
        stage.main()


def test_without_series_their_table_is_empty_and_not_that_of_the_run_before(project):
    stage.main()
    Path("data/prepared/test/series.npy").unlink()
    stage.main()
    assert pd.read_csv("data/predictions/series.csv").empty
    assert not any("series" in name for name in json.loads(Path("metrics/evaluate.json").read_text()))


def test_where_writers_are_known_their_interval_is_among_the_numbers(project):
    stage.main()
    without = json.loads(Path("metrics/evaluate.json").read_text())
    writers = np.array([1, 1, 2, 2, 3, 4], np.uint16)
    np.save("data/prepared/test/writers.npy", writers)
    stage.main()
    interval = scores.writer_interval(writers, PREDICTED, LABELS)
    assert interval["accuracy_low_writers"] < 0.66667 < interval["accuracy_high_writers"]
    assert json.loads(Path("metrics/evaluate.json").read_text()) == without | interval


def test_the_stage_gives_the_same_bytes_twice(project):
    np.save("data/prepared/test/writers.npy", np.array([1, 1, 2, 2, 3, 4], np.uint16))

    def written():
        return {path: path.read_bytes() for name in ("metrics", "data/predictions") for path in Path(name).iterdir()}

    stage.main()
    first = written()
    stage.main()
    assert written() == first


def test_training_labels_are_compared_with_the_out_of_fold_probabilities(project):
    fold([[0.9, 0.1, 0], [0.95, 0.05, 0], [0, 0.1, 0.9]], [[1, 0, 0]], [0, 1, 2], [2])
    stage.main()
    numbers = json.loads(Path("metrics/evaluate.json").read_text())
    assert numbers["suspect_labels_training"] == 2
    table = Path("data/predictions/suspects.csv").read_text().splitlines()
    assert table[0] == "part,index,label,suggested,probability_of_label,probability_of_suggested"
    assert table[-2:] == ["validation,0,2,0,0.0,1.0", "train,1,1,0,0.05,0.95"]
    assert len(table) == 1 + numbers["suspect_labels"] + 2


def test_without_folds_no_training_label_is_judged(project):
    stage.main()
    assert "suspect_labels_training" not in json.loads(Path("metrics/evaluate.json").read_text())
    assert set(pd.read_csv("data/predictions/suspects.csv")["part"]) <= {"test"}


@pytest.fixture
def real(tmp_path, monkeypatch, models, digits):
    """The working directory with 1,797 prepared test images by 60 writers, and where a real model for them lies."""
    monkeypatch.chdir(tmp_path)
    test = Path("data/prepared/test")
    test.mkdir(parents=True)
    columns = {"writers": np.arange(1797, dtype=np.uint16) % 60, "series": np.arange(1797, dtype=np.uint8) % 3}
    for name, values in {"images": digits[0], "labels": digits[1], **columns}.items():
        np.save(test / f"{name}.npy", values)
    Path("datasets.yaml").write_text(json.dumps({"digits": {"classes": list("0123456789"), "disputed": [3]}}))
    blocks = {"download": {"dataset": "digits"}, "evaluate": {"reliability_bins": 5, "robustness_images": 100}}
    Path("params.yaml").write_text(json.dumps(blocks))
    Path("models").mkdir()
    Path("models/model.tflite").write_bytes((models / "model.tflite").read_bytes())
    fold(np.zeros((0, 10)), np.zeros((0, 10)))
    return digits


def test_ranges_and_processes_give_the_same_bytes(real, monkeypatch):
    outputs = []
    for processes, size in [("1", ""), ("1", "100"), ("1", "257"), ("3", ""), ("3", "100"), ("3", "257")]:
        monkeypatch.setenv("STAGE_PROCESSES", processes)
        monkeypatch.setenv("STAGE_RANGE", size)
        stage.main()
        paths = [path for name in ("metrics", "data/predictions") for path in sorted(Path(name).iterdir())]
        outputs.append({path: path.read_bytes() for path in paths})
    assert len(outputs[0]) == 12
    assert all(each == outputs[0] for each in outputs)
    at_once = Model(Path("models/model.tflite")).predict(real[0])
    assert np.array_equal(np.load("data/predictions/probabilities.npy"), at_once)
    assert (at_once.argmax(axis=1) == real[1]).mean() > 0.9


def test_chosen_rows_are_the_same_of_a_memory_map(real):
    indices = np.array([1796, 5, 5, *range(0, 1000, 3)])
    mapped = np.load("data/prepared/test/images.npy", mmap_mode="r")
    found = arrays.some(mapped, indices)
    assert not isinstance(found, np.memmap)
    assert np.array_equal(found, real[0][indices])
    assert np.array_equal(arrays.some(real[0], indices), real[0][indices])


def test_the_loss_is_that_of_scikit_learn_also_for_a_probability_of_nought():
    from sklearn.metrics import log_loss

    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), 70_000).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 10, 70_000)
    probabilities[7] = np.eye(10, dtype=np.float32)[labels[7] - 1]
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert scores.log_loss(probabilities, labels) == pytest.approx(log_loss(labels, exact), rel=1e-14)


@pytest.mark.parametrize("corruption", STRENGTHS)
def test_a_corruption_is_the_same_whatever_else_is_run_and_grows_with_its_severity(digits, corruption):
    images = digits[0][:200]
    before = images.copy()
    corrupted = {severity: corrupt(images, corruption, severity) for severity in SEVERITIES}
    for other in STRENGTHS:
        corrupt(images, other, 3)
    assert (corrupt(images, corruption, 3) == corrupted[3]).all()
    assert (images == before).all()
    assert all(made.shape == images.shape and made.dtype == np.uint8 for made in corrupted.values())
    distances = [np.abs(made.astype(float) - images).mean() for made in corrupted.values()]
    assert 0 < distances[0] < distances[1] < distances[2] < distances[3] < distances[4]


def bar(count=400):
    """A bright upright bar of 4 × 16 pixels in the middle, so many times."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 6:22, 12:16] = 200
    return images


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_shift_is_by_as_many_pixels_in_one_of_eight_directions(severity):
    images = np.zeros((400, 28, 28), np.uint8)
    images[:, 13, 14] = 255
    places = np.argwhere(corrupt(images, "shift", severity))
    moved = {(int(row) - 13, int(column) - 14) for _, row, column in places}
    pixels = STRENGTHS["shift"][severity - 1]
    steps = (-pixels, 0, pixels)
    assert len(places) == 400
    assert moved == {(down, right) for down in steps for right in steps} - {(0, 0)}


def test_what_is_shifted_out_does_not_come_in_at_the_other_side():
    images = np.full((100, 28, 28), 255, np.uint8)
    lost = (corrupt(images, "shift", 5) == 0).sum(axis=(1, 2))
    assert set(lost.tolist()) == {5 * 28, 28 * 28 - 23 * 23}


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_rotation_is_by_as_many_degrees_to_either_side(severity):
    turned = corrupt(bar(), "rotation", severity).astype(float)
    rows, columns = np.indices((28, 28)) - 13.5
    weights = turned / turned.sum(axis=(1, 2), keepdims=True)
    across, down, both = ((weights * part).sum(axis=(1, 2)) for part in (columns**2, rows**2, rows * columns))
    degrees = np.rad2deg(np.arctan2(2 * both, down - across) / 2)
    assert np.abs(degrees) == pytest.approx(STRENGTHS["rotation"][severity - 1], abs=1)
    assert 150 < (degrees > 0).sum() < 250


@pytest.mark.parametrize("severity", SEVERITIES)
def test_scaling_makes_larger_or_smaller_by_the_fraction(severity):
    area = corrupt(bar(), "scale", severity).sum(axis=(1, 2)) / bar(1).sum()
    fraction = STRENGTHS["scale"][severity - 1]
    larger = area > 1
    assert area[larger] == pytest.approx((1 + fraction) ** 2, rel=0.1)
    assert area[~larger] == pytest.approx((1 - fraction) ** 2, rel=0.15)
    assert 150 < larger.sum() < 250


def test_noise_has_its_deviation_and_blur_keeps_the_light_and_spreads_it():
    grey = np.full((200, 28, 28), 128, np.uint8)
    assert corrupt(grey, "noise", 2).std() == pytest.approx(STRENGTHS["noise"][1], rel=0.01)
    blurred = corrupt(bar(1), "blur", 4).astype(float)
    assert blurred.sum() == pytest.approx(bar(1).sum(), rel=0.01)
    variance = ((np.arange(28) - 13.5) ** 2 * blurred[0].sum(axis=0)).sum() / blurred.sum()
    assert variance == pytest.approx((4**2 - 1) / 12 + STRENGTHS["blur"][3] ** 2, rel=0.05)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_draws_to_the_mean_and_an_occluder_covers_its_square(severity):
    faded = corrupt(bar(1), "contrast", severity)
    assert faded.mean() == pytest.approx(bar(1).mean(), abs=0.5)
    assert np.ptp(faded) == pytest.approx(200 * STRENGTHS["contrast"][severity - 1], abs=1)
    covered = (corrupt(np.zeros((300, 28, 28), np.uint8), "occlusion", severity) > 0).sum(axis=(1, 2))
    assert (covered == STRENGTHS["occlusion"][severity - 1] ** 2).all()


def test_a_good_classifier_loses_little_at_the_first_severity_and_much_at_the_last(digits):
    from sklearn.svm import SVC

    images, labels = digits
    classifier = SVC(gamma="scale").fit(images[:1437].reshape(-1, 784), labels[:1437])

    def classify(images):
        return classifier.predict(images.reshape(-1, 784))

    clean = float((classify(images[1437:]) == labels[1437:]).mean())
    table = robustness.accuracy_by_corruption(classify, images[1437:], labels[1437:])
    accuracy = table.pivot(index="severity", columns="corruption", values="accuracy")
    assert (accuracy.loc[1] > clean - 0.1).all()
    assert (accuracy.loc[5] < clean - 0.03).all()
    assert (np.diff(accuracy.mean(axis=1)) < 0).all()


def test_robustness_counts_the_predictions_for_the_corrupted_images_of_each_row(digits):
    images, labels = digits[0][:100], digits[1][:100]
    asked = []

    def classify(corrupted):
        asked.append(corrupted)
        right = np.arange(100) < len(asked)  # one more with every row
        return np.where(right, labels, (labels + 1) % 10)

    table = robustness.accuracy_by_corruption(classify, images, labels)
    assert table["accuracy"].tolist() == [round((row + 1) / 100, 2) for row in range(35)]
    assert set(table["images"]) == {100}
    for row, seen in zip(table.itertuples(), asked, strict=True):
        assert (seen == corrupt(images, row.corruption, row.severity)).all()


def test_the_mean_and_the_worst_corruption_are_among_the_numbers():
    table = pd.DataFrame({"corruption": ["blur", "blur", "noise", "noise"], "accuracy": [0.9, 0.7, 0.8, 0.2]})
    assert robustness.summary(table) == {"accuracy_corrupted": 0.65, "accuracy_corrupted_worst": 0.5}


def test_the_sample_has_each_class_with_its_share():
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [600, 300, 5]))
    chosen = scores.stratified_sample(labels, 181)
    assert np.bincount(labels[chosen]).tolist() == [120, 60, 1]
    assert (np.diff(chosen) > 0).all()
    assert (scores.stratified_sample(labels, 181) == chosen).all()
    assert chosen[-1] > 700 and not (chosen == np.arange(181)).all()


def test_of_fewer_images_than_the_sample_all_are_taken():
    assert scores.stratified_sample(np.array([2, 0, 2, 1]), 100).tolist() == [0, 1, 2, 3]


def test_suspects_are_those_contradicted_with_the_confidence_that_is_usual_for_the_class():
    labels = np.array([0, 0, 0, 1, 1, 1])
    # The usual confidence: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6, class 1 (0.9 + 0.45 + 0.3) / 3 = 0.55.
    of_zero = np.array([0.9, 0.7, 0.2, 0.1, 0.55, 0.7])
    table = suspects.find(np.stack([of_zero, 1 - of_zero], axis=1), labels, {"train": 4, "validation": 2})
    # The fifth image is taken for 0 with 0.55: merely uncertain. The third has the wider margin of the two.
    assert table.to_dict("records") == [
        {"part": "train", "index": 2, "label": 0, "suggested": 1}
        | {"probability_of_label": 0.2, "probability_of_suggested": 0.8},
        {"part": "validation", "index": 1, "label": 1, "suggested": 0}
        | {"probability_of_label": 0.3, "probability_of_suggested": 0.7},
    ]


@pytest.mark.filterwarnings("error")
def test_a_class_without_labels_raises_no_suspicion():
    assert suspects.find(np.array([[0.9, 0.1], [0.01, 0.99]]), np.array([0, 0]), {"test": 2}).empty


@pytest.fixture(scope="module")
def judged(digits):
    """The suspects among the digits with so many of their labels changed, and the indices of the changed ones."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    def judge(changed):
        images, labels = digits[0].reshape(-1, 784), digits[1].astype(int)
        generator = np.random.default_rng(0)
        planted = generator.choice(len(labels), changed, replace=False)
        labels[planted] = (labels[planted] + generator.integers(1, 10, changed)) % 10
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        classifier = KNeighborsClassifier(20, weights="distance")
        probabilities = cross_val_predict(classifier, images, labels, cv=folds, method="predict_proba")
        return suspects.find(probabilities, labels, {"train": 1500, "validation": 297}), planted

    return judge


def test_wrong_labels_are_found_near_the_top(judged):
    table, planted = judged(54)  # 3 %
    place = table["index"] + np.where(table["part"] == "train", 0, 1500)
    found = place.isin(planted)
    assert found.sum() >= 0.75 * len(planted)
    assert found.sum() >= 0.95 * len(table)
    assert found[:30].all()


def test_where_no_label_was_changed_few_are_suspect(judged):
    assert len(judged(0)[0]) <= 0.003 * 1797


class Interpreter:
    """In place of LiteRT's: answers each image with `answer`, and counts the images of each call."""

    answer = (0.25, 0.75)

    def __init__(self, model_path, num_threads):
        self.calls = []
        Interpreter.last = self

    def get_input_details(self):
        return [{"index": 0}]

    get_output_details = get_input_details

    def resize_tensor_input(self, index, shape):
        self.shape = shape

    def allocate_tensors(self):
        pass

    def set_tensor(self, index, batch):
        assert batch.shape == self.shape
        assert batch.dtype == np.float32
        self.calls.append(batch)

    def invoke(self):
        pass

    def get_tensor(self, index):
        return np.array([self.answer] * self.shape[0], np.float32)


def test_the_model_gets_raw_pixels_in_batches_and_no_image_is_lost(monkeypatch):
    monkeypatch.setattr("stages.evaluate.model.Interpreter", Interpreter)
    images = np.random.default_rng(0).integers(0, 256, (1234, 28, 28), np.uint8)
    assert Model(Path("model.tflite")).predict(images).shape == (1234, 2)
    assert (np.concatenate(Interpreter.last.calls)[..., 0] == images).all()


def test_a_model_that_answers_nan_is_refused(monkeypatch):
    monkeypatch.setattr("stages.evaluate.model.Interpreter", Interpreter)
    monkeypatch.setattr(Interpreter, "answer", (np.nan, 0.5))
    with pytest.raises(UserError, match=r"model\.tflite: outputs NaN"):
        Model(Path("model.tflite")).predict(np.zeros((3, 28, 28), np.uint8))


def test_a_file_that_is_no_model_is_told(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"no model at all")
    with pytest.raises(UserError, match=r"model\.tflite: not a LiteRT model"):
        Model(tmp_path / "model.tflite")


def test_the_accuracy_without_disputed_images_counts_the_others():
    predicted, labels = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
    assert scores.accuracy_without([1], predicted, labels) == 0.66667
    assert scores.accuracy_without([1, 3], predicted, labels) == 1


def test_a_disputed_image_that_is_none_is_told():
    with pytest.raises(UserError, match="datasets.yaml: disputed names image 7: there are 3 test images"):
        scores.accuracy_without([1, 7], np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("name", ["download", "validate", "preprocess", "evaluate", "report"])
def test_only_training_imports_tensorflow(name, environment):
    modules = f"import sys, stages.{name}.__main__; print(*sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    imported = subprocess.run(
        [sys.executable, "-c", modules], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert imported.stdout.split() == []

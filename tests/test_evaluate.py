"""The evaluate stage: its numbers against cases small enough to work out by hand."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.common.entry import UserError
from stages.evaluate import __main__ as stage
from stages.evaluate import scores
from stages.evaluate.model import predict

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
    }


def test_accuracy_is_told_apart_by_series():
    assert scores.accuracy_by(np.array([0, 0, 4, 4, 4, 4]), PREDICTED, LABELS) == {0: 1.0, 4: 0.5}


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


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The working directory with six prepared test images, known writers, and PROBABILITIES as a model's answers."""
    monkeypatch.chdir(tmp_path)
    test = tmp_path / "data" / "prepared" / "test"
    test.mkdir(parents=True)
    np.save(test / "images.npy", np.zeros((6, 28, 28), np.uint8))
    np.save(test / "labels.npy", LABELS)
    np.save(test / "series.npy", np.array([0, 0, 0, 0, 4, 4], np.uint8))
    Path("data/prepared/dataset.json").write_text(json.dumps({"classes": NAMES}))
    Path("params.yaml").write_text("evaluate:\n  reliability_bins: 5\n")
    monkeypatch.setattr(stage, "predict", lambda model, images: PROBABILITIES)


def test_the_stage_writes_its_numbers_and_tables(project):
    stage.main()
    numbers = json.loads(Path("metrics/evaluate.json").read_text())
    assert numbers == scores.summary(PROBABILITIES, LABELS, 5) | {"accuracy_series_0": 0.75, "accuracy_series_4": 0.5}
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
        "roc.csv",
    ]


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
    assert predict(Path("model.tflite"), images).shape == (1234, 2)
    assert (np.concatenate(Interpreter.last.calls)[..., 0] == images).all()


def test_a_model_that_answers_nan_is_refused(monkeypatch):
    monkeypatch.setattr("stages.evaluate.model.Interpreter", Interpreter)
    monkeypatch.setattr(Interpreter, "answer", (np.nan, 0.5))
    with pytest.raises(UserError, match=r"model\.tflite: answers with NaN"):
        predict(Path("model.tflite"), np.zeros((3, 28, 28), np.uint8))


@pytest.mark.parametrize("name", ["download", "validate", "preprocess", "evaluate", "report"])
def test_only_training_imports_tensorflow(name, environment):
    modules = f"import sys, stages.{name}.__main__; print(*sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    imported = subprocess.run(
        [sys.executable, "-c", modules], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert imported.stdout.split() == []

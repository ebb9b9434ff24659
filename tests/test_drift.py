"""`make drift`: silent on digits like those the model was trained on, an alarm on others, and words for a person."""

import json
import re
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import grey_erosion
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

from helpers.clone import ROOT
from serving import drift, drift_page, shift
from serving.log import Log, Read
from stages.common import parameters
from stages.common.entry import UserError
from stages.evaluate.corruptions import noise, rotation
from stages.package.reference import IMAGES, reference
from stages.statistics import image_statistics
from stages.validate.params import Expect

CLASSES = [str(number) for number in range(10)]
HALF = 897  # of 1,797 digits: the reference has the other 900
PACKAGE = {"title": "Numbers", "classes": CLASSES, "shape": [28, 28, 1], "threshold": 0.9, "refused": 0.01}


def letters(count):
    """uint8 (count, 28, 28): Greek and Cyrillic capitals of matplotlib's fonts in MNIST's box, a little askew."""
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    generator = np.random.default_rng(20)
    alphabet = "ΑΓΔΕΖΗΚΛΜΝΞΠΡΣΤΥΦΧΨΩДЖИЛЦШЩЪЫЭЮЯ"
    fonts = [ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVu{name}.ttf", 72) for name in ("Sans", "Serif-Bold")]
    images = np.zeros((count, 28, 28), np.uint8)
    for image in images:
        page = Image.new("L", (128, 128))
        letter, font = generator.choice(list(alphabet)), fonts[generator.integers(2)]
        ImageDraw.Draw(page).text((64, 64), letter, 255, font, anchor="mm")
        page = page.rotate(generator.uniform(-10, 10), Image.Resampling.BILINEAR)
        page = page.crop(page.getbbox())
        page = page.resize([max(1, round(20 * side / max(page.size))) for side in page.size])
        left, top = (28 - page.width) // 2, (28 - page.height) // 2
        image[top : top + page.height, left : left + page.width] = np.asarray(page)
    return images


@pytest.fixture(scope="module")
def rows(digits):
    """A function from uint8 images (1797, 28, 28), each made from the digit in its place, to rows as in the log. The
    model that reads an image has never seen its digit."""
    images, labels = digits
    folds = list(StratifiedKFold(5, shuffle=True, random_state=20).split(images, labels))

    def features(images):
        return images[:, 5:24:2, 5:24:2].reshape(len(images), -1)

    models = [LinearDiscriminantAnalysis().fit(features(images[rest]), labels[rest]) for rest, _ in folds]

    def rows(images):
        probabilities = np.empty((len(images), 10))
        for model, (_, own) in zip(models, folds, strict=True):
            probabilities[own] = model.predict_proba(features(images[own]))
        return image_statistics(images).assign(
            confidence=probabilities.max(axis=1), predicted=probabilities.argmax(axis=1)
        )

    return rows


@pytest.fixture(scope="module")
def known(digits, rows):
    return rows(digits[0])


def as_reference(table, prefix=""):
    return {prefix + column: values.to_numpy(np.float32) for column, values in table.items()}


def alarms(known, requests, size, chosen=None, seeds=range(100)):
    """In how many windows anything moved. For each seed the digits are dealt anew: one half is the reference,
    and a window is drawn from the other, without replacement; so the two never share a digit."""
    count = 0
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(known))
        own = order[:HALF] if chosen is None else order[:HALF][chosen[order[:HALF]]]
        compared = shift.compare(as_reference(known.iloc[order[HALF:]]), requests.iloc[own[:size]], CLASSES)
        count += any(each.moved for each in compared)
    return count


@pytest.mark.parametrize("size", [100, 500])
def test_the_same_digits_in_random_order_raise_at_most_5_alarms_in_100(known, size):
    assert alarms(known, known, size) <= 5


CHANGES = {
    "inverted": lambda images: 255 - images,
    "thinner": lambda images: grey_erosion(images, (1, 2, 2)),
    "noisy": lambda images: noise(images, 20, np.random.default_rng(20)),
    "rotated by 30 degrees": lambda images: rotation(images, 30, np.random.default_rng(20)),
    "another alphabet": lambda images: letters(len(images)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_digits_raise_at_least_95_alarms_in_100(digits, rows, known, change):
    assert alarms(known, rows(CHANGES[change](digits[0])), 500) >= 95


def test_a_missing_class_raises_at_least_95_alarms_in_100(digits, known):
    """Each class in turn, in ten windows."""
    assert sum(alarms(known, known, 500, digits[1] != missing, range(10)) for missing in range(10)) >= 95


def test_a_difference_that_is_certain_but_small_is_no_drift():
    """Each way: a mean that moved by a tenth of the spread, in a hundred thousand digits and in a hundred."""
    generator = np.random.default_rng(20)

    def table(count, moved):
        columns = {column: generator.normal(100 + 10 * moved, 10, count) for column in shift.MEASUREMENTS}
        return pd.DataFrame(columns | {"predicted": generator.integers(0, 10, count)})

    certain = shift.compare(as_reference(table(10_000, 0)), table(100_000, 0.1), CLASSES)
    assert all(each.p < 1e-6 for each in certain[:-1]) and not any(each.moved for each in certain)
    large = shift.compare(as_reference(table(10_000, 0)), table(100, 2), CLASSES)
    assert [each.moved for each in large] == [True] * len(shift.MEASUREMENTS) + [False]


@pytest.mark.parametrize(("level", "moved"), [(254, False), (246, False), (240, True)])
def test_a_few_grey_levels_of_the_brightest_pixel_do_not_matter_though_all_images_have_them(known, level, moved):
    compared = shift.compare(as_reference(known.assign(largest=255.0)), known.assign(largest=float(level)), CLASSES)
    (brightest,) = (each for each in compared if each.column == "largest")
    assert (brightest.size, brightest.moved) == (1, moved)


def test_holm_multiplies_the_smallest_p_by_the_number_of_tests_the_next_by_one_less_and_keeps_the_order():
    assert shift.holm([0.04, 0.01, 0.03, 0.9]) == pytest.approx([0.09, 0.04, 0.09, 0.9])
    assert shift.holm([0.5, 0.6]) == [1, 1]


def test_the_p_value_of_rare_classes_is_honest():
    """Of 26 classes in windows of 100, the p-value is below 0.05 about as often as it should be."""
    generator = np.random.default_rng(20)
    shares = generator.dirichlet(np.ones(26))
    below = [
        shift.classes_p(generator.multinomial(6000, shares), generator.multinomial(100, shares)) < 0.05
        for _ in range(50)
    ]
    assert 0.01 <= np.mean(below) <= 0.16
    assert shift.classes_p(np.array([50, 50, 0]), np.array([0, 0, 100])) < 0.001
    assert shift.classes_p(np.array([100, 0]), np.array([100, 0])) == 1


def test_a_person_reads_what_moved_and_which_way(known):
    thinner = known.assign(
        ink_fraction=known["ink_fraction"] / 2,
        confidence=known["confidence"] * 0.8,
        centre_x=known["centre_x"].mean() + 3 * (known["centre_x"] - known["centre_x"].mean()),
        predicted=known["predicted"].replace(7, 1),
    )
    words = shift.findings(shift.compare(as_reference(known), thinner, CLASSES), [])
    ink, sure = known["ink_fraction"].mean(), known["confidence"].mean()
    share = (known["predicted"] == 7).mean()
    assert set(words) == {
        f"the strokes are thinner: share of ink {ink / 2:.1%}, {ink:.1%} in training",
        f"the model is less sure: confidence {sure * 0.8:.1%}, {sure:.1%} on the validation images",
        f"the digits are more varied in centre across: standard deviation {3 * known['centre_x'].std(ddof=0):.1f} px, "
        f"{known['centre_x'].std(ddof=0):.1f} px in training",
        f"no digit is read as 7: 0.0%, {share:.1%} of the validation images",
    }
    assert shift.verdict(500, []) == "no drift: the last 500 digits are like those the model was trained on"


def test_blank_images_have_no_position_and_are_noticed_all_the_same(known):
    blank = image_statistics(np.zeros((200, 28, 28), np.uint8)).assign(confidence=0.1, predicted=1)
    compared = shift.compare(as_reference(known), blank, CLASSES)
    assert "the strokes are thinner" in " ".join(shift.findings(compared, []))
    assert "centre_x" not in {each.column for each in compared}


def test_every_column_that_is_measured_of_an_image_is_compared():
    columns = image_statistics(np.zeros((1, 28, 28), np.uint8)).columns
    assert list(shift.MEASUREMENTS) == [*columns, "confidence"]


def expect(catalog):
    return parameters.check("mnist.expect", catalog["mnist"]["expect"], Expect)


@pytest.mark.parametrize(("count", "crossed"), [(2, False), (3, True)])
def test_a_bound_is_crossed_by_more_than_one_digit_in_a_hundred(catalog, count, crossed):
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 4:24, 8:20] = np.arange(20, 260, 20)
    images[:count] = 255 - images[:count]
    bounds = drift.check_bounds(image_statistics(images), expect(catalog), CLASSES)
    border = next(bound for bound in bounds if "Border" in bound.title)
    assert (border.outside, border.crossed) == (count / 200, crossed)
    assert border.words == f"{count / 2:.1f}% of the digits look inverted (border_intensity 0 to 255, at most 30)"
    assert {bound.title for bound in bounds if bound.outside == 0} >= {"No image is constant: grey levels"}


@pytest.fixture(scope="module")
def inverted(digits, rows):
    return rows(255 - digits[0])


@pytest.fixture
def here(tmp_path, monkeypatch, digits, known, inverted):
    """The working directory with what `dvc repro` leaves, all of the digits as reference, and two logs: of the same
    digits, and of inverted ones."""
    for name in ("params.yaml", "datasets.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    models = tmp_path / "models"
    models.mkdir()
    (models / "package.json").write_text(json.dumps(PACKAGE), encoding="utf-8")
    np.savez(models / "reference.npz", **as_reference(known), **as_reference(known, "picture_"))
    monkeypatch.chdir(tmp_path)
    write_log("requests", digits[0], known, [False])
    write_log("inverted", 255 - digits[0], inverted, [False])
    return tmp_path


def write_log(name, images, table, prepared, count=200):
    """Add `count` digits that came in each of the ways `prepared` to the log `name`."""
    own = np.random.default_rng(20).permutation(len(images))[:count]
    predicted, confidence = (table[column].to_numpy()[own] for column in ("predicted", "confidence"))
    with Log(Path(f"logs/{name}.sqlite")) as log:
        for way in prepared:
            log.add(Read("r", 1.0, predicted, confidence, images[own], way)).result()


def called(monkeypatch, *arguments):
    """The exit code of `make drift`."""
    monkeypatch.setattr("sys.argv", ["drift", *arguments])
    try:
        drift.main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_without_drift_it_says_so_and_ends_well(here, monkeypatch, capsys):
    (here / "datasets.yaml").unlink()  # its bounds are those of MNIST
    assert called(monkeypatch) == 0
    verdict = "pixels sent to infer: no drift: the last 200 digits are like those the model was trained on"
    assert capsys.readouterr().out == f"drift: {verdict}\ndrift: see reports/drift.html\n"
    page = (here / "reports/drift.html").read_text(encoding="utf-8")
    assert f"✓ {verdict.capitalize()}" in page and "There is no datasets.yaml here" in page
    assert "What moved" not in page


def test_with_drift_each_finding_has_a_line_and_the_exit_code_is_1(here, monkeypatch, capsys):
    assert called(monkeypatch, "--log", "logs/inverted.sqlite") == 1
    kind = "drift: pixels sent to infer: "
    *lines, verdict, _ = capsys.readouterr().out.splitlines()
    assert verdict == f"{kind}the last 200 digits are not like those the model was trained on"
    assert any(line.startswith(f"{kind}there is more ink: mean intensity ") for line in lines)
    assert any(line.startswith(f"{kind}100.0% of the digits look inverted (border_intensity ") for line in lines)
    page = (here / "reports/drift.html").read_text(encoding="utf-8")
    assert all(line.removeprefix(kind)[1:] in page for line in lines)
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_program_reads_the_same_as_json(here, monkeypatch, capsys):
    assert called(monkeypatch, "--log", "logs/inverted.sqlite", "--json") == 1
    result = json.loads(capsys.readouterr().out)
    (compared,) = result["compared"]
    assert result["drift"] and result["not_compared"] == []
    assert (compared["kind"], compared["digits"], compared["drift"]) == ("pixels sent to infer", 200, True)
    moved = [each["words"] for each in compared["comparisons"] if each["moved"]]
    assert set(moved) <= set(compared["findings"]) and len(compared["comparisons"]) == 16


def test_pictures_are_compared_with_pictures_and_pixels_with_pixels(here, monkeypatch, capsys, digits, known, inverted):
    pictures = as_reference(inverted, "picture_")
    np.savez(here / "models/reference.npz", **as_reference(known), **pictures)
    write_log("both", 255 - digits[0], inverted, [True, True])
    write_log("both", digits[0], known, [False])
    (here / "datasets.yaml").unlink()
    assert called(monkeypatch, "--log", "logs/both.sqlite", "--last", "300") == 0
    lines = [
        f"drift: {kind}: no drift: the last {count} digits are like those the model was trained on"
        for kind, count in (("pictures", 300), ("pixels sent to infer", 200))
    ]
    assert capsys.readouterr().out.splitlines() == [*lines, "drift: see reports/drift.html"]


def test_one_kind_that_drifts_is_drift_and_named(here, monkeypatch, capsys, digits, inverted):
    write_log("requests", 255 - digits[0], inverted, [True])
    assert called(monkeypatch) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "drift: pictures: the last 200 digits are not like those the model was trained on" in lines
    assert all(line.startswith(("drift: pictures: ", "drift: pixels", "drift: see")) for line in lines)
    page = (here / "reports/drift.html").read_text(encoding="utf-8")
    assert re.search(r"✗ Pictures: .*<h2>Pictures</h2>.*<h2>Pixels sent to infer</h2>", page, re.DOTALL)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_bounds_of_training_images_say_nothing_of_prepared_pictures(here, monkeypatch, capsys, digits, inverted):
    write_log("pictures", 255 - digits[0], inverted, [True])
    assert called(monkeypatch, "--log", "logs/pictures.sqlite", "--json") == 1
    (compared,) = json.loads(capsys.readouterr().out)["compared"]
    assert compared["kind"] == "pictures" and compared["bounds"] == []


def test_a_kind_with_too_few_digits_is_told_and_not_compared(here, monkeypatch, capsys, digits, inverted):
    (here / "datasets.yaml").unlink()
    write_log("requests", 255 - digits[0], inverted, [True], count=40)
    assert called(monkeypatch) == 0
    line = "pictures: 40 digits, not compared: at least 100 are needed"
    assert f"drift: {line}\n" in capsys.readouterr().out
    assert f"P{line[1:]}." in (here / "reports/drift.html").read_text(encoding="utf-8")
    assert called(monkeypatch, "--json") == 0
    assert json.loads(capsys.readouterr().out)["not_compared"] == [{"kind": "pictures", "digits": 40}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [8, 8, 1]}, "bounds are for 28×28 pixels, not 8×8"),
        ({"classes": ["even", "odd"]}, "has other classes"),
    ],
)
def test_bounds_of_other_images_are_not_checked(here, change, words):
    package = PACKAGE | change
    bounds, note = drift.expectations(package["classes"], package["shape"])
    assert bounds is None and words in note


def few(here):
    shutil.rmtree(here / "logs")
    with Log(here / "logs/requests.sqlite") as log:
        for prepared in (True, False):
            log.add(Read("r", 1.0, np.zeros(60, int), np.ones(60), np.zeros((60, 28, 28), np.uint8), prepared)).result()


def changed(column, value):
    """A function that writes `value` into a column of one row of the log, whatever it is."""

    def spoil(here):
        with sqlite3.connect(here / "logs/requests.sqlite") as connection:
            connection.execute(f"UPDATE digits SET {column} = ? WHERE rowid = 150", (value,))

    return spoil


def cut(here):
    path = here / "logs/requests.sqlite"
    path.write_bytes(path.read_bytes()[:-3000])


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (
            changed("mean_intensity", "bright"),
            "mean_intensity of row 150 is 'bright', no possible value: delete that row",
        ),
        (changed("left", float("inf")), "left of row 150 is inf, no possible value"),
        (changed("mean_intensity", 1e300), r"mean_intensity of row 150 is 1e\+300, no possible value"),
        (changed("confidence", float("nan")), "confidence of row 150 is None, no possible value"),  # SQLite has no NaN
        (changed("predicted", b"7"), "predicted of row 150 is b'7', no possible value"),
        (changed("predicted", -1), "predicted of row 150 is -1, no possible value"),
        (changed("predicted", 2.5), r"predicted of row 150 is 2\.5, no possible value"),
        (changed("predicted", 12), "has an answer of class number 12, and the model has 10 classes: name the log of"),
        (cut, "^logs/requests.sqlite cannot be read as a log of requests"),
        (few, r"^the log has too few digits \(pictures: 60, pixels sent to infer: 60\), at least 100 of a kind are "),
        (lambda here: shutil.rmtree(here / "logs"), "^logs/requests.sqlite is missing"),
        (lambda here: (here / "models/reference.npz").unlink(), "^models/reference.npz is missing: `dvc repro` makes"),
        (lambda here: (here / "models/reference.npz").write_bytes(b"PK"), "^models/reference.npz cannot be read"),
        (lambda here: np.savez(here / "models/reference.npz", left=[1.0]), "^models/reference.npz cannot be read"),
        (lambda here: (here / "models/package.json").unlink(), "^models/package.json is missing: `dvc repro` or"),
        (lambda here: (here / "models/package.json").write_text("[]"), "^models/package.json cannot be read"),
    ],
)
def test_what_cannot_be_compared_gets_one_line(here, monkeypatch, spoil, line):
    spoil(here)
    with pytest.raises(UserError, match=line) as raised:
        called(monkeypatch)
    assert "\n" not in str(raised.value)
    assert not (here / "reports").exists()


def test_fewer_digits_than_can_show_anything_are_refused(here, monkeypatch):
    with pytest.raises(UserError, match="^--last is 50, must be 100 or more"):
        called(monkeypatch, "--last", "50")


def test_a_class_may_have_any_name(known):
    package = PACKAGE | {"title": "<b>", "classes": ["<i>&", *CLASSES[1:]]}
    reference = as_reference(known)
    comparisons = shift.compare(reference, known, package["classes"])
    result = shift.Result(shift.KINDS[1], reference, known, comparisons, [])
    page = drift_page.render(package, [result], [], "none")
    assert "<i>&" not in page and "<b>:" not in page and "&lt;i&gt;" in page


def test_the_reference_is_a_sample_of_the_training_images_spread_evenly(digits):
    many = np.concatenate([digits[0]] * 6)
    probabilities = np.array([[0.2, 0.8], [0.9, 0.1], [0.5, 0.5]], np.float32)
    made = reference(many, probabilities)
    statistics = image_statistics(many)
    for column, values in statistics.items():
        assert made[column].shape == (IMAGES,) and made[column].dtype == np.float32
        assert made[column].mean() == pytest.approx(values.mean(), rel=0.01, abs=1e-6)
    assert made["confidence"].tolist() == pytest.approx([0.8, 0.9, 0.5])
    assert made["predicted"].tolist() == [1, 0, 0] and made["predicted"].dtype == np.int64
    few = reference(digits[0][:50], probabilities)
    assert (few["mean_intensity"] == image_statistics(digits[0][:50])["mean_intensity"].to_numpy(np.float32)).all()
    assert set(made) == {*shift.MEASUREMENTS, shift.PREDICTED}

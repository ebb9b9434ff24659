"""The report: a page and a model card that render well from whatever the stages before leave."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from sklearn.datasets import load_digits

from helpers.hostile import HOSTILE
from review import render as review
from review.gallery import Digit
from review.page import Section, Table, Verdict
from stages.common.entry import UserError
from stages.evaluate.corruptions import STRENGTHS
from stages.evaluate.scores import wilson
from stages.idx import write_idx
from stages.pages.png import data_address
from stages.pages.templates import is_web_address
from stages.report import cells, pictures, tables
from stages.report.__main__ import main
from stages.validate import page as validate_page
from stages.validate.__main__ import main as validate

ROOT = Path(__file__).parents[1]
DIGITS = [str(digit) for digit in range(10)]
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
KANA = list("おきすつなはまやれを")
VOID = {"meta", "link", "img", "br", "input"}


def inputs(
    folder,
    classes=DIGITS,
    epochs=5,
    perfect=False,
    series=False,
    title="A data set <&>",
    homepage="https://example.org/",
    disputed=(),
    size=28,
    suspects=2,
    suspects_training=None,
):
    """What the stages before leave under `folder`, made from scikit-learn's digits and a nearest-mean classifier."""
    digits = load_digits()
    labels = digits.target % len(classes)
    means = np.stack([digits.data[:900][labels[:900] == k].mean(0) for k in range(len(classes))])
    test, actual = digits.images[900:], labels[900:]
    scores = -((test.reshape(-1, 1, 64) - means) ** 2).sum(2) / 90
    if perfect:
        scores[np.arange(len(test)), actual] += 1000
    scores = np.exp(scores - scores.max(1, keepdims=True))
    probabilities = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != actual)
    images = np.zeros((len(test), size, size), np.uint8)
    images[:, : size // 8 * 8, : size // 8 * 8] = np.kron(test * 15.9, np.ones((1, size // 8, size // 8))).astype(
        np.uint8
    )
    matrix = np.zeros((len(classes), len(classes)), int)
    np.add.at(matrix, (actual, predicted), 1)

    parts = ("data/prepared/train", "data/prepared/validation", "data/prepared/test")
    for name in (*parts, "data/raw", "data/predictions", "metrics", "models"):
        (folder / name).mkdir(parents=True)
    parameters = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("dataset: mnist", "dataset: own")
    (folder / "params.yaml").write_text(parameters, encoding="utf-8")
    about = {"title": title, "licence": "CC0", "citation": "A. Nonymous", "homepage": homepage}
    entry = {"about": about, "classes": classes, "disputed": list(disputed)}
    (folder / "datasets.yaml").write_text(yaml.safe_dump({"own": entry}), encoding="utf-8")
    for part in parts:
        np.save(folder / part / "images.npy", images)
    (folder / "models/model.tflite").write_bytes(bytes(1_234_567))
    np.save(folder / "data/predictions/probabilities.npy", probabilities)
    np.save(folder / "data/predictions/corrupted.npy", np.resize(images, (len(STRENGTHS), 6, size, size)))
    low, high = wilson(len(test) - len(wrong), len(test))
    accuracy = 1 - len(wrong) / len(test)
    numbers = dict.fromkeys(
        ("precision_macro", "recall_macro", "f1_macro", "auc_macro", "calibration_error", "loss"), 0.5
    )
    metrics = {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high, **numbers}
    metrics |= {"mistakes": len(wrong), "images": len(test), "accuracy_corrupted": 0.7, "suspect_labels": suspects}
    suspected = [("test", index, 0, 1, 0.01, 0.98) for index in range(suspects)]
    if suspects_training is not None:
        metrics["suspect_labels_training"] = suspects_training
        suspected += [(("validation", "train")[index % 2], index, 1, 0, 0, 1) for index in range(suspects_training)]
    by_series = [(k, 400, 390, 0.975, 0.955, 0.987) for k in (0, 4)] if series else []
    prepared = {"images": {"train": 800, "validation": 100, "test": len(test)}, "split": "stratified"}
    environment = {
        "precision": "float32",
        "processor": "x86_64 with AVX2",
        "versions": "tensorflow 2.21.0, keras 3.15.0",
    }
    trained = {"accuracy": 0.9, "loss": 0.1, "validation_accuracy": 0.9, "validation_loss": 0.1, "epochs": epochs}
    for name, value in {
        "data/raw/dataset.json": {"name": "own", "files": {"train-images-idx3-ubyte": "ab" * 32}},
        "data/prepared/dataset.json": prepared,
        "metrics/environment.json": environment,
        "metrics/train.json": {**trained, "parameters": 12345},
        "metrics/evaluate.json": metrics,
    }.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")

    curve = []
    for k, name in enumerate(classes):
        order = np.argsort(-probabilities[:, k], kind="stable")
        hits = (actual == k)[order]
        curve += [(name, 0.0, 0.0)]
        curve += zip([name] * len(hits), np.cumsum(~hits) / (~hits).sum(), np.cumsum(hits) / hits.sum(), strict=True)
    edges = np.linspace(0, 1, 11)
    bins = []
    for left, end in pairwise(edges):
        inside = (confidence > left) & (confidence <= end)
        share = (confidence[inside].mean(), (predicted == actual)[inside].mean()) if inside.any() else ("", "")
        bins.append((left, end, inside.sum(), *share, *wilson((predicted == actual)[inside].sum(), inside.sum())))
    history = [(e, 1 / e, 1 - 0.3 / e, 1.2 / e, 1 - 0.4 / e, 0.001) for e in range(1, epochs + 1)]
    ratio = matrix.diagonal() / matrix.sum(1)
    ends = zip(*map(wilson, matrix.diagonal(), matrix.sum(1)), strict=True)
    damaged = [(name, severity, 1 - 0.1 * severity, 800) for name in STRENGTHS for severity in range(1, 6)]
    for name, header, rows in (
        ("metrics/history.csv", "epoch,loss,accuracy,validation_loss,validation_accuracy,learning_rate", history),
        (
            "metrics/mistakes.csv",
            "index,label,predicted,confidence",
            [(i, actual[i], predicted[i], confidence[i]) for i in wrong],
        ),
        (
            "metrics/classes.csv",
            "class,precision,recall,f1,support,recall_low,recall_high",
            zip(classes, ratio, ratio, ratio, matrix.sum(1), *ends, strict=True),
        ),
        (
            "data/predictions/confusion_matrix.csv",
            ",".join(["actual", *classes]),
            [(c, *r) for c, r in zip(classes, matrix, strict=True)],
        ),
        ("metrics/roc.csv", "class,false_positive_rate,true_positive_rate", curve),
        (
            "metrics/reliability.csv",
            "confidence_low,confidence_high,images,confidence,accuracy,accuracy_low,accuracy_high",
            bins,
        ),
        ("metrics/robustness.csv", "corruption,severity,accuracy,images", damaged),
        ("data/predictions/series.csv", "group,images,right,accuracy,accuracy_low,accuracy_high", by_series),
        (
            "data/predictions/suspects.csv",
            "part,index,label,suggested,probability_of_label,probability_of_suggested",
            suspected,
        ),
        (
            "data/predictions/test.csv",
            "index,label,predicted,confidence",
            [(i, classes[actual[i]], classes[predicted[i]], confidence[i]) for i in range(len(test))],
        ),
    ):
        with (folder / name).open("w", encoding="utf-8", newline="") as lines:
            csv.writer(lines, lineterminator="\n").writerows([header.split(","), *rows])
    return folder


def saved(array):
    """The content of an .npy file."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


class Page(HTMLParser):
    """What a browser would make of the page: balanced tags, unique ids, what it would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.places, self.loads, self.pictures = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert {*self.places} <= {*self.ids}

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        if tag == "a" and values["href"].startswith("#"):
            self.places.append(values["href"][1:])
        elif tag == "a":
            self.links.append(values["href"])
        else:
            self.loads += [
                values[key] for key in ("src", "href", "srcset", "data", "poster", "action") if key in values
            ]
        if tag == "img":
            assert values["alt"]
            self.pictures.append(values["alt"])
        assert tag not in {"script", "iframe", "object", "embed", "video", "audio", "foreignobject"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def render(folder, monkeypatch):
    monkeypatch.chdir(folder)
    main()
    text = (folder / "reports/index.html").read_text(encoding="utf-8")
    return Page(text), text, (folder / "reports/model_card.md").read_text(encoding="utf-8")


def test_page_is_whole_and_loads_nothing(tmp_path, monkeypatch):
    page, text, card = render(inputs(tmp_path, series=True), monkeypatch)
    assert all(address.startswith(("#", "data:")) for address in page.loads)
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(page.ids) == len(set(page.ids))
    used = {address[1:] for address in page.loads if address.startswith("#")} | set(
        re.findall(r"url\(#([^)]*)\)", text)
    )
    assert used <= set(page.ids)
    assert text.count("<svg") == text.count('role="img"') + text.count('role="group"') == 10
    assert "A data set &lt;&amp;&gt;" in text and "A data set <&>" not in text
    assert "high-school students" in text and "high-school students" in card
    assert len(text) < 1_000_000
    assert str(tmp_path) not in text + card and str(ROOT) not in text + card


def test_page_says_what_was_measured(tmp_path, monkeypatch):
    page, text, card = render(inputs(tmp_path), monkeypatch)
    metrics = json.loads((tmp_path / "metrics/evaluate.json").read_text())
    for number in ("accuracy", "accuracy_low", "accuracy_high"):
        assert tables.percent(metrics[number]) in text
        assert tables.percent(metrics[number]) in card
    assert sum("labelled" in alt and "taken for" in alt for alt in page.pictures) == min(60, metrics["mistakes"])
    assert "ab" * 32 in text and "ab" * 32 in card
    assert "<dt>Model file</dt><dd>1.2 MB</dd>" in text and "1,234,567 bytes" in text and "1,234,567 bytes" in card
    assert "Accuracy by writer" not in text and "NIST series" not in text + card
    for block in ("download", "validate", "preprocess", "train", "evaluate", "report"):
        assert f"<h3>{block}</h3>" in text
    assert "<h3>datasets</h3>" not in text
    assert "https://example.org/" in page.links and "(<https://example.org/>)" in card
    assert "whole writers" not in text + card and "disputes" not in text + card
    assert "people dispute" not in text and "temperature scaling" not in text and "Temperature" not in card


def test_the_interval_over_writers_is_shown_where_it_is_known(tmp_path, monkeypatch):
    inputs(tmp_path)
    numbers = tmp_path / "metrics/evaluate.json"
    metrics = json.loads(numbers.read_text()) | {"accuracy_low_writers": 0.12345, "accuracy_high_writers": 0.98765}
    numbers.write_text(json.dumps(metrics))
    _, text, card = render(tmp_path, monkeypatch)
    assert re.search(r"; resampling whole writers:\s12.35% to 98.77%\.", text)
    assert "; resampling whole writers: 12.35% to 98.77%)." in card
    assert "| 95 % interval, resampling whole writers | 12.35% to 98.77% |" in card


def test_the_accuracy_on_undisputed_images_is_shown_where_some_are_disputed(tmp_path, monkeypatch):
    folder = inputs(tmp_path / "disputed", disputed=[0, 1])
    numbers = folder / "metrics/evaluate.json"
    numbers.write_text(json.dumps(json.loads(numbers.read_text()) | {"accuracy_undisputed": 0.54321}))
    others = json.loads(numbers.read_text())["images"] - 2
    _, text, card = render(folder, monkeypatch)
    assert f". Of the {others:,} whose label nobody disputes, 54.32%." in text
    assert f"| Accuracy on the {others:,} images whose label nobody disputes | 54.32% |" in card


@pytest.mark.parametrize("homepage", ["javascript:alert(1)", "", "https://example.org/ x", 'https://e.org/"><b>'])
def test_only_web_addresses_may_become_links(homepage):
    assert not is_web_address(homepage)


def test_names_are_not_taken_for_markup(tmp_path, monkeypatch):
    classes = ["<b>even</b>", "*odd* $x$ [a](b) | `c`"]
    _, text, card = render(inputs(tmp_path, classes=classes, title="A *data* set | <i>"), monkeypatch)
    assert "<b>even" not in text + card.replace("\\<", "") and "<i>" not in text
    assert r"\*odd\* \$x\$ \[a\](b) \| \`c\`" in card and r"A \*data\* set \| \<i\>" in card
    assert tables.cell("split_by_writer") == "split_by_writer" and tables.cell("__init__") == r"\_\_init\_\_"


def test_same_inputs_same_bytes(tmp_path):
    made = []
    inputs(tmp_path)
    for changes in (
        {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"},
        {
            "PYTHONHASHSEED": "2",
            "TZ": "Asia/Tokyo",
            "LC_ALL": "de_DE.UTF-8",
            "SOURCE_DATE_EPOCH": "86400",
            "MPLBACKEND": "pdf",
        },
    ):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
        subprocess.run([sys.executable, "-m", "stages.report"], cwd=tmp_path, env=environment, check=True)
        made.append([(tmp_path / "reports" / name).read_bytes() for name in ("index.html", "model_card.md")])
    assert made[0] == made[1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "changes",
    [
        {"perfect": True},
        {"epochs": 1},
        {"classes": FASHION},
        {"classes": KANA, "title": "くずし字"},
        {"classes": ["even", "odd|<b>"]},
        {"size": 8},
        {"suspects": 0},
        {"suspects_training": 0},
    ],
    ids=str,
)
def test_unusual_inputs_render(tmp_path, monkeypatch, changes):
    page, text, card = render(inputs(tmp_path, **changes), monkeypatch)
    assert not re.search(r"\bnan\b|\binf\b|None", text + card)
    if changes.get("perfect"):
        assert "every test image is recognised" in text
        assert not any("taken for" in alt for alt in page.pictures)
    for name in changes.get("classes", []):
        assert tables.cell(name) in card


def test_gallery_is_limited_and_surest_first(tmp_path, monkeypatch):
    inputs(tmp_path)
    limit = (tmp_path / "params.yaml").read_text().replace("gallery_images: 60", "gallery_images: 3")
    (tmp_path / "params.yaml").write_text(limit)
    page, text, _ = render(tmp_path, monkeypatch)
    assert sum("labelled" in alt for alt in page.pictures) == 3 + 2 and "The 3 most confident of" in text
    assert max(map(int, re.findall(r"(\d+) of [\d,]+ shown", text))) == 3
    rows = [
        {"index": "4", "label": "0", "predicted": "1", "confidence": "0.5"},
        {"index": "7", "label": "1", "predicted": "0", "confidence": "0.9"},
        {"index": "5", "label": "1", "predicted": "0", "confidence": "0.9"},
    ]
    probabilities = np.full((8, 10), 0.1)
    assert [row["index"] for row in tables.worst(rows, probabilities, DIGITS, 2)] == [5, 7]
    assert tables.worst(rows, probabilities, DIGITS, 0) == []


def test_each_mistake_names_the_class_that_came_second_and_its_number(tmp_path, monkeypatch):
    inputs(tmp_path)
    probabilities = np.load(tmp_path / "data/predictions/probabilities.npy")
    with (tmp_path / "metrics/mistakes.csv").open(newline="") as file:
        mistakes = list(csv.DictReader(file))
    _, text, _ = render(tmp_path, monkeypatch)
    captions = re.findall(r"<figcaption><b>(\d)</b> → <em>(\d)</em><br>[\d.]+%<br>(\d): ([\d.]+%)<br>test (\d+)<", text)
    assert len(captions) == min(60, len(mistakes)) > 10
    known = {row["index"]: (row["label"], row["predicted"]) for row in mistakes}
    for label, predicted, second, share, index in captions:
        assert (label, predicted) == known[index]
        order = probabilities[int(index)].argsort()
        assert [predicted, second] == [str(order[-1]), str(order[-2])]
        assert share == tables.percent(probabilities[int(index)][order[-2]])
    assert any(label != second for label, _, second, _, _ in captions)


def test_a_cell_of_the_confusion_matrix_shows_its_images_by_mouse_and_by_keyboard(tmp_path, monkeypatch, browser):
    monkeypatch.chdir(inputs(tmp_path))
    main()
    matrix = np.loadtxt(tmp_path / "data/predictions/confusion_matrix.csv", int, delimiter=",", skiprows=1)[:, 1:]
    actual, predicted = np.unravel_index((matrix - np.diag(matrix.diagonal())).argmax(), matrix.shape)
    with browser.new_page(java_script_enabled=False) as page:
        page.goto((tmp_path / "reports/index.html").as_uri())
        links, opened = page.locator("#confusion svg a"), page.locator(".cell:visible")
        assert links.count() == np.count_nonzero(matrix) and opened.count() == 0
        many = page.get_by_role("link", name=f"{actual} taken for {predicted}: {matrix[actual, predicted]}", exact=True)
        many.click()
        assert opened.locator("h3").inner_text() == f"{actual} taken for {predicted}"
        assert f"{cells.IN_CELL} of {matrix[actual, predicted]} shown, the most confident" in opened.inner_text()
        assert opened.locator("img").count() == cells.IN_CELL
        right = page.get_by_role("link", name=f"3 recognised: {matrix[3, 3]}", exact=True)
        right.focus()
        page.keyboard.press("Enter")
        assert opened.locator("h3").inner_text() == "3 recognised"
        page.get_by_role("link", name="Close").click()
        assert opened.count() == 0


def test_a_cell_shows_the_surest_mistakes_and_the_least_sure_right_images():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3], [0.45, 0.55]], np.float32)
    predictions = np.zeros(5, [("confidence", float), ("right", bool)])
    predictions["confidence"], predictions["right"] = probabilities.max(1), [True, True, True, False, False]
    mistakes = [{"index": "4", "label": "0", "predicted": "1", "confidence": "0.55"}]
    mistakes += [{"index": "3", "label": "1", "predicted": "0", "confidence": "0.7"}]
    found = cells.members(mistakes, predictions, probabilities)
    assert found == {(0, 0): [1, 0], (1, 1): [2], (0, 1): [4], (1, 0): [3]}


def test_the_images_of_all_cells_are_few_and_every_frequent_cell_has_one():
    matrix = np.arange(1, 401).reshape(20, 20)
    found = {(a, p): list(range(matrix[a, p])) for a in range(20) for p in range(20)}
    shown = {cell["place"]: len(cell["shown"]) for cell in cells.shown(matrix, found, list("abcdefghijklmnopqrst"), 60)}
    assert len(shown) == 400 and sum(shown.values()) == cells.IN_CELLS
    assert shown["19-18"] == shown["10-0"] == 1 and shown["0-1"] == shown["19-19"] == 0
    few = cells.shown(matrix[:2, :2], found, ["a", "b"], 60)
    assert [len(cell["shown"]) for cell in few] == [1, 2, 12, 12]
    assert [len(cell["shown"]) for cell in cells.shown(matrix[:2, :2], found, ["a", "b"], 3)] == [1, 2, 3, 3]


def test_refusing_the_least_sure_images_is_told_in_numbers(tmp_path, monkeypatch):
    inputs(tmp_path)
    with (tmp_path / "data/predictions/test.csv").open(newline="") as file:
        predictions = sorted(csv.DictReader(file), key=lambda row: float(row["confidence"]))
    _, text, _ = render(tmp_path, monkeypatch)
    for name, share in (("none", 0), ("1%", 0.01), ("3%", 0.03), ("5%", 0.05)):
        rest = predictions[round(share * len(predictions)) :]
        left = sum(row["label"] != row["predicted"] for row in rest)
        numbers = [str(len(predictions) - len(rest)), str(left), tables.percent(1 - left / len(rest))]
        cells_of_row = "".join(f"<td>{number}</td>" for number in numbers)
        assert f'<tr><th scope="row">{name}</th>{cells_of_row}</tr>' in text


def test_a_set_too_small_to_refuse_a_share_of_it_still_has_its_rows():
    predictions = np.array([(0.9, True), (0.3, False)], [("confidence", float), ("right", bool)])
    rows = tables.coverage_rows(predictions)
    assert {(row["refused"], row["mistakes"]) for row in rows} == {(0, 1)}
    assert "<svg" in pictures.coverage(predictions["confidence"], predictions["right"], rows)


def test_the_runner_up_of_a_tie_is_never_the_prediction():
    for predicted, second in ((0, "b"), (1, "a")):
        shares = np.array([0.5, 0.5, 0], np.float32)
        assert tables.runner_up(shares, predicted, ["a", "b", "c"]) == {"second": second, "confidence_second": 0.5}


@pytest.mark.parametrize("name", ["metrics/roc.csv", "models/model.tflite", "data/predictions/probabilities.npy"])
def test_missing_input_is_one_clear_line(tmp_path, monkeypatch, name):
    inputs(tmp_path)
    (tmp_path / name).unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{re.escape(name)} is missing.*dvc repro"):
        main()
    assert not (tmp_path / "reports").exists()


def test_robustness_is_shown_by_corruption_and_severity(tmp_path, monkeypatch):
    inputs(tmp_path)
    table = tmp_path / "metrics/robustness.csv"
    table.write_text(table.read_text().replace("blur,3,0.7", "blur,3,0.123"))
    page, text, card = render(tmp_path, monkeypatch)
    shown = [alt for alt in page.pictures if re.search(r"severity \d|unchanged", alt)]
    assert len(shown) == 7 * 6 and "blur, severity 3" in shown
    assert "12.3%" in text and "on 800 such images" in text
    assert re.search(r"noise does the least harm\s+\(70.00%\), blur the most \(58.46%\)", text)
    assert "| Accuracy on corrupted images, mean | 70.00% |" in card
    assert "| – rotation, severity 1 to 5 | 90.00% to 50.00% |" in card


def test_suspect_labels_of_test_and_training_images_have_a_gallery_each(tmp_path, monkeypatch):
    page, text, card = render(inputs(tmp_path, suspects=2, suspects_training=61), monkeypatch)
    suspects = [alt for alt in page.pictures if "the model says" in alt]
    assert suspects[:2] == [f"Test image {index}: labelled 0, the model says 1" for index in range(2)]
    assert suspects[2:4] == [
        "Validation image 0: labelled 1, the model says 0",
        "Train image 1: labelled 1, the model says 0",
    ]
    assert len(suspects) == 2 + 60
    assert "2 suspect labels." in text and "61 suspect labels, the first 60 of them shown." in text
    assert "train.folds=5" not in text
    assert "2 labels of the test images" in card and "61 labels of the training and validation images" in card


def test_a_suspect_is_shown_with_its_own_picture(tmp_path, monkeypatch):
    inputs(tmp_path, suspects=0, suspects_training=2)
    for part, level in (("train", 100), ("validation", 200)):
        np.save(tmp_path / f"data/prepared/{part}/images.npy", np.full((5, 28, 28), level, np.uint8))
    _, text, _ = render(tmp_path, monkeypatch)
    for name, level in (("Validation image 0", 200), ("Train image 1", 100)):
        picture = re.escape(data_address(np.full((28, 28), level, np.uint8)))
        assert re.search(f'src="{picture}" alt="{name}', text)


def test_without_folds_the_page_says_that_training_labels_were_not_checked(tmp_path, monkeypatch):
    page, text, card = render(inputs(tmp_path, suspects=0), monkeypatch)
    assert "These labels were not checked" in text and "dvc exp run -S train.folds=5" in text
    assert not any("the model says" in alt for alt in page.pictures) and text.count("No label is suspect.") == 1
    assert "no labels of the test images with confidence. Some" in card


def test_disputed_suspects_and_a_fitted_temperature_are_told_where_there_are_any(tmp_path, monkeypatch):
    inputs(tmp_path, suspects=4, disputed=[1, 3, 7])
    path = tmp_path / "metrics/train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": 1.23456}))
    _, text, card = render(tmp_path, monkeypatch)
    assert "2 of them are among the 3 images whose label people dispute." in text
    assert "divided by 1.235" in text and "| Temperature (logits are divided by it) | 1.235 |" in card


def test_numbers_as_written():
    assert [tables.size(number) for number in (999, 1000, 437_890, 999_499, 999_500)] == [
        "999 B",
        "1 kB",
        "438 kB",
        "999 kB",
        "1.0 MB",
    ]
    assert tables.percent(0.9962) == "99.62%"
    assert tables.percent(0.99999) == "99.99%" and tables.percent(1.0) == "100.00%"
    assert tables.written([True, 0.003, None, {"a": 1}]) == "true, 0.003, null, a: 1"


def test_parameters_are_those_of_the_stages():
    blocks = tables.parameter_blocks({"datasets": {}, "train": {"epochs": 3, "augmentation": {"shift": 2, "on": True}}})
    assert blocks == {"train": {"epochs": "3", "augmentation.shift": "2", "augmentation.on": "true"}}


def test_png_is_the_image():
    from io import BytesIO
    from urllib.request import urlopen

    from PIL import Image

    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with urlopen(data_address(image)) as content:
        assert (np.asarray(Image.open(BytesIO(content.read()))) == image).all()


def test_names_beyond_the_font_get_an_index():
    assert pictures.labels(FASHION) == FASHION
    assert pictures.labels(KANA)[0] == "0 お"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("metrics/roc.csv", b"\xff\xfe", "not a table in UTF-8"),
        (
            "metrics/roc.csv",
            b"class,true_positive_rate,false_positive_rate\n0,x,1\n",
            "line 2: true_positive_rate is 'x'",
        ),
        ("metrics/roc.csv", b"class,true_positive_rate,false_positive_rate\n0,inf,1\n", "true_positive_rate is 'inf'"),
        ("metrics/roc.csv", b"class,true_positive_rate,false_positive_rate\n0,1\n", "false_positive_rate is missing"),
        ("metrics/mistakes.csv", b"index,label,predicted,confidence\n0,99,0,1\n", "line 2: label is '99'"),
        ("metrics/robustness.csv", b"corruption,accuracy,images\na,1,9\na,1,9\nb,1,9\n", "the same number of rows"),
        ("metrics/evaluate.json", b"[]", "holds no keys"),
        ("metrics/evaluate.json", b"{}", "accuracy is missing"),
        ("metrics/evaluate.json", b"[" * 100_000, "not valid JSON"),
        ("metrics/train.json", b'{"loss": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        ("data/prepared/test/images.npy", b"no array", "no array that can be read"),
        ("models/model.tflite", b"", "is empty"),
        ("data/predictions/test.csv", b"index,label,predicted,confidence\n0,1,1,0.5\n", "has 1 rows for 897 test"),
        ("data/predictions/probabilities.npy", b"no array", "no array that can be read"),
        ("data/predictions/probabilities.npy", saved(np.zeros((897, 3), np.float32)), "is not float32 of 897 images"),
        ("data/predictions/probabilities.npy", saved(np.zeros((897, 10))), "is not float32 of 897 images"),
    ],
)
def test_damaged_input_is_one_clear_line(tmp_path, monkeypatch, name, content, line):
    inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(name)}.*{re.escape(line)}.*dvc repro"):
        main()


def own(folder, classes):
    """The data set `own` in data/raw below `folder`: scikit-learn's digits, described by hostile text alone."""
    digits = load_digits()
    (folder / "data/raw").mkdir(parents=True)
    for name, part in (("train", slice(None, -360)), ("t10k", slice(-360, None))):
        images = np.round(digits.images[part] * 255 / 16).astype(np.uint8)
        write_idx(folder / f"data/raw/{name}-images-idx3-ubyte", images)
        write_idx(folder / f"data/raw/{name}-labels-idx1-ubyte", digits.target[part].astype(np.uint8))
    catalog = yaml.safe_load((ROOT / "datasets.yaml").read_text(encoding="utf-8"))
    about = {
        "title": " ".join(HOSTILE),
        "licence": HOSTILE[2],
        "citation": " ".join(HOSTILE),
        "homepage": "javascript:hacked=1",
    }
    catalog = {"own": catalog["digits"] | {"about": about, "classes": classes}}
    (folder / "datasets.yaml").write_text(yaml.safe_dump(catalog), encoding="utf-8")
    raw = {"name": "own", "files": {text: text for text in HOSTILE}, "done": HOSTILE}
    (folder / "data/raw/dataset.json").write_text(json.dumps(raw))


def hostile(folder, monkeypatch):
    """By name, the HTML of every page whose texts are all hostile."""
    ranked = sorted(HOSTILE, key=len)  # a class has a hundred letters at most
    classes = [*ranked[12:], *(f"{short} {long}" for short, long in zip(ranked[:6], ranked[11:5:-1], strict=True))]
    inputs(folder / "report", classes=classes, series=True, suspects_training=2)
    inputs_of_report = {
        "data/prepared/dataset.json": {"split": HOSTILE[1]},
        "metrics/environment.json": {"precision": HOSTILE[11], "processor": HOSTILE[10], "versions": " ".join(HOSTILE)},
    }
    for name, values in inputs_of_report.items():
        path = folder / "report" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
    own(folder / "own", classes)
    for name in ("datasets.yaml", "data/raw/dataset.json"):
        shutil.copy(folder / "own" / name, folder / "report" / name)
    shutil.copy(folder / "report/params.yaml", folder / "own")
    parameters = yaml.safe_load((folder / "report/params.yaml").read_text(encoding="utf-8"))
    parameters["train"] |= {"model": HOSTILE[10], "seed": HOSTILE[11], **{text: text for text in HOSTILE}}
    (folder / "report/params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    (folder / "own/corrections.csv").write_bytes((ROOT / "corrections.csv").read_bytes())

    _, report, card = render(folder / "report", monkeypatch)
    monkeypatch.chdir(folder / "own")
    validate()
    about = {"title": HOSTILE[0], "licence": HOSTILE[1], "citation": HOSTILE[2], "homepage": "javascript:hacked=1"}
    refused = validate_page.render(about | {"files": {text: text for text in HOSTILE}}, HOSTILE)
    digit = Digit(1, HOSTILE[1], HOSTILE[2], np.zeros((28, 28), np.uint8))
    rows = tuple((text, text, text) for text in HOSTILE)
    sections = [
        Section("Rows", 1, tuple(HOSTILE), Table(("Name", "Number", "Text"), "cnt", rows)),
        Section("Source", 2, source="\n".join(HOSTILE), language="diff", digits=((HOSTILE[3], (digit,)),)),
    ]
    verdict = Verdict(tuple(HOSTILE), HOSTILE[0], "")
    return {
        "report": report,
        "model card": MarkdownIt("commonmark").enable("table").render(card),
        "data report": (folder / "own/reports/data/index.html").read_text(encoding="utf-8"),
        "refused data": refused,
        "review": review.html(verdict, HOSTILE, sections),
        "comment": MarkdownIt("commonmark").enable("table").render(review.markdown(verdict, HOSTILE, sections)),
    }


ACTIVE = """[...document.querySelectorAll("*")].filter(element =>
    ["SCRIPT", "IFRAME", "INPUT", "OBJECT"].includes(element.tagName)
    || [...element.attributes].some(({name, value}) => /^on/i.test(name) || /^\\s*javascript:/i.test(value))
).map(element => element.outerHTML.slice(0, 99))"""


def test_hostile_text_is_shown_on_every_page_and_runs_on_none(tmp_path, monkeypatch, browser):
    texts = hostile(tmp_path, monkeypatch)
    assert Page(texts["report"]).links == ["model_card.md", "data/index.html"]
    with browser.new_page(viewport={"width": 390, "height": 844}) as page:
        dialogs = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.set_content("".join(f"<p>{text}</p>" for text in HOSTILE))
        assert dialogs and page.evaluate("window.hacked") == 1 and page.evaluate(ACTIVE)
        dialogs.clear()
        page.evaluate("delete window.hacked")
        for name, text in texts.items():
            (tmp_path / "page.html").write_text(text, encoding="utf-8")
            page.goto((tmp_path / "page.html").as_uri())
            assert (name, page.evaluate(ACTIVE)) == (name, [])
            assert (name, page.evaluate("window.hacked"), dialogs) == (name, None, [])
            seen = " ".join(page.evaluate("document.body.textContent").replace("\u200b", "").split())
            assert (name, [each for each in HOSTILE if each not in seen]) == (name, [])
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert name in ("model card", "comment") or (name, wide) == (name, 390)
            scrolled = (
                "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth).length"
            )
            assert name != "review" or page.evaluate(scrolled) == 0
            if name == "data report":
                known = page.locator("td:text-is('known'):visible")
                assert page.get_by_text("8 more hold").is_visible() and known.count() == 0
                page.get_by_text("8 more hold").click()
                assert known.count() == 8

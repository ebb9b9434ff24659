"""The whole pipeline under DVC, run once in a clone without network, and what DVC says of it afterwards."""

import json
from itertools import pairwise

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("pipeline")
STAGES = ["download", "validate", "preprocess", "train", "evaluate", "report"]


def outputs(folder):
    """The paths that dvc.yaml declares as outputs, metrics and plots of a stage."""
    for stage in yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values():
        for kind in ("outs", "metrics", "plots"):
            for entry in stage.get(kind, []):
                yield entry if isinstance(entry, str) else next(iter(entry))


@pytest.fixture
def pipeline(launched):
    """The clone in which the pipeline has run; a test that changes a parameter reproduces it."""
    return launched[0]


def test_every_declared_output_is_there_and_is_about_the_digits(pipeline):
    declared = list(outputs(pipeline.folder))
    assert len(declared) > 15
    for path in declared:
        target = pipeline.folder / path
        assert any(target.iterdir()) if target.is_dir() else target.stat().st_size, path
    assert json.loads((pipeline.folder / "data/raw/dataset.json").read_text())["name"] == "digits"
    assert sum(json.loads((pipeline.folder / "data/prepared/dataset.json").read_text())["images"].values()) == 1797
    title = yaml.safe_load((pipeline.folder / "datasets.yaml").read_text())["digits"]["about"]["title"]
    for page in ("reports/data/index.html", "reports/index.html", "reports/model_card.md", "reports/draw.html"):
        assert title in (pipeline.folder / page).read_text()


def test_a_second_run_runs_nothing(pipeline):
    stages, output = pipeline.reproduced()
    assert stages == []
    assert "up to date" in output
    assert "up to date" in pipeline.dvc("status", "dvc.yaml")


def test_git_sees_the_new_numbers_and_no_stray_file(pipeline):
    status = pipeline.well("git", "status", "--porcelain", "--untracked-files=all").splitlines()
    changed = {line[3:] for line in status}
    numbers = {path for path in outputs(pipeline.folder) if path.startswith("metrics/")}
    assert changed >= {"dvc.lock", "params.yaml", "metrics/evaluate.json", "metrics/mistakes.csv"}
    assert changed <= {"dvc.lock", "params.yaml"} | numbers


def test_dvc_shows_the_metrics(pipeline):
    shown = json.loads(pipeline.dvc("metrics", "show", "--json"))[""]["data"]
    assert 0.5 < shown["metrics/evaluate.json"]["data"]["accuracy"] <= 1
    assert shown["metrics/train.json"]["data"]["epochs"] == 2
    assert shown["metrics/validate.json"]["data"]["success"] is True
    assert "accuracy" in pipeline.dvc("metrics", "diff")


def test_dvc_tells_the_changed_parameters(pipeline):
    changed = json.loads(pipeline.dvc("params", "diff", "--json"))["params.yaml"]
    assert changed["download.dataset"] == {"old": "mnist", "new": "digits"}


@pytest.mark.parametrize("command", ["show", "diff"])
def test_dvc_plots_draw_every_plot_without_a_network(pipeline, tmp_path, browser, command):
    pipeline.dvc("plots", command, "--out", str(tmp_path))
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    declared = yaml.safe_load((pipeline.folder / "dvc.yaml").read_text())
    titles = [next(iter(plot)) for plot in declared["plots"]]
    titles += [
        next(iter(plot.values()))["title"] for stage in declared["stages"].values() for plot in stage.get("plots", [])
    ]
    assert len(titles) > 7
    assert [title for title in titles if title not in html] == []
    with browser.new_context(offline=True) as context, context.new_page() as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "index.html").as_uri())
        page.wait_for_function(
            "count => [...document.querySelectorAll('canvas')].filter(c => c.width && c.height).length == count",
            arg=len(titles),
        )
        assert asked == [page.url]


def test_the_stages_hang_together_in_one_graph(pipeline):
    graph = pipeline.dvc("dag", "--dot")
    for before, after in pairwise(STAGES):
        assert f'"{before}" -> "{after}"' in graph
    assert '"train" -> "package"' in graph


def test_a_change_of_the_report_reruns_only_the_report(pipeline):
    pipeline.change(lambda values: values["report"].update(gallery_images=3))
    assert pipeline.reproduced()[0] == ["report"]


def test_a_change_of_another_data_set_reruns_nothing(pipeline):
    pipeline.change(lambda catalog: catalog["kmnist"]["about"].update(title="Cursive"), "datasets.yaml")
    assert pipeline.reproduced()[0] == []


def test_mistaken_parameters_stop_the_pipeline_with_their_line(clone):
    here = clone()
    here.change(lambda values: values["download"].update(dataset="digits", attempts=0))
    ended = here.python("-m", "dvc", "repro")
    assert ended.returncode != 0
    assert "download: params.yaml: download.attempts is 0, must be greater than or equal to 1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_a_source_the_pipeline_fails_with_one_line_and_no_other_data(clone, tmp_path):
    here = clone()
    ended = here.python("-m", "dvc", "repro", MNIST_MIRROR=str(tmp_path))
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("download: no source delivers mnist")]
    assert str(tmp_path) in line
    assert "http://127.0.0.1:9/" in line
    assert "set MNIST_MIRROR to" in line
    assert "dvc exp run -S download.dataset=digits" in line
    assert not (here.folder / "data" / "raw").exists()

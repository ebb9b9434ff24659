"""`make resolve`: real merges of branches whose pipelines have run, on the embedded digits."""

import pytest

from helpers.clone import NOBODY, Clone

pytestmark = pytest.mark.xdist_group("settled")


def cloned(origin, folder, environment):
    """A clone of `origin` that shares its cache, as colleagues on one machine may."""
    origin.well("git", "clone", "--quiet", str(origin.folder), str(folder))
    made = Clone(folder, environment | NOBODY)
    cache, config = origin.folder / ".dvc/cache", origin.folder / ".dvc/config.local"
    text = config.read_text() if config.exists() else f"[cache]\n    dir = {cache}\n"
    (made.folder / ".dvc/config.local").write_text(text)
    return made


def branch(project, name, change=None, file="params.yaml", rerun=(), write=()):
    """Make branch `name` at `start`: change parameters, run these pipelines, write files, commit."""
    project.well("git", "switch", "--quiet", "-c", name, "start")
    if change:
        project.change(change, file)
    for pipeline in rerun:
        project.dvc("repro", pipeline)
    for path, text in dict(write).items():
        (project.folder / path).write_text(text)
    project.commit()


@pytest.fixture(scope="module")
def branched(settled, environment, tmp_path_factory):
    """A repository with a branch `training`, whose model is another, and `scoring`, whose scores and report are."""
    made = cloned(settled, tmp_path_factory.mktemp("branched") / "project", environment)
    made.well("git", "branch", "start")

    def scoring(values):
        values["evaluate"]["reliability_bins"] = 9
        values["report"]["gallery_images"] = 20

    branch(made, "scoring", scoring, rerun=["dvc.yaml", "comparison/dvc.yaml"])
    branch(made, "training", lambda values: values["train"].update(epochs=1), rerun=["dvc.yaml"])
    return made


@pytest.fixture
def project(branched, environment, tmp_path):
    """A clone that has these branches, on `training`."""
    return with_branches(branched, tmp_path, environment)


def with_branches(branched, folder, environment):
    made = cloned(branched, folder / "project", environment)
    for name in ("start", "scoring", "training"):
        made.well("git", "switch", "--quiet", name)
    return made


@pytest.fixture(scope="module")
def merged(branched, environment, tmp_path_factory):
    """A clone in which `scoring` has been merged into `training`."""
    made = with_branches(branched, tmp_path_factory.mktemp("merged"), environment)
    found = conflicts(made, "merge", "scoring")
    assert {"dvc.lock", "metrics/reliability.csv"} <= found
    assert "params.yaml" not in found
    (made.folder / "metrics/scratch.txt").touch()  # somebody's, and not for this commit

    *_, comparison, last = resolve(made)
    assert comparison.startswith("resolve: the comparison was not in conflict and not run")
    assert last == "resolve: next, `git merge --continue`"
    status = made.well("git", "status", "--porcelain").splitlines()
    assert status.pop() == "?? metrics/scratch.txt"
    assert {line[:3] for line in status} == {"M  "}  # all of it staged
    assert not made.well("git", "diff", "--name-only", "--diff-filter=U")
    made.well("git", "merge", "--continue")
    (made.folder / "metrics/scratch.txt").unlink()
    return made


def conflicts(project, *command):
    """Run the Git command, which must stop with conflicts; the files in conflict."""
    assert project.run("git", *command).returncode != 0
    return set(project.well("git", "diff", "--name-only", "--diff-filter=U").split())


def resolve(project, code=0):
    """The lines that `make resolve` itself prints."""
    ended = project.python("-m", "tools.resolve")
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return [line for line in (ended.stdout + ended.stderr).splitlines() if line.startswith("resolve: ")]


def refused(project):
    """The one line with which it refuses; it must not have touched anything."""
    before = project.well("git", "status", "--porcelain"), (project.folder / "dvc.lock").read_bytes()
    (line,) = resolve(project, 1)
    assert (project.well("git", "status", "--porcelain"), (project.folder / "dvc.lock").read_bytes()) == before
    return line.removeprefix("resolve: ")


def test_a_merge_gets_the_numbers_of_the_merged_parameters(merged):
    assert merged.python("-m", "tools.fresh").returncode == 0
    lock = (merged.folder / "dvc.lock").read_text()
    assert all(value in lock for value in ("epochs: 1\n", "reliability_bins: 9\n", "gallery_images: 20\n"))
    merged.dvc("repro", "--force", "--no-run-cache", "--downstream", "train")
    assert merged.well("git", "status", "--porcelain") == ""  # the same bytes, all three stages made anew


@pytest.mark.parametrize("command", ["rebase", "cherry-pick"])
def test_a_rebase_or_a_cherry_pick_ends_with_what_a_merge_does(project, merged, command):
    assert "dvc.lock" in conflicts(project, command, "scoring")
    assert resolve(project)[-1] == f"resolve: next, `git {command} --continue`"
    project.well("git", command, "--continue")
    tree = ("git", "rev-parse", "HEAD^{tree}")
    assert project.well(*tree) == merged.well(*tree)


def test_what_a_person_must_decide_comes_first(project):
    branch(project, "eight", lambda values: values["evaluate"].update(reliability_bins=8), rerun=["dvc.yaml"])
    project.well("git", "switch", "--quiet", "scoring")
    assert {"params.yaml", "dvc.lock"} <= conflicts(project, "merge", "eight")
    asked = "params.yaml: no stage writes these; finish and `git add` them, then run this again"
    assert refused(project) == asked

    project.well("git", "add", "params.yaml")  # with the markers still in it
    assert refused(project) == asked

    project.well("git", "checkout", "eight", "--", "params.yaml")
    with (project.folder / "params.yaml").open("a") as file:
        file.write("# not staged\n")
    assert refused(project) == asked

    project.well("git", "add", "params.yaml")
    resolve(project)
    project.well("git", "merge", "--continue")
    assert project.well("git", "diff", "eight", "--", "dvc.lock", "metrics") == ""


def test_where_the_pipeline_stops_it_can_be_run_again(project):
    conflicts(project, "merge", "scoring")
    page = project.folder / "stages/report/__main__.py"
    whole = page.read_text()
    page.write_text('raise SystemExit("report: broken")\n')
    project.well("git", "add", "stages")
    assert resolve(project, 1)[-1].startswith("resolve: the pipeline stopped, the reason is above")
    assert "dvc.lock" in project.well("git", "diff", "--name-only", "--diff-filter=U")

    page.write_text(whole)
    project.well("git", "add", "stages")
    resolve(project)
    project.well("git", "merge", "--continue")
    assert project.python("-m", "tools.fresh").returncode == 0


def test_the_comparison_runs_where_its_files_are_in_conflict(project):
    for name, value in (("one", 0.91), ("two", 0.92)):
        branch(
            project,
            name,
            lambda values, published={name: value}: values.update(published=published),
            file="comparison/params.yaml",
            rerun=["comparison/dvc.yaml"],
        )
    assert {"comparison/dvc.lock", "comparison/params.yaml"} <= conflicts(project, "merge", "one")
    project.well("git", "checkout", "one", "--", "comparison/params.yaml")
    lines = resolve(project)
    assert lines[:2] == ["resolve: dvc repro dvc.yaml", "resolve: dvc repro comparison/dvc.yaml"]
    project.well("git", "merge", "--continue")
    assert project.python("-m", "tools.fresh").returncode == 0
    assert project.well("git", "diff", "one") == ""


def test_a_measurement_is_not_a_stage_output(project):
    for name in ("one", "two"):
        branch(project, name, write={"metrics/noise.json": f'{{"about": "{name}"}}\n'})
    assert conflicts(project, "merge", "one") == {"metrics/noise.json"}
    assert "measure it anew with `make noise`" in refused(project)
    project.well("git", "checkout", "--theirs", "metrics/noise.json")
    project.well("git", "add", "metrics")
    assert resolve(project) == ["resolve: no file is in conflict; `make fresh` tells whether the locks fit"]


def test_a_measurement_in_conflict_does_not_hold_up_the_rest(project):
    (project.folder / "metrics/noise.json").write_text('{"about": "training"}\n')
    project.commit()
    project.well("git", "switch", "--quiet", "scoring")
    (project.folder / "metrics/noise.json").write_text('{"about": "scoring"}\n')
    project.commit()
    assert {"dvc.lock", "metrics/noise.json"} <= conflicts(project, "merge", "training")
    *_, last = resolve(project, 1)
    assert "`git add metrics/noise.json` and `git merge --continue`" in last
    assert project.well("git", "diff", "--name-only", "--diff-filter=U") == "metrics/noise.json\n"


def test_a_persons_own_file_beside_the_metrics_is_left_to_them(project):
    for name in ("one", "two"):
        branch(project, name, write={"metrics/notes.md": f"{name}\n"})
    assert conflicts(project, "merge", "one") == {"metrics/notes.md"}
    assert refused(project).startswith("metrics/notes.md: no stage writes these")


def test_outside_a_repository_it_says_so(project, tmp_path):
    ended = Clone(tmp_path, project.environment).python(
        "-m", "tools.resolve", PYTHONPATH=str(project.folder), GIT_CEILING_DIRECTORIES=str(tmp_path)
    )
    assert ended.returncode == 1
    assert ended.stderr == f"resolve: {tmp_path.name}/ is not in a Git repository: run it in a clone\n"

"""Continuous integration: that its files are valid and safe, and that each step is a command of this repository."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools import kind

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
NAMES = [path.name for path in WORKFLOWS]
MAY = {"comment.yml": {"actions": "read", "contents": "read", "pull-requests": "write"}}  # the others: read the code


def command(name):
    """The path of a linter that requirements-dev.txt installs; for some platforms there is no wheel."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return found or pytest.skip(f"{name} is not installed")


def zizmor(folder):
    offline = [command("zizmor"), "--offline", "--no-progress", "--persona=auditor", "--strict-collection", folder]
    return subprocess.run(offline, capture_output=True, text=True)


def actionlint(files):
    return subprocess.run([command("actionlint"), "-no-color", *files], capture_output=True, text=True)


def jobs(text):
    return yaml.safe_load(text)["jobs"].values()


def steps(text):
    return [step for job in jobs(text) for step in job["steps"]]


def unpinned(name, text):
    """Actions that are not a full commit with its version behind it: a tag can be moved to other code."""
    pinned = re.compile(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    return [used for used in re.findall(r"uses: *(.*)", text) if not pinned.fullmatch(used)]


def too_mighty(name, text):
    """Jobs that may do more, or less, than they need, secrets and triggers that let a stranger at them."""
    found = [] if yaml.safe_load(text)["permissions"] == {} else ["the workflow's own permissions"]
    needed = MAY.get(name, {"contents": "read"})
    found += [str(job.get("permissions")) for job in jobs(text) if job.get("permissions") != needed]
    found += re.findall(r"\bpull_request_target\b", text)
    return found + (re.findall(r"\bsecrets\b.*", text) if name != "main.yml" else [])


def unbounded(name, text):
    return [job["name"] for job in jobs(text) if not 0 < job.get("timeout-minutes", 0) <= 120]


def checkouts(name, text):
    """Checkouts that keep the token, lack the history or, where the token can write, take a stranger's code; also those
    of GitHub's merge of a pull request, of which the base is another commit."""
    options = [step["with"] for step in steps(text) if step.get("uses", "").startswith("actions/checkout@")]
    ours = {"ref": "${{ github.event.repository.default_branch }}", "persist-credentials": False}
    theirs = {"ref": "${{ github.event.pull_request.head.sha }}"} if name == "pull-request.yml" else {}
    wanted = ours if name == "comment.yml" else theirs | {"fetch-depth": 0, "persist-credentials": False}
    return [option for option in options if option != wanted] or ([] if options else ["none"])


def injections(name, text):
    """Expressions in scripts: GitHub pastes their value, a branch's name for instance, into the script."""
    return [step["run"] for step in steps(text) if "${{" in step.get("run", "")]


def not_on_a_laptop(name, text):
    return unknown([step["run"] for step in steps(text) if "run" in step])


def unknown(scripts):
    """Lines that are neither a target of the Makefile nor a module of this repository."""
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = [line.split() for script in scripts for line in script.splitlines()]
    return [
        " ".join(words)
        for words in lines
        if not (len(words) == 2 and words[0] == "make" and words[1] in targets)
        and not (words[:2] == ["python3", "-m"] and importlib.util.find_spec(words[2]))
    ]


CHECKS = [unpinned, too_mighty, unbounded, checkouts, injections, not_on_a_laptop]
PLANTED = [
    (unpinned, "pull-request.yml", r"@[0-9a-f]{40} # v7\.0\.1", "@v7"),
    (unpinned, "comment.yml", r" # v8\.0\.1", ""),
    (too_mighty, "pull-request.yml", "contents: read", "contents: write"),
    (too_mighty, "main.yml", r"permissions: \{\}\n", "permissions: read-all\n"),
    (too_mighty, "pull-request.yml", "pull_request:", "pull_request_target:"),
    (too_mighty, "pull-request.yml", "BASE: .*", "KEY: ${{ secrets.KEY }}"),
    (unbounded, "pull-request.yml", " +timeout-minutes: 45\n", ""),
    (checkouts, "main.yml", "persist-credentials: false", "persist-credentials: true"),
    (checkouts, "pull-request.yml", "fetch-depth: 0 # the review", "fetch-depth: 1 # the review"),
    (checkouts, "pull-request.yml", " +ref: .*\n", ""),
    (checkouts, "comment.yml", r"ref: .*", "ref: ${{ github.event.workflow_run.head_sha }}"),
    (injections, "pull-request.yml", "run: make review", "run: make review BASE=${{ github.base_ref }}"),
    (not_on_a_laptop, "pull-request.yml", "run: make review", "run: make verdict"),
    (not_on_a_laptop, "comment.yml", r"review\.comment", "review.coment"),
    (not_on_a_laptop, "main.yml", "run: make push", "run: dvc push"),
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("path", WORKFLOWS, ids=NAMES)
def test_the_workflow_keeps_to(check, path):
    assert check(path.name, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("check", "name", "pattern", "fault"), PLANTED)
def test_the_check_sees_what_it_is_there_for(check, name, pattern, fault):
    text = (ROOT / ".github/workflows" / name).read_text(encoding="utf-8")
    assert re.search(pattern, text)
    assert check(name, re.sub(pattern, fault, text, count=1)) != []


def test_every_workflow_that_is_meant_is_there():
    assert NAMES == ["audit.yml", "comment.yml", "main.yml", "pull-request.yml"]


def test_zizmor_finds_nothing():
    ended = zizmor(ROOT / ".github")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    ignored = re.findall(
        r"zizmor: ignore\[(.*?)\](.*)", "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    )
    assert [(rule, bool(reason.strip())) for rule, reason in ignored] == [("dangerous-triggers", True)]


@pytest.mark.parametrize(
    ("name", "pattern", "fault", "rule"),
    [
        ("pull-request.yml", "  pull_request:", "  pull_request_target:", "dangerous-triggers"),
        ("pull-request.yml", "run: make review", "run: make review BASE=${{ github.head_ref }}", "template-injection"),
        ("main.yml", "environment: .*", "", "secrets-outside-env"),
    ],
)
def test_zizmor_sees_a_planted_fault(tmp_path, name, pattern, fault, rule):
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    path = tmp_path / ".github/workflows" / name
    path.write_text(re.sub(pattern, fault, path.read_text(encoding="utf-8")), encoding="utf-8")
    ended = zizmor(tmp_path / ".github")
    assert ended.returncode != 0
    assert rule in ended.stdout


def test_actionlint_finds_nothing():
    ended = actionlint(WORKFLOWS)
    assert ended.returncode == 0, ended.stdout


def test_actionlint_sees_a_planted_fault(tmp_path):
    text = (ROOT / ".github/workflows/pull-request.yml").read_text(encoding="utf-8")
    (tmp_path / "planted.yml").write_text(
        text.replace("outputs.cache-hit", "outputs.hit").replace("base_ref", "bass_ref")
    )
    ended = actionlint([tmp_path / "planted.yml"])
    assert ended.returncode != 0
    assert "bass_ref" in ended.stdout


def test_the_cache_of_one_kind_of_machine_is_never_given_to_another():
    for name in ("main.yml", "pull-request.yml"):
        [restore] = [
            step for step in steps((ROOT / ".github/workflows" / name).read_text()) if step.get("id") == "cache"
        ]
        key, prefix = restore["with"]["key"], restore["with"]["restore-keys"]
        assert key.startswith(prefix)
        kinds = [f"x86_64-with-{name}" for name in ("AMX", "AVX-512-BF16", "AVX-512", "AVX2")] + ["x86_64", "aarch64"]
        prefixes = [prefix.replace("${{ steps.machine.outputs.kind }}", kind) for kind in kinds]
        keys = [key.replace("${{ steps.machine.outputs.kind }}", kind) for kind in kinds]
        assert [sum(key.startswith(prefix) for prefix in prefixes) for key in keys] == [1] * len(kinds)


@pytest.mark.parametrize("name", ["main.yml", "pull-request.yml"])
def test_a_restored_cache_is_verified_before_it_is_used_and_damage_stops_nothing(name):
    [job] = [job for job in jobs((ROOT / ".github/workflows" / name).read_text()) if "dvc-" in str(job)]
    places = {step.get("id") or step.get("run"): place for place, step in enumerate(job["steps"])}
    assert places["cache"] < places["make verify"] < places["make reproduce"]
    verify = job["steps"][places["make verify"]]
    assert verify["if"] == "steps.cache.outputs.cache-matched-key != ''" and verify["continue-on-error"] is True


def test_gitlab_verifies_a_restored_cache_too():
    pipeline = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))[".pipeline"]
    assert pipeline["cache"] and pipeline["before_script"] == ["make verify || true"]


def test_the_kind_of_the_machine_is_an_output_of_its_step(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    kind.main()
    printed = capsys.readouterr().out.strip()
    assert (tmp_path / "output").read_text() == f"kind={printed.replace(' ', '-')}\n"


def test_the_base_is_run_after_the_branch_and_before_the_review_and_the_cache_keeps_it():
    text = (ROOT / ".github/workflows/pull-request.yml").read_text(encoding="utf-8")
    places = [text.index(each) for each in ("make reproduce", "make base", "name: Save the DVC cache", "make review")]
    assert places == sorted(places)
    script = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))["review"]["script"]
    assert script == ["make reproduce", "make base", "make review"]


def test_the_run_is_the_one_that_the_comment_waits_for():
    waits = yaml.safe_load((ROOT / ".github/workflows/comment.yml").read_text(encoding="utf-8"))[True]["workflow_run"]
    run = (ROOT / ".github/workflows/pull-request.yml").read_text(encoding="utf-8")
    assert waits["workflows"] == [yaml.safe_load(run)["name"]]
    assert "name: comment\n" in run


def test_a_pull_request_is_judged_anew_when_its_commits_its_base_or_its_labels_change():
    text = (ROOT / ".github/workflows/pull-request.yml").read_text(encoding="utf-8")
    types = yaml.safe_load(text)[True]["pull_request"]["types"]
    assert {*types} == {"opened", "reopened", "synchronize", "edited", "labeled", "unlabeled"}


@pytest.mark.parametrize(("file", "pipeline"), [(".github/workflows/main.yml", "pipeline"), (".gitlab-ci.yml", "main")])
def test_a_stale_lock_on_main_stops_no_rerun(file, pipeline):
    everything = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    jobs = everything.get("jobs", everything)
    commands = {
        name: [step.get("run") for step in job["steps"]] if "steps" in job else job["script"]
        for name, job in jobs.items()
        if isinstance(job, dict) and {"steps", "script"} & job.keys()
    }
    assert "make reproduce" in commands[pipeline] and "make fresh" not in commands[pipeline]
    assert not {"needs", "stage"} & jobs[pipeline].keys()
    assert any("make fresh" in script for script in commands.values())


def test_the_label_is_the_same_everywhere():
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("docs/pull-requests.md", ".gitlab-ci.yml")]
    texts += [(ROOT / ".github/workflows/pull-request.yml").read_text(encoding="utf-8")]
    assert all("accept-worse" in text for text in texts)


def gitlab(text):
    """Lines of .gitlab-ci.yml that are no target of the Makefile."""
    everything = yaml.safe_load(text)
    found = [job["script"] for job in everything.values() if isinstance(job, dict) and "script" in job]
    assert len(found) == 3
    return unknown([line for script in found for line in script])


def test_gitlab_runs_targets_of_the_makefile_on_the_whole_history():
    text = (ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8")
    assert gitlab(text) == []
    assert gitlab(text.replace("make push", "make pull")) == ["make pull"]
    assert yaml.safe_load(text)["variables"]["GIT_DEPTH"] == "0"


def test_gitlab_makes_one_pipeline_of_a_push():
    rules = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))["workflow"]["rules"]
    *of_merge_requests, of_main = [rule["if"] for rule in rules]
    assert all(rule.startswith('$CI_PIPELINE_SOURCE == "merge_request_event"') for rule in of_merge_requests)
    assert of_main == "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"


def test_every_module_that_the_makefile_runs_is_there():
    modules = re.findall(r"python -m ([\w.]+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    for module in {*modules} - {"venv", "pip", "pytest"}:
        found = importlib.util.find_spec(module)
        assert found, module
        assert not found.submodule_search_locations or importlib.util.find_spec(f"{module}.__main__"), module


@pytest.fixture
def project(tmp_path, environment):
    """A function that runs commands in a repository with this Makefile and a review that says how it is called."""
    if not shutil.which("make"):
        pytest.skip("needs make")
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name, content in {
        ".venv/bin/.installed": "",
        "review/__main__.py": "import sys\nprint(sys.argv[1:])\nsys.exit('worse' in sys.argv)\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")

    known = {key: value for key, value in environment.items() if key not in {"BASE", "OVERRIDE"}}

    def run(*words, **variables):
        return subprocess.run(words, cwd=tmp_path, env=known | variables, capture_output=True, text=True, timeout=100)

    run.folder = tmp_path
    run("git", "init", "--quiet", "--initial-branch=main")
    run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "-m", "one")
    return run


GIVEN = ["--seconds", "reports/review/seconds.jsonl"]


def test_the_review_is_against_the_base_that_is_named_if_one_is(project):
    assert project("make", "review").stdout == f"{[*GIVEN, '--override=']}\n"
    assert project("make", "review", BASE="").stdout == f"{[*GIVEN, '--override=']}\n"
    assert project("make", "review", "BASE=v1").stdout == f"{[*GIVEN, '--override=', '--', 'v1']}\n"
    assert project("make", "review", BASE="v2").stdout == f"{[*GIVEN, '--override=', '--', 'v2']}\n"


def test_the_review_gets_what_continuous_integration_knows(project):
    ended = project("make", "review", BASE="origin/main", OVERRIDE="the label accept-worse")
    assert ended.stdout == f"{[*GIVEN, '--override=the label accept-worse', '--', 'origin/main']}\n"


def test_the_verdict_is_the_exit_code(project):
    assert project("make", "review", BASE="worse").returncode != 0
    assert project("make", "review", BASE="better").returncode == 0


def test_the_comparison_is_with_the_base_that_is_named_or_the_last_commit(project):
    (project.folder / "review/compare.py").write_text("import sys\nprint(sys.argv[1:])\n", encoding="utf-8")
    assert project("make", "compare").stdout == "['--', 'HEAD']\n"
    assert project("make", "compare", BASE="--json").stdout == "['--', '--json']\n"


def test_the_base_to_run_is_that_of_the_review(project):
    (project.folder / "tools").mkdir()
    (project.folder / "tools/base.py").write_text("import sys\nprint(sys.argv[1:])\n", encoding="utf-8")
    assert project("make", "base").stdout == "[]\n"
    assert project("make", "base", BASE="--help").stdout == "['--', '--help']\n"


@pytest.mark.parametrize("words", ["$(touch planted)", "`touch planted`", "'; touch planted; '", '"; touch planted; "'])
def test_a_branch_or_a_reason_is_no_command(project, words):
    for variables in ({"BASE": words}, {"BASE": "main", "OVERRIDE": words}):
        ended = project("make", "review", **variables)
        assert words in ended.stdout or repr(words)[1:-1] in ended.stdout
    assert not (project.folder / "planted").exists()


def test_a_base_or_a_reason_that_looks_like_an_option_is_none(project):
    ended = project("make", "review", BASE="--help", OVERRIDE="--output=planted")
    assert ended.stdout == f"{[*GIVEN, '--override=--output=planted', '--', '--help']}\n"

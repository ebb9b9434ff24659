"""The files that keep habits: they are valid, and what they name exists in this repository."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin")
TARGETS = set(re.findall(r"^([\w./-]+):", MAKEFILE, re.MULTILINE))
FORMS = [ROOT / ".github/ISSUE_TEMPLATE" / name for name in ("bug.yml", "feature.yml")]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def hooks():
    return [hook for repo in yaml.safe_load(text(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]]


def owned():
    lines = [line.split() for line in text(".github/CODEOWNERS").splitlines() if line and not line.startswith("#")]
    return {pattern: owners for pattern, *owners in lines}


@pytest.mark.parametrize(
    "name", [".pre-commit-config.yaml", ".devcontainer/devcontainer.json", ".github/pull_request_template.md"]
)
def test_every_make_target_that_is_named_exists(name):
    named = re.findall(r"(?:^|[`\" ])make ([\w./-]+)", text(name), re.MULTILINE)
    assert named and set(named) <= TARGETS


def test_every_hook_is_local_and_pinned():
    config = yaml.safe_load(text(".pre-commit-config.yaml"))
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert len({hook["id"] for hook in hooks()}) == len(hooks())
    for hook in hooks():
        assert hook["language"] in ("system", "fail", "python")
        packages = hook.get("additional_dependencies", [])
        assert (hook["language"] == "python") == bool(packages)
        assert all(re.fullmatch(r"[\w-]+==[\d.]+", package) for package in packages)
        assert set(hook.get("stages", [])) <= set(config["default_install_hook_types"])


@pytest.mark.parametrize(
    "name", ["metrics/evaluate.json", "dvc.lock", "comparison/dvc.lock", "params.yaml", "datasets.yaml"]
)
def test_no_hook_rewrites_what_dvc_writes(name):
    assert re.search(yaml.safe_load(text(".pre-commit-config.yaml"))["exclude"], name)


@pytest.mark.parametrize("name", ["tools/check.py", "README.md", "dvc.yaml", "metrics.py", "stages/train/params.py"])
def test_hooks_see_what_people_write(name):
    assert not re.search(yaml.safe_load(text(".pre-commit-config.yaml"))["exclude"], name)


def test_every_path_with_an_owner_exists():
    for pattern, owners in owned().items():
        assert pattern.startswith("/") and list(ROOT.glob(pattern.strip("/"))), pattern
        assert (ROOT / pattern.strip("/")).is_dir() == pattern.endswith("/")
        assert owners and all(owner.startswith("@") for owner in owners)


def test_all_code_that_a_review_may_import_has_an_owner():
    packages = {f"/{path.parent.name}/" for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(owned())


def test_the_container_is_a_python_that_the_pins_support():
    container = json.loads(text(".devcontainer/devcontainer.json"))
    assert re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:3\.1[123]-\w+", container["image"])
    assert len(container["customizations"]["vscode"]["extensions"]) == 4


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_is_one(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"] and form["description"]
    fields = [field["id"] for field in form["body"]]
    assert len(set(fields)) == len(fields)
    assert all(field["type"] == "textarea" and field["attributes"]["label"] for field in form["body"])
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_the_issue_forms_are_configured():
    assert yaml.safe_load(text(".github/ISSUE_TEMPLATE/config.yml"))["blank_issues_enabled"] is True


def test_the_changelog_has_an_open_section_and_dated_versions_in_order():
    first, *versions = re.findall(r"^## (.*)$", text("CHANGELOG.md"), re.MULTILINE)
    assert first == "[Unreleased]" and versions
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", version) for version in versions)
    dates = [version.split(" - ")[1] for version in versions]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.xdist_group("habits")
def test_a_group_of_tests_stays_on_one_worker(request):
    """xdist names the group in the test's id; without it, each worker would run the pipeline for its own fixtures."""
    assert "PYTEST_XDIST_WORKER" not in os.environ or request.node.nodeid.endswith("@habits")

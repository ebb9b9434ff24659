"""Which part imports which: arrows point one way, from what people call to what every stage shares."""

import ast
import re
from graphlib import CycleError, TopologicalSorter

import pytest

from helpers.clone import ROOT

SHARED = r"stages(\.(arrays|checksums|cluster|common|corrections|datasets|idx|quiet|ranges|statistics|pages)\b.*)?"
STAGE = r"stages\.(download|validate|preprocess|train|evaluate|package|report)\b"
# For each module, by a pattern: what of this repository it may import besides its own package; the first that fits.
MAY = {
    r"tools\b.*": r"(catalog|record|serving|stages)\b.*",
    r"catalog\b.*": r"(record|stages)\b.*",
    r"review\b.*": r"(record|stages)\b.*",
    r"benchmarks\b.*": r"(record|serving|stages)\b.*",
    r"record\b.*": rf"stages|stages\.common\b.*|stages\.datasets|{STAGE}\.params",
    r"comparison\b.*": SHARED,
    r"serving\b.*": r"(record|stages)\b.*",
    r"stages\.package\b.*": rf"{SHARED}|stages\.(evaluate\.model|preprocess\.digit)",
    rf"{STAGE}.*": SHARED,
    r"stages\.common\b.*": r"stages",
    r"stages\.ranges": r"stages|stages\.cluster|stages\.common\b.*",
    r"stages\b.*": r"stages|stages\.common\b.*",
}
PACKAGES = ("tools", "catalog", "review", "benchmarks", "record", "comparison", "serving", "stages")


def modules():
    """Name: path of every module of this repository, packages included."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name: path for path, name in names.items()}


MODULES = modules()


def imported(source, known):
    """The modules among `known` that `source` imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inside or {node.module}
    return found & known


IMPORTS = {name: imported(path.read_text(encoding="utf-8"), MODULES.keys()) for name, path in MODULES.items()}


def own(name):
    """The package whose modules may import each other: that of a stage, else the outermost; a tool is one by itself."""
    if name.startswith("tools"):
        return name
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "stages" else parts[0]


def forbidden(name, imports):
    """Those of `imports` that the module `name` must not have."""
    allowed = next(allowed for pattern, allowed in MAY.items() if re.fullmatch(pattern, name))
    return sorted(each for each in imports if own(each) != own(name) and not re.fullmatch(allowed, each))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_what_it_may(name):
    assert forbidden(name, IMPORTS[name]) == []


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("record.lock", "review.page"),
        ("record.snapshot", "tools.fresh"),
        ("record.results", "stages.train.training"),
        ("review.page", "tools.fresh"),
        ("tools.run", "tools.check"),
        ("tools.noise", "review.compare"),
        ("benchmarks.pipeline", "tools.identical"),
        ("comparison.pictures", "stages.report"),
        ("stages.evaluate.scores", "stages.train.training"),
        ("stages.report.page", "record.lock"),
        ("stages.common.files", "stages.datasets"),
        ("stages.idx", "stages.download.sources"),
        ("stages.package.page", "stages.evaluate.scores"),
        ("serving.app", "tools.check"),
        ("record.lock", "serving.log"),
    ],
)
def test_an_arrow_upward_is_seen(name, planted):
    package, _, module = planted.rpartition(".")
    for source in (f"import {planted}", f"def later():\n    from {package} import {module}"):
        assert forbidden(name, imported(source, MODULES.keys())) == [planted]


def test_there_is_no_circle():
    try:
        list(TopologicalSorter(IMPORTS).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))

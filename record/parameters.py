"""The schemas of all blocks of params.yaml and of an entry of datasets.yaml, and every mistake in these files.

Each stage checks only what it reads. This also finds what no stage would look at: a misspelt block, an error in a data
set that is not chosen, a parameter that is defined but never used.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from stages import datasets
from stages.common import parameters
from stages.common.entry import UserError
from stages.common.parameters import Block
from stages.datasets import Disputed
from stages.download.params import Download, Source
from stages.evaluate.params import Evaluate
from stages.package.params import Package
from stages.preprocess.params import Prepare, Preprocess
from stages.report.params import Report
from stages.train.params import Train
from stages.validate.params import Validate, Validated

STAGES: dict[str, type[Block]] = {
    "download": Download,
    "validate": Validate,
    "preprocess": Preprocess,
    "train": Train,
    "evaluate": Evaluate,
    "package": Package,
    "report": Report,
}
NAME = r"(?!(?i:null|true|false)$)[A-Za-z][A-Za-z0-9_-]*"  # of an entry of datasets.yaml: DVC takes a dot for a level
COMPARISON = Path("comparison/params.yaml")
FOLDER = Path(__file__).parent.parent / "stages"


class Dataset(Validated):
    """An entry of datasets.yaml."""

    model_config = ConfigDict(extra="forbid")

    disputed: Disputed
    prepare: Prepare
    source: Source


def check() -> None:
    """Raise `UserError` with a line for each mistake in the parameters and each parameter that no stage uses."""
    problems = mistakes(parameters.load(), parameters.load(datasets.FILE))
    problems += [
        f"stages/{stage}/params.py: {key} is defined but never used: use it, or remove it here and in {parameters.FILE}"
        for stage in STAGES
        for key in unused(stage)
    ]
    if COMPARISON.exists():
        problems += comparison_mistakes(parameters.load(COMPARISON))
    if problems:
        raise UserError("\n".join(problems))


def mistakes(values: Mapping[str, Any], catalog: Mapping[str, Any]) -> list[str]:
    """A line for each block of params.yaml and each entry of datasets.yaml that is unknown, missing or wrong."""
    problems = [
        f"{parameters.FILE}: {name} is unknown: misspelt, or no stage's block" for name in values if name not in STAGES
    ]
    problems += _refused(values, "", STAGES, parameters.FILE)
    problems += [
        f"{datasets.FILE}: the name {name!r} must begin with a letter and have letters, digits, - and _ only"
        for name in catalog
        if not (isinstance(name, str) and re.fullmatch(NAME, name))
    ]
    problems += _refused(catalog, "", {name: Dataset for name in catalog if isinstance(name, str)}, datasets.FILE)
    download = values.get("download")
    if isinstance(download, dict) and isinstance(chosen := download.get("dataset"), str) and chosen not in catalog:
        known = ", ".join(map(str, catalog))
        problems.append(
            f"{parameters.FILE}: download.dataset is {chosen!r}, must be an entry of {datasets.FILE}: {known}"
        )
    return problems


def comparison_mistakes(values: Mapping[str, Any]) -> list[str]:
    """The same for the comparison: a block of training parameters for each model, an accuracy published for some."""
    models, published = (values.get(key) or {} for key in ("models", "published"))
    for key, block in (("models", models), ("published", published)):
        if not isinstance(block, dict):
            return [f"{COMPARISON}: {key} is {block!r}, must have an entry for each model"]
    problems = [
        f"{COMPARISON}: published.{name} is unknown: misspelt, or no model of the comparison"
        for name in published
        if name not in models
    ]
    problems += [
        f"{COMPARISON}: published.{name} is {accuracy!r}, must be a fraction above 0 and at most 1"
        for name, accuracy in published.items()
        if not isinstance(accuracy, float | int) or not 0 < accuracy <= 1
    ]
    return problems + _refused(models, "models.", dict.fromkeys(models, Train), COMPARISON)


def _refused(values: Mapping[str, Any], prefix: str, schemas: Mapping[str, type[Block]], path: Path) -> list[str]:
    problems = []
    for name, schema in schemas.items():
        if name not in values:
            problems.append(f"{path}: {prefix}{name} is missing")
            continue
        try:
            parameters.check(prefix + name, values[name], schema, path)
        except UserError as error:
            problems += str(error).splitlines()
    return problems


def unused(stage: str, folder: Path = FOLDER) -> list[str]:
    """The fields that a stage's params.py defines and that neither it nor a later stage, which may be given them,
    mentions as an attribute or a string in its code, or as a word in its templates."""
    schema = ast.parse((folder / stage / "params.py").read_text(encoding="utf-8"))
    fields = {
        item.target.id
        for owner in schema.body
        if isinstance(owner, ast.ClassDef)
        for item in owner.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    later = list(STAGES)[list(STAGES).index(stage) :]
    return sorted(fields.difference(*(mentioned(folder / name) for name in later)))


def mentioned(folder: Path) -> set[str]:
    """Attributes and strings of the modules in `folder` other than params.py, and words of its templates."""
    words: set[str] = set()
    for module in sorted(folder.glob("*.py")):
        if module.name != "params.py":
            nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
            words |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
            words |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for template in sorted(folder.glob("*.j2")):
        words |= set(re.findall(r"\w+", template.read_text(encoding="utf-8")))
    return words

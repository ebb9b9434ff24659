"""Check the whole of params.yaml at once: `python -m tools.check`.

Each stage checks its own block before it reads anything; this finds what no stage would look at,
a block or a data set's part that is misspelt, and parameters that are declared but never used.
"""

import ast
import re
from pathlib import Path

from stages.common import parameters
from stages.common.entry import UserError, no_arguments, run
from stages.common.parameters import Block
from stages.download.params import About, Download, Source
from stages.evaluate.params import Evaluate
from stages.preprocess.params import Preprocess
from stages.report.params import Report
from stages.train.params import Train
from stages.validate.params import Expect, Validate

STAGES: dict[str, type[Block]] = {
    "download": Download,
    "validate": Validate,
    "preprocess": Preprocess,
    "train": Train,
    "evaluate": Evaluate,
    "report": Report,
}
COMPARISON = Path("comparison/params.yaml")
FOLDER = Path(__file__).parent.parent / "stages"
DATASET: dict[str, type[Block]] = {"about": About, "source": Source, "expect": Expect}


def main() -> None:
    problems = mistakes(parameters.load()) + [
        f"stages/{stage}/params.py: {key} is defined but never used: use it, or remove it here and in {parameters.FILE}"
        for stage in STAGES
        for key in unused(stage)
    ]
    if COMPARISON.exists():
        problems += compared_mistakes(parameters.load(COMPARISON))
    if problems:
        raise UserError("\n".join(problems))
    print("check: the parameters are sound", flush=True)


def mistakes(values: dict) -> list[str]:
    """A line for each block that is unknown or missing and each value that its schema refuses."""
    problems = [
        f"params.yaml: {name} is unknown: misspelt, or no stage's block"
        for name in values
        if name not in {*STAGES, "datasets"}
    ]
    problems += _refused(values, "", STAGES)
    try:
        datasets = parameters.datasets(values)
    except UserError as error:
        return [*problems, str(error)]
    download = values.get("download")
    if isinstance(download, dict) and isinstance(chosen := download.get("dataset"), str) and chosen not in datasets:
        problems.append(f"params.yaml: download.dataset is {chosen!r}, must be one of {', '.join(datasets)}")
    for name, entry in datasets.items():
        if not isinstance(entry, dict):
            problems.append(f"params.yaml: datasets.{name} is {entry!r}, must have the parts {', '.join(DATASET)}")
            continue
        problems += [
            f"params.yaml: datasets.{name}.{part} is unknown: misspelt, or no part of a data set"
            for part in entry
            if part not in DATASET
        ]
        problems += _refused(entry, f"datasets.{name}.", DATASET)
    return problems


def compared_mistakes(values: dict) -> list[str]:
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


def _refused(values: dict, prefix: str, schemas: dict[str, type[Block]], path: Path = parameters.FILE) -> list[str]:
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


def unused(stage: str) -> list[str]:
    """The fields defined in a stage's params.py that neither it nor a stage behind it, to which it may hand
    them on, mentions: as an attribute or a string of its code, or as a word of its templates."""
    schema = ast.parse((FOLDER / stage / "params.py").read_text(encoding="utf-8"))
    fields = {
        item.target.id
        for owner in schema.body
        if isinstance(owner, ast.ClassDef)
        for item in owner.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    behind = list(STAGES)[list(STAGES).index(stage) :]
    return sorted(fields - set().union(*(mentioned(FOLDER / name) for name in behind)))


def mentioned(folder: Path) -> set[str]:
    """Attributes and strings of the modules of `folder` other than params.py, and words of its templates."""
    words = set()
    for module in sorted(folder.glob("*.py")):
        if module.name != "params.py":
            nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
            words |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
            words |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for template in sorted(folder.glob("*.j2")):
        words |= set(re.findall(r"\w+", template.read_text(encoding="utf-8")))
    return words


if __name__ == "__main__":
    no_arguments(__doc__)
    run("check", main)

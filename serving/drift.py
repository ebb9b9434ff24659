"""`make drift`: are the digits that people send still like those that the model was trained on?

The last digits of the log are compared with models/reference.npz: how the training images look, and what the model
answered to the validation images. Digits that were found in a picture are compared with such images as pictures, and
pixels that came as they are with the images as they are. What moved is printed, a line each, and drawn in
reports/drift.html; the exit code is 1 if anything moved, else 0.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from serving import log
from serving.packaged import packaged
from serving.revision import source
from serving.shift import KINDS, MEASUREMENTS, PREDICTED, STRAYS, Bound, Kind, Result, compare, summary
from stages import datasets
from stages.common import files, parameters
from stages.common.entry import UserError, run
from stages.validate.params import Expect, Validated

if TYPE_CHECKING:
    from stages.validate.suite import Check

PAGE = Path("reports/drift.html")
FEWEST = 100  # digits: with fewer, not even a shift of a fifth of them would be certain


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m serving.drift", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--last", type=int, default=500, metavar="N", help="digits of each kind that are compared: 500"
    )
    options.add_argument("--log", type=Path, default=Path("logs/requests.sqlite"), help="logs/requests.sqlite")
    which = options.add_mutually_exclusive_group()
    which.add_argument("--models", type=Path, default=Path("models"), help="the folder of reference.npz: models")
    which.add_argument("--rev", metavar="REVISION", help="the commit or tag whose model was served")
    options.add_argument("--json", action="store_true", help="print JSON")
    chosen = options.parse_args()
    if chosen.last < FEWEST:
        raise UserError(f"--last is {chosen.last}, must be {FEWEST} or more: fewer show nothing for certain")
    with source(chosen.models, chosen.rev) as (models, _):
        package, reference = packaged(models).model_dump(), read_reference(models / "reference.npz")
    windows, others = enough(log.window(chosen.log, chosen.last))
    classes = [str(name) for name in package["classes"]]
    highest = max(int(window[PREDICTED].max()) for window in windows.values())
    if highest >= len(classes):
        raise UserError(
            f"{chosen.log} has an answer of class number {highest}, and the model has {len(classes)} classes: "
            "name the log of this model with --log"
        )

    expect, note = expectations(classes, package["shape"])
    results = []
    for kind, window in windows.items():
        # The bounds are those of the training images as they are.
        bounds = check_bounds(window, expect, classes) if expect and not kind.prepared else []
        comparisons = compare(reference[kind], window, classes)
        results.append(Result(kind, reference[kind], window, comparisons, bounds))
    few = [
        f"{kind.name}: {count} digit{'' if count == 1 else 's'}, not compared: at least {FEWEST} are needed"
        for kind, count in others.items()
    ]
    from serving import drift_page  # slow to import: not for a mistake in the command line

    files.write_text(PAGE, drift_page.render(package, results, few, note))
    if chosen.json:
        print(json.dumps(summary(results, others), indent=2, allow_nan=False))
    else:
        lines = [line for result in results for line in [*named(result), result.verdict]]
        print("\n".join(f"drift: {line}" for line in [*lines, *few, f"see {PAGE}"]))
    if any(result.findings for result in results):
        sys.exit(1)


def named(result: Result) -> list[str]:
    """Its findings, each with the name of the kind before it."""
    return [f"{result.kind.name}: {line}" for line in result.findings]


def read_reference(path: Path) -> dict[Kind, dict[str, np.ndarray]]:
    """The arrays of `stages.package.reference` for each kind of digits.

    Raises `UserError` if `path` is missing, broken or lacks one.
    """
    columns = (*MEASUREMENTS, PREDICTED)
    try:
        with np.load(path) as stored:
            return {kind: {column: stored[kind.prefix + column] for column in columns} for kind in KINDS}
    except FileNotFoundError:
        raise UserError(f"{path} is missing: `dvc repro` makes it") from None
    except (ValueError, KeyError, EOFError, BadZipFile):
        raise UserError(f"{path} cannot be read: `dvc checkout` or `dvc repro` mends it") from None


def enough(window: pd.DataFrame) -> tuple[dict[Kind, pd.DataFrame], dict[Kind, int]]:
    """The rows of each kind of which there are enough, and the number of digits of those of which there are some.

    Raises `UserError` if there are too few of every kind to say anything.
    """
    rows = {kind: window[window["prepared"] == kind.prepared].reset_index(drop=True) for kind in KINDS}
    few = {kind: len(found) for kind, found in rows.items() if 0 < len(found) < FEWEST}
    enough = {kind: found for kind, found in rows.items() if len(found) >= FEWEST}
    if not enough:
        counts = ", ".join(f"{kind.name}: {count}" for kind, count in few.items())
        raise UserError(f"the log has too few digits ({counts}), at least {FEWEST} of a kind are needed: try later")
    return enough, few


def expectations(classes: list[str], shape: list[int]) -> tuple[Expect | None, str]:
    """The bounds of the data set that params.yaml names, if they are bounds of what the model sees; else why not."""
    if not datasets.FILE.exists() or not parameters.FILE.exists():
        return None, f"There is no {datasets.FILE} here, so its bounds were not checked."
    dataset = datasets.chosen(Validated)
    if dataset.classes != classes:
        return None, f"The data set that {parameters.FILE} names has other classes, so its bounds were not checked."
    if dataset.expect.image_size != shape[0]:
        size, side = dataset.expect.image_size, shape[0]
        return None, f"The data set's bounds are for {size}×{size} pixels, not {side}×{side}, so they were not checked."
    return dataset.expect, ""


def check_bounds(window: pd.DataFrame, expect: Expect, classes: list[str]) -> list[Bound]:
    """The bounds of datasets.yaml for each image, as far as the log has their columns, for the digits in `window`.

    A bound is crossed if more than `STRAYS` of the digits lie outside.
    """
    from stages.validate import suite  # Great Expectations takes seconds to import

    checks = bounded(expect, classes, window)
    table = window.assign(split="requests", index=np.arange(len(window))).reset_index(drop=True)
    bounds = []
    for outcome in suite.judge(table, pd.DataFrame({"digits": [len(window)]}), checks, []):
        check = outcome.check
        outside = 0.0 if outcome.success else share_outside(table[check.column], check.low, check.high)
        words = f"{outside:.1%} of the digits {check.failure} ({check.column} {outcome.observed}, {check.bound})"
        bounds.append(Bound(check.title, check.bound, outside, outside > STRAYS, words))
    return bounds


def bounded(expect: Expect, classes: list[str], window: pd.DataFrame) -> "list[Check]":
    """The checks of `validate` for each image that have a bound, and a column in `window`."""
    from stages.validate import suite

    checks = suite.image_checks(expect, classes, writers=False)
    return [check for check in checks if check.column in window and (check.low, check.high) != (None, None)]


def share_outside(values: "pd.Series[Any]", low: float | None, high: float | None) -> float:
    """The share of `values` below `low` or above `high`, None meaning no bound."""
    below = values < (-np.inf if low is None else low)
    return float((below | (values > (np.inf if high is None else high))).mean())


if __name__ == "__main__":
    run("drift", main)

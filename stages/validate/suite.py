"""The expectations, in Great Expectations and in plain words."""

from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, NamedTuple

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.expectations.row_conditions import Column

from stages.validate.params import Expect
from stages.validate.raw import SPLITS
from stages.validate.table import SOME, some


@dataclass(frozen=True, kw_only=True)
class Check:
    """`column` lies between `low` and `high`, both included, None meaning no bound; without either, it is not null.

    `failure` completes the sentence "12 of 10,000 images …" for a check of images. For a check of the set it is the
    whole sentence, with the set table's columns and `bound` in braces.
    """

    column: str
    low: float | None = None
    high: float | None = None
    title: str
    failure: str
    inked_only: bool = False

    def expectation(self, key: str) -> gxe.Expectation:
        """The check as an expectation whose result is found again by `key`."""
        condition = {"row_condition": Column("largest") > 0} if self.inked_only else {}
        if self.low is None and self.high is None:
            return gxe.ExpectColumnValuesToNotBeNull(column=self.column, meta={"check": key}, **condition)
        return gxe.ExpectColumnValuesToBeBetween(
            column=self.column, min_value=self.low, max_value=self.high, meta={"check": key}
        )

    @property
    def bound(self) -> str:
        """The bound in words: `at least 0.02`."""
        if self.low is None:
            return "known" if self.high is None else f"at most {number(self.high)}"
        if self.high is None:
            return f"at least {number(self.low)}"
        return number(self.low) if self.low == self.high else f"{number(self.low)} to {number(self.high)}"


@dataclass(frozen=True)
class Outcome:
    """The result of a check: whether it holds, the observed value or range in words, and a line for each failure."""

    check: Check
    success: bool
    observed: str
    failures: list[str]


class Found(NamedTuple):
    """What a check found in some images of a split."""

    success: bool
    problem: str  # why the check could not be evaluated; empty if it could
    images: int
    known: int  # of them: those with a value in the column
    low: float  # smallest and largest value, NaN if no image has one or the check has no bounds
    high: float
    bad: int
    bad_low: float  # the same of the bad images
    bad_high: float
    first: list[int]  # indices in the split of the first bad ones, as many as `some` shows

    def __add__(self, other: "Found") -> "Found":  # type: ignore[override]
        """What the check found in these images and the `other` ones, which come after them in the split."""
        return Found(
            self.success and other.success,
            min(filter(None, (self.problem, other.problem)), default=""),
            self.images + other.images,
            self.known + other.known,
            float(np.fmin(self.low, other.low)),
            float(np.fmax(self.high, other.high)),
            self.bad + other.bad,
            float(np.fmin(self.bad_low, other.bad_low)),
            float(np.fmax(self.bad_high, other.bad_high)),
            [*self.first, *other.first][:SOME],
        )


def number(value: float) -> str:
    """`value` for a reader: 60,000 or 0.0239."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def count_or_percent(value: int | float) -> str:
    """60000 as `60,000`, the fraction 0.8108 as `81.08%`."""
    return f"{value:.2%}" if isinstance(value, float) else number(value)


def image_checks(expect: Expect, classes: list[str], writers: bool) -> list[Check]:
    """What every image must be; `writers` says whether each needs a writer."""
    return [*_possible_values(classes), *_ink(expect), *_position(expect), *_known_values(writers)]


def _possible_values(classes: list[str]) -> list[Check]:
    return [
        Check(
            column="label",
            low=0,
            high=len(classes) - 1,
            title="Label is one of the classes",
            failure="have a label outside the classes",
        ),
        Check(
            column="smallest",
            low=0,
            high=255,
            title="Smallest value of an image is possible",
            failure="have values outside 0 to 255",
        ),
        Check(
            column="largest",
            low=0,
            high=255,
            title="Largest value of an image is possible",
            failure="have values outside 0 to 255",
        ),
    ]


def _ink(expect: Expect) -> list[Check]:
    least, most = expect.ink_fraction
    return [
        Check(column="ink_fraction", low=least, title="No image is blank: fraction of ink", failure="are blank"),
        Check(
            column="ink_fraction",
            high=most,
            title="No image is mostly ink: fraction of ink",
            failure="are mostly ink, perhaps inverted",
        ),
        Check(
            column="distinct_values",
            low=expect.distinct_values,
            title="No image is constant: grey levels",
            failure="are constant or nearly so",
        ),
        Check(
            column="border_intensity",
            high=expect.border_intensity,
            title="Border is dark, none is inverted: mean grey level",
            failure="look inverted",
        ),
    ]


def _position(expect: Expect) -> list[Check]:
    (first, last), (small, large) = expect.centre_of_mass, expect.box_size
    return [
        Check(
            column="centre_x",
            low=first,
            high=last,
            title="Centre of mass across, in pixels",
            failure="are off centre horizontally",
        ),
        Check(
            column="centre_y",
            low=first,
            high=last,
            title="Centre of mass down, in pixels",
            failure="are off centre vertically",
        ),
        Check(
            column="box_size",
            low=small,
            high=large,
            title="Longer side of the bounding box, in pixels",
            failure="are drawn at another size",
        ),
    ]


def _known_values(writers: bool) -> list[Check]:
    everywhere = {
        "label": "Label",
        "hash": "Content hash",
        "ink_fraction": "Ink",
        "distinct_values": "Grey levels",
        "border_intensity": "Border",
    }
    inked = {"centre_x": "Centre of mass across", "centre_y": "Centre of mass down", "box_size": "Bounding box"}
    checks = [Check(column=column, title=title, failure=f"have no {column}") for column, title in everywhere.items()]
    for column, title in inked.items():
        title = f"{title} (images with any ink)"
        checks.append(Check(column=column, title=title, failure=f"have no {column}", inked_only=True))
    if writers:
        checks.append(Check(column="writer", title="Writer", failure="have no writer"))
    return checks


def set_checks(expect: Expect, classes: list[str]) -> list[Check]:
    """What the set as a whole must be."""
    sizes = {"train": expect.train_images, "test": expect.test_images}
    checks = []
    for key, split in SPLITS.items():
        checks += [
            *_split_size(key, split, sizes[key]),
            *_split_classes(key, split, expect, len(classes)),
            *_split_images(key, split, expect),
        ]
    return [*checks, *_both_splits(expect), *_apart(expect), *_reference(expect)]


def _split_size(key: str, split: str, count: int) -> list[Check]:
    return [
        Check(
            column=f"{key}_images",
            low=count,
            high=count,
            title=f"Images in {key}",
            failure=f"{split}: {{{key}_images:,}} images, expected {{bound}}",
        )
    ]


def _split_classes(key: str, split: str, expect: Expect, count: int) -> list[Check]:
    low, high = expect.class_fraction
    return [
        Check(
            column=f"classes_{key}",
            low=1 if key == "test" and low == 0 else count,  # what has no training images cannot be learnt
            high=count,
            title=f"Classes present in {key}",
            failure=f"{split}: no images of class {{missing_{key}}}:"
            f" {{classes_{key}}} classes present, expected {{bound}}",
        ),
        Check(
            column=f"smallest_class_{key}",
            low=low,
            title=f"Smallest class of {key}, as a fraction",
            failure=f"{split}: class {{smallest_name_{key}}} is too rare:"
            f" {{smallest_class_{key}:.4f}} of the images, expected {{bound}}",
        ),
        Check(
            column=f"largest_class_{key}",
            high=high,
            title=f"Largest class of {key}, as a fraction",
            failure=f"{split}: class {{largest_name_{key}}} is too common:"
            f" {{largest_class_{key}:.4f}} of the images, expected {{bound}}",
        ),
    ]


def _split_images(key: str, split: str, expect: Expect) -> list[Check]:
    return [
        Check(
            column=f"largest_value_{key}",
            low=expect.largest_value,
            high=255,
            title=f"Largest pixel value of {key}: the range is used",
            failure=f"{split}: the largest pixel value is {{largest_value_{key}}}, expected {{bound}}",
        ),
        Check(
            column=f"duplicate_fraction_{key}",
            high=expect.duplicate_fraction,
            title=f"Images of {key} that repeat an earlier one, as a fraction",
            failure=f"{split}: {{duplicates_{key}:,}} of {{{key}_images:,}} images repeat an earlier one"
            f" ({{duplicate_fraction_{key}:.4f}} of them, {{bound}}): indices {{duplicate_indices_{key}}}",
        ),
        Check(
            column=f"centroid_accuracy_{key}",
            low=expect.centroid_accuracy,
            title=f"Labels of {key} agree with the nearest class mean",
            failure=f"{split}: labels do not fit the images: the nearest class mean (of train) agrees with"
            f" {{centroid_accuracy_{key}:.4f}} of them, expected {{bound}}",
        ),
    ]


def _both_splits(expect: Expect) -> list[Check]:
    return [
        Check(
            column="shared_images",
            high=expect.shared_images,
            title="Images that are in train and in test",
            failure="t10k: {shared_images:,} of {test_images:,} images are in train too"
            " ({shared_images:,} shared, {bound}): indices {shared_indices}",
        ),
        Check(
            column="split_shift",
            high=expect.split_shift,
            title="Train and test are alike (Kolmogorov-Smirnov distance)",
            failure="train and t10k differ in {split_shift_of}:"
            " Kolmogorov-Smirnov distance {split_shift:.4f}, expected {bound}",
        ),
    ]


LEARNT = " A network would learn that, and not the shape. If it is meant, `make measure` prints new bounds"


def _apart(expect: Expect) -> list[Check]:
    """No class, and no group of them, has what no other has."""
    checks = _gap(
        "class_gap",
        expect.class_gap,
        "No class of train differs from every other in one measure (Kolmogorov-Smirnov distance)",
        "train: class {class_gap_class} differs from every other class in one measure, {class_gap_of}:"
        " Kolmogorov-Smirnov distance {class_gap:.4f}",
    )
    checks += _gap(
        "pixel_gap",
        expect.pixel_gap,
        "No class of train differs from every other in one pixel (standard deviations)",
        "train: class {pixel_gap_class} differs from every other class in one pixel, {pixel_gap_at}:"
        " {pixel_gap:.2f} standard deviations",
    )
    for key, split in SPLITS.items():
        checks += _gap(
            f"group_gap_{key}",
            expect.group_gap,
            f"No classes of {key} share a mark that the others lack (standard deviations)",
            f"{split}: a mark of {{group_gap_classes_{key}}} that all others lack, {{group_gap_of_{key}}}:"
            f" {{group_gap_{key}:.2f}} standard deviations",
        )
    return checks


def _gap(column: str, most: float | None, title: str, failure: str) -> list[Check]:
    if most is None:
        return []
    return [Check(column=column, high=most, title=title, failure=f"{failure}, expected {{bound}}.{LEARNT}")]


def _reference(expect: Expect) -> list[Check]:
    if expect.reference is None:
        return []
    checks = []
    for key, split in SPLITS.items():
        checks += [
            Check(
                column=f"reference_distance_{key}",
                high=expect.reference.distance,
                title=f"Classes of {key} look like the reference: difference in grey levels",
                failure=f"{split}: class {{reference_distance_class_{key}}} does not look like its reference: the mean"
                f" image differs by {{reference_distance_{key}:.1f}} grey levels, expected {{bound}} (turned, mirrored,"
                " shifted, other contrast, or other labels)",
            ),
            Check(
                column=f"reference_roughness_{key}",
                high=expect.reference.roughness,
                title=f"Classes of {key} are as rough as the reference: difference as a fraction",
                failure=f"{split}: class {{reference_roughness_class_{key}}} is not as rough as its reference: it"
                f" differs by {{reference_roughness_{key}:.1%}}, expected {{bound}} (blurred, noisy, other contrast)",
            ),
        ]
    return checks


def judge(images: pd.DataFrame, whole: pd.DataFrame, for_images: list[Check], for_set: list[Check]) -> list[Outcome]:
    """The outcome of every check, in order, the checks of the set first.

    `images` has one row for each image, those of a `split` in order; `whole` has one row.
    """
    parts = images.groupby("split", sort=False)
    found = {str(name): look(rows.reset_index(drop=True), for_images) for name, rows in parts}
    return [*judge_set(whole, for_set), *judge_images(found, for_images)]


def judge_set(whole: pd.DataFrame, checks: list[Check]) -> list[Outcome]:
    """The outcome of each of the `checks` of the set, whose table `whole` has one row."""
    results = _results(whole, checks)
    return [_set_outcome(check, result, whole) for check, result in zip(checks, results, strict=True)]


def judge_images(found: dict[str, list[Found]], checks: list[Check]) -> list[Outcome]:
    """The outcome of each of the `checks` of images, from what it found in each split."""
    return [_image_outcome(check, dict(zip(found, each, strict=True))) for check, *each in zip(checks, *found.values())]


def look(images: pd.DataFrame, checks: list[Check], start: int = 0) -> list[Found]:
    """What each of the `checks` finds in `images`: consecutive ones of a split, of which the first has index `start`.

    `images` has one row for each and the default index.
    """
    used = {"largest", *(check.column for check in checks)}
    results = _results(images[[column for column in images.columns if column in used]], checks)
    return [_found(check, result, images, start) for check, result in zip(checks, results, strict=True)]


@cache
def _context() -> Any:
    """Great Expectations, one for all tables: each context would stay in memory until Python looks for circles."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("tables").add_dataframe_asset("table")
    return context, asset.add_batch_definition_whole_dataframe("whole")


@cache
def _checkpoint(checks: tuple[Check, ...], result_format: str) -> Any:
    context, table = _context()
    name = f"{len(context.checkpoints.all())} {result_format}"
    expectations = [check.expectation(str(i)) for i, check in enumerate(checks)]
    suite = context.suites.add(gx.ExpectationSuite(name, expectations=expectations))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=table, suite=suite))
    return context.checkpoints.add(
        gx.Checkpoint(name=name, validation_definitions=[definition], result_format={"result_format": result_format})
    )


def _results(table: pd.DataFrame, checks: list[Check]) -> list[dict[str, Any]]:
    """Great Expectations' results of `checks` on `table`, in the order of `checks`, complete if one of them failed."""
    results = _run(table, checks, "BOOLEAN_ONLY")  # in half the time that complete ones take
    return results if all(result["success"] for result in results) else _run(table, checks, "COMPLETE")


def _run(table: pd.DataFrame, checks: list[Check], result_format: str) -> list[dict[str, Any]]:
    checkpoint = _checkpoint(tuple(checks), result_format)
    (run,) = checkpoint.run(batch_parameters={"dataframe": table}).run_results.values()
    # Great Expectations puts failures first: the key restores the order of the checks.
    results = {int(result.expectation_config.meta["check"]): result.to_json_dict() for result in run.results}
    return [results[i] for i in range(len(checks))]


def _set_outcome(check: Check, result: dict[str, Any], whole: pd.DataFrame) -> Outcome:
    if problem := _problem(result):
        return _not_evaluated(check, problem)
    row = _only_row(whole)
    failures = [] if result["success"] else [check.failure.format(**row, bound=check.bound)]
    return Outcome(check, result["success"], number(row[check.column]), failures)


def _found(check: Check, result: dict[str, Any], images: pd.DataFrame, start: int) -> Found:
    nan = float("nan")
    if problem := _problem(result):
        return Found(False, problem, len(images), 0, nan, nan, 0, nan, nan, [])
    values = images[check.column]
    bad = result["result"].get("unexpected_index_list") or []
    bounded = (check.low, check.high) != (None, None)
    low, high = (float(values.min()), float(values.max())) if bounded else (nan, nan)
    wrong = values.iloc[bad]
    bad_low, bad_high = (float(wrong.min()), float(wrong.max())) if bounded else (nan, nan)
    first = [start + index for index in bad[:SOME]]
    known = int(values.notna().sum())
    return Found(result["success"], "", len(images), known, low, high, len(bad), bad_low, bad_high, first)


def _image_outcome(check: Check, found: dict[str, Found]) -> Outcome:
    all_images = reduce(Found.__add__, found.values())
    if all_images.problem:
        return _not_evaluated(check, all_images.problem)
    bounded = (check.low, check.high) != (None, None)
    known = f"{all_images.known:,} of {all_images.images:,}"
    observed = _range(all_images.low, all_images.high) if bounded else known
    failures = []
    for split, part in found.items():
        if not part.bad:
            continue
        what = check.failure
        if part.bad == 1:
            what = what.replace("are ", "is ", 1).replace("have ", "has ", 1).replace("look ", "looks ", 1)
        why = f" ({check.column} {_range(part.bad_low, part.bad_high)}, {check.bound})" if bounded else ""
        label = "index" if part.bad == 1 else "indices"
        shown = some(part.first, part.bad)
        failures.append(f"{split}: {part.bad:,} of {part.images:,} images {what}{why}: {label} {shown}")
    return Outcome(check, all_images.success, observed, failures)


def _problem(result: dict[str, Any]) -> str:
    """Why the expectation could not be evaluated, for example because a column is missing; empty if it could."""
    if result["success"] or result["result"]:
        return ""
    return str(min(problem["exception_message"] for problem in result["exception_info"].values()))


def _not_evaluated(check: Check, problem: str) -> Outcome:
    return Outcome(check, False, "not evaluated", [f"{check.title}: could not be checked: {problem}"])


def _only_row(whole: pd.DataFrame) -> dict[str, Any]:
    return {str(column): value for column, value in whole.iloc[0].to_dict().items()}


def _range(low: float, high: float) -> str:
    if np.isnan(low):
        return "unknown"
    return number(low) if number(low) == number(high) else f"{number(low)} to {number(high)}"


# The numbers of validate.json, with the words under them at the top of the page (none: not shown there).
NUMBERS = {
    "train_images": "images in train",
    "test_images": "images in test",
    "duplicate_fraction": "of the images repeat another",
    "shared_images": "images in both sets",
    "centroid_accuracy_train": "of train labels fit the nearest class mean",
    "centroid_accuracy_test": "of test labels fit the nearest class mean",
    "split_shift": "",
}


def summary(outcomes: list[Outcome], whole: pd.DataFrame) -> dict[str, Any]:
    """The verdict and the main numbers of the set, for `dvc metrics show`; fractions rounded to four decimals."""
    row = _only_row(whole)
    row["duplicate_fraction"] = (row["duplicates_train"] + row["duplicates_test"]) / (
        row["train_images"] + row["test_images"]
    )
    values = {name: round(float(row[name]), 4) if isinstance(row[name], float) else int(row[name]) for name in NUMBERS}
    failed = sum(not outcome.success for outcome in outcomes)
    return {"success": failed == 0, "expectations": len(outcomes), "failed": failed, **values}

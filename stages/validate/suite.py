"""The expectations, in Great Expectations and in plain words."""

from dataclasses import dataclass
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.expectations.row_conditions import Column

from stages.validate.params import Expect
from stages.validate.raw import SPLITS
from stages.validate.table import some


@dataclass(frozen=True)
class Check:
    """`column` lies between `low` and `high`, both included, None meaning no bound; without either, it is not null.

    `failure` ends the sentence "12 of 10,000 images …" for a check of images; for a check of the
    set it is the whole sentence, with the set table's columns and `bound` in braces.
    """

    column: str
    low: float | None
    high: float | None
    title: str
    failure: str
    inked_only: bool = False

    def expectation(self, key: str) -> gxe.Expectation:
        """The check as an expectation that answers to `key`."""
        condition = {"row_condition": Column("largest") > 0} if self.inked_only else {}
        if self.low is None and self.high is None:
            return gxe.ExpectColumnValuesToNotBeNull(column=self.column, meta={"check": key}, **condition)
        return gxe.ExpectColumnValuesToBeBetween(
            column=self.column, min_value=self.low, max_value=self.high, meta={"check": key}
        )

    @property
    def bound(self) -> str:
        """The bound in words: `at least 0.02`."""
        if self.low is None and self.high is None:
            return "known"
        if self.low is None:
            return f"at most {number(self.high)}"
        if self.high is None:
            return f"at least {number(self.low)}"
        return number(self.low) if self.low == self.high else f"{number(self.low)} to {number(self.high)}"


@dataclass(frozen=True)
class Outcome:
    """What came of a check: whether it holds, the observed value or range in words, and a line a failure."""

    check: Check
    success: bool
    observed: str
    failures: list[str]


def number(value: float) -> str:
    """`value` for a reader: 60,000 or 0.0239."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def count_or_percent(value: int | float) -> str:
    """60000 as `60,000`, the fraction 0.8108 as `81.08%`."""
    return f"{value:.2%}" if isinstance(value, float) else number(value)


def image_checks(expect: Expect, classes: list[str], writers: bool) -> list[Check]:
    """What every image must be."""
    ink_low, ink_high = expect.ink_fraction
    centre, box = expect.centre_of_mass, expect.box_size
    known = [
        Check(column, None, None, words, f"have no {column}", inked)
        for column, words, inked in (
            ("label", "Label", False),
            ("hash", "Content hash", False),
            ("ink_fraction", "Ink", False),
            ("distinct_values", "Grey levels", False),
            ("border_intensity", "Border", False),
            ("centre_x", "Centre of mass across (images with any ink)", True),
            ("centre_y", "Centre of mass down (images with any ink)", True),
            ("box_size", "Bounding box (images with any ink)", True),
        )
    ]
    if writers:
        known.append(Check("writer", None, None, "Writer", "have no writer"))
    return [
        Check("label", 0, len(classes) - 1, "Label is one of the classes", "have a label outside the classes"),
        Check("smallest", 0, 255, "Smallest value of an image is possible", "have values outside 0 to 255"),
        Check("largest", 0, 255, "Largest value of an image is possible", "have values outside 0 to 255"),
        Check("ink_fraction", ink_low, None, "No image is blank: fraction of ink", "are blank"),
        Check(
            "ink_fraction",
            None,
            ink_high,
            "No image is mostly ink: fraction of ink",
            "are mostly ink, perhaps inverted",
        ),
        Check(
            "distinct_values",
            expect.distinct_values,
            None,
            "No image is constant: grey levels",
            "are constant or nearly so",
        ),
        Check(
            "border_intensity",
            None,
            expect.border_intensity,
            "Border is dark, none is inverted: mean grey level",
            "look inverted",
        ),
        Check("centre_x", *centre, "Centre of mass across, in pixels", "are off centre horizontally"),
        Check("centre_y", *centre, "Centre of mass down, in pixels", "are off centre vertically"),
        Check("box_size", *box, "Longer side of the bounding box, in pixels", "are drawn at another size"),
        *known,
    ]


def set_checks(expect: Expect, classes: list[str]) -> list[Check]:
    """What the set as a whole must be."""
    low, high = expect.class_fraction
    checks = []
    for key, split in SPLITS.items():
        count = getattr(expect, f"{key}_images")
        checks += [
            Check(
                f"{key}_images",
                count,
                count,
                f"Images in {key}",
                f"{split}: {{{key}_images:,}} images, expected {{bound}}",
            ),
            Check(
                f"classes_{key}",
                len(classes),
                len(classes),
                f"Classes present in {key}",
                f"{split}: no images of class {{missing_{key}}}: {{classes_{key}}} classes present, expected {{bound}}",
            ),
            Check(
                f"smallest_class_{key}",
                low,
                None,
                f"Smallest class of {key}, as a fraction",
                f"{split}: class {{smallest_name_{key}}} is too rare: "
                f"{{smallest_class_{key}:.4f}} of the images, expected {{bound}}",
            ),
            Check(
                f"largest_class_{key}",
                None,
                high,
                f"Largest class of {key}, as a fraction",
                f"{split}: class {{largest_name_{key}}} is too common: "
                f"{{largest_class_{key}:.4f}} of the images, expected {{bound}}",
            ),
            Check(
                f"largest_value_{key}",
                expect.largest_value,
                255,
                f"Largest pixel value of {key}: the range is used",
                f"{split}: the largest pixel value is {{largest_value_{key}}}, expected {{bound}}",
            ),
            Check(
                f"duplicate_fraction_{key}",
                None,
                expect.duplicate_fraction,
                f"Images of {key} that repeat an earlier one, as a fraction",
                f"{split}: {{duplicates_{key}:,}} of {{{key}_images:,}} images repeat an earlier one"
                f" ({{duplicate_fraction_{key}:.4f}} of them, {{bound}}): indices {{duplicate_indices_{key}}}",
            ),
            Check(
                f"centroid_accuracy_{key}",
                expect.centroid_accuracy,
                None,
                f"Labels of {key} agree with the nearest class mean",
                f"{split}: labels do not fit the images: the nearest class mean (of train) agrees with"
                f" {{centroid_accuracy_{key}:.4f}} of them, expected {{bound}}",
            ),
        ]
    return checks + [
        Check(
            "shared_images",
            None,
            expect.shared_images,
            "Images that are in train and in test",
            "t10k: {shared_images:,} of {test_images:,} images are in train too"
            " ({shared_images:,} shared, {bound}): indices {shared_indices}",
        ),
        Check(
            "split_shift",
            None,
            expect.split_shift,
            "Train and test are alike (Kolmogorov-Smirnov distance)",
            "train and t10k differ in {split_shift_of}:"
            " Kolmogorov-Smirnov distance {split_shift:.4f}, expected {bound}",
        ),
    ]


def judge(images: pd.DataFrame, whole: pd.DataFrame, for_images: list[Check], for_set: list[Check]) -> list[Outcome]:
    """The outcome of every check, in order, those of the set first.

    `images` has one row per image and the default index, `whole` has one row.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    set_results = _checkpoint(context, "set", whole, for_set)
    image_results = _checkpoint(context, "images", images, for_images)
    return [_set_outcome(check, result, whole) for check, result in zip(for_set, set_results, strict=True)] + [
        _image_outcome(check, result, images) for check, result in zip(for_images, image_results, strict=True)
    ]


def _checkpoint(context: Any, name: str, table: pd.DataFrame, checks: list[Check]) -> list[dict[str, Any]]:
    """Great Expectations' results of `checks` on `table`, in the order of `checks`."""
    batch = context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    suite = context.suites.add(
        gx.ExpectationSuite(name=name, expectations=[check.expectation(str(i)) for i, check in enumerate(checks)])
    )
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(name=name, validation_definitions=[definition], result_format={"result_format": "COMPLETE"})
    )
    (run,) = checkpoint.run(batch_parameters={"dataframe": table}).run_results.values()
    # Failures come first in the results: the key brings them back into the order of the checks.
    results = {int(result.expectation_config.meta["check"]): result.to_json_dict() for result in run.results}
    return [results[i] for i in range(len(checks))]


def _set_outcome(check: Check, result: dict[str, Any], whole: pd.DataFrame) -> Outcome:
    if problem := _not_evaluated(check, result):
        return problem
    row = whole.iloc[0].to_dict()
    failures = [] if result["success"] else [check.failure.format(**row, bound=check.bound)]
    return Outcome(check, result["success"], number(row[check.column]), failures)


def _image_outcome(check: Check, result: dict[str, Any], images: pd.DataFrame) -> Outcome:
    if problem := _not_evaluated(check, result):
        return problem
    values, bounded = images[check.column], (check.low, check.high) != (None, None)
    observed = _range(values) if bounded else f"{values.notna().sum():,} of {len(values):,}"
    bad = images.loc[result["result"].get("unexpected_index_list") or []]
    failures = []
    for split, rows in bad.groupby("split", sort=False):
        what = check.failure
        if len(rows) == 1:
            what = what.replace("are ", "is ", 1).replace("have ", "has ", 1).replace("look ", "looks ", 1)
        why = f" ({check.column} {_range(rows[check.column])}, {check.bound})" if bounded else ""
        total = (images["split"] == split).sum()
        label = "index" if len(rows) == 1 else "indices"
        failures.append(f"{split}: {len(rows):,} of {total:,} images {what}{why}: {label} {some(rows['index'])}")
    return Outcome(check, result["success"], observed, failures)


def _not_evaluated(check: Check, result: dict[str, Any]) -> Outcome | None:
    """A failed outcome where the expectation raised (a column is missing) instead of being evaluated."""
    if result["success"] or result["result"]:
        return None
    reasons = {problem["exception_message"] for problem in result["exception_info"].values()}
    return Outcome(check, False, "not evaluated", [f"{check.title}: could not be checked: {min(reasons)}"])


def _range(values: pd.Series) -> str:
    if not values.notna().any():
        return "unknown"
    low, high = number(values.min()), number(values.max())
    return low if low == high else f"{low} to {high}"


# The numbers of validate.json, and what the page calls those it shows at its top.
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
    """The verdict and the set's main numbers, for `dvc metrics show`; fractions rounded to four places."""
    row = whole.iloc[0].to_dict()
    row["duplicate_fraction"] = (row["duplicates_train"] + row["duplicates_test"]) / (
        row["train_images"] + row["test_images"]
    )
    values = {name: round(float(row[name]), 4) if isinstance(row[name], float) else int(row[name]) for name in NUMBERS}
    failed = sum(not outcome.success for outcome in outcomes)
    return {"success": failed == 0, "expectations": len(outcomes), "failed": failed, **values}

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
    return [*checks, *_both_splits(expect)]


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


def judge(images: pd.DataFrame, whole: pd.DataFrame, for_images: list[Check], for_set: list[Check]) -> list[Outcome]:
    """The outcome of every check, in order, the checks of the set first.

    `images` has one row for each image and the default index, `whole` has one row.
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
    # Great Expectations puts failures first: the key restores the order of the checks.
    results = {int(result.expectation_config.meta["check"]): result.to_json_dict() for result in run.results}
    return [results[i] for i in range(len(checks))]


def _set_outcome(check: Check, result: dict[str, Any], whole: pd.DataFrame) -> Outcome:
    if problem := _not_evaluated(check, result):
        return problem
    row = _only_row(whole)
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
    """A failed outcome if the expectation raised an exception, for example because a column is missing."""
    if result["success"] or result["result"]:
        return None
    reasons = {problem["exception_message"] for problem in result["exception_info"].values()}
    return Outcome(check, False, "not evaluated", [f"{check.title}: could not be checked: {min(reasons)}"])


def _only_row(whole: pd.DataFrame) -> dict[str, Any]:
    return {str(column): value for column, value in whole.iloc[0].to_dict().items()}


def _range(values: "pd.Series[Any]") -> str:
    if not values.notna().any():
        return "unknown"
    low, high = number(values.min()), number(values.max())
    return low if low == high else f"{low} to {high}"


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

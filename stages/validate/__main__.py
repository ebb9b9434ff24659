"""Check data/raw against what datasets.yaml expects of it; bad data stop the pipeline, with a plain message."""

from pathlib import Path
from typing import Any

import pandas as pd

from stages import corrections, datasets
from stages.common import files, parameters
from stages.common.entry import UserError, no_arguments, run
from stages.validate import page, raw, table
from stages.validate.params import Validate, Validated

RAW = Path("data/raw")
METRICS = Path("metrics/validate.json")
VERDICT = Path("data/verdict.json")  # apart from the numbers, so that only the verdict concerns the next stage
PAGE = Path("reports/data/index.html")


def main() -> None:
    """Read data/raw, check it, write the verdict and the data report. Raises `UserError` if the data fail."""
    options = parameters.read("validate", Validate)
    description = raw.read_description(RAW)
    dataset = datasets.entry(description.name, Validated)
    about = dataset.about.model_dump() | description._asdict()
    classes, expect = dataset.classes, dataset.expect
    corrected = corrections.read(description.name, classes)
    try:
        splits = {key: raw.read_split(RAW, name, expect.image_size) for key, name in raw.SPLITS.items()}
    except UserError as error:
        write({"success": False}, page.render(about, [str(error)]), [str(error)])
        raise

    images = pd.concat([table.image_table(splits[key], name) for key, name in raw.SPLITS.items()], ignore_index=True)
    whole = table.set_table(images, splits, classes, options.centroid_images)

    from stages.validate import pictures, suite  # slow imports: not for data that cannot even be read

    of_set = suite.set_checks(expect, classes)
    of_images = suite.image_checks(expect, classes, splits["train"].writers is not None)
    outcomes = suite.judge(images, whole, of_images, of_set)
    failures = [line for outcome in outcomes for line in outcome.failures]
    metrics = suite.summary(outcomes, whole)

    html = page.render(
        about,
        failures,
        outcomes=outcomes,
        failed=metrics["failed"],
        groups=[("The set as a whole", outcomes[: len(of_set)]), ("Every image", outcomes[len(of_set) :])],
        numbers=[(words, suite.count_or_percent(metrics[name])) for name, words in suite.NUMBERS.items() if words],
        corrections=pictures.corrected(corrected, splits, classes),
        sample_images=options.sample_images,
        strips=pictures.class_strips(splits["train"], classes, options.sample_images),
        charts=pictures.charts(images, splits, classes),
    )
    write(metrics, html, failures)
    if failures:
        hint = f"see {PAGE}; the bounds are {description.name}.expect in {datasets.FILE}"
        raise UserError("\n".join([*failures, hint]))
    print(f"validate: all {len(outcomes)} expectations hold for {dataset.about.title}, {len(images):,} images")


def write(metrics: dict[str, Any], html: str, failures: list[str]) -> None:
    """Write the outputs, also for refused data, so that a person can see why."""
    files.write_text(PAGE, html)
    files.write_json(METRICS, {**metrics, "failures": failures})
    files.write_json(VERDICT, {"success": metrics["success"]})


if __name__ == "__main__":
    no_arguments(__doc__)
    run("validate", main)

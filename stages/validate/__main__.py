"""Check data/raw against what datasets.yaml expects of it; bad data stop the pipeline, with a plain message."""

import sys
from pathlib import Path
from typing import Any

from stages import corrections, datasets
from stages.common import files, parameters
from stages.common.entry import UserError, no_arguments, printable, run
from stages.validate import page, raw, repeats, table
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
    for line in corrections.strange(parameters.load(datasets.FILE)):
        print(f"validate: {printable(line)}", file=sys.stderr)
    try:
        splits = {key: raw.open_split(RAW, name, expect.image_size) for key, name in raw.SPLITS.items()}
    except UserError as error:
        write({"success": False}, page.render(about, [str(error)]), [str(error)])
        raise

    from stages.validate import by_class, partial, suite  # slow imports: not for data that cannot even be read

    of_set = suite.set_checks(expect, classes)
    of_images = suite.image_checks(expect, classes, bool(raw.writer_columns(RAW, raw.SPLITS["train"])))
    wholes = partial.wholes(RAW, splits, of_images, len(classes))
    hashes = {key: whole.hashes for key, whole in wholes.items()}
    row = table.set_row(
        {key: whole.tally for key, whole in wholes.items()},
        repeats.repeats(hashes, {key: split.images for key, split in splits.items()}),
        table.centroid_accuracies(splits, len(classes), options.centroid_images),
        classes,
    )
    of_classes = {key: whole.by_class for key, whole in wholes.items()}
    row = row.assign(**by_class.set_apart(of_classes["train"], classes))
    row = row.assign(**by_class.groups_apart(of_classes, classes))
    if expect.reference:
        row = row.assign(**by_class.unlike(of_classes, expect.reference, classes))
    found = {raw.SPLITS[key]: whole.found for key, whole in wholes.items()}
    outcomes = [*suite.judge_set(row, of_set), *suite.judge_images(found, of_images)]
    failures = [line for outcome in outcomes for line in outcome.failures]
    metrics = suite.summary(outcomes, row)

    set_title = "The set as a whole" if expect.reference else "The set as a whole, without a reference of its classes"
    from stages.validate import pictures  # imports matplotlib, which no other process needs

    html = page.render(
        about,
        failures,
        outcomes=outcomes,
        failed=metrics["failed"],
        groups=[(set_title, outcomes[: len(of_set)]), ("Every image", outcomes[len(of_set) :])],
        numbers=[(words, suite.count_or_percent(metrics[name])) for name, words in suite.NUMBERS.items() if words],
        corrections=pictures.corrected(corrected, splits, hashes, classes),
        sample_images=options.sample_images,
        strips=pictures.class_strips(splits["train"], of_classes["train"].sums, classes, options.sample_images),
        charts=pictures.charts(wholes, classes),
    )
    write(metrics, html, failures)
    if failures:
        hint = f"see {PAGE}; the bounds are {description.name}.expect in {datasets.FILE}"
        raise UserError("\n".join([*failures, hint]))
    count = metrics["train_images"] + metrics["test_images"]
    print(f"validate: all {len(outcomes)} expectations hold for {dataset.about.title}, {count:,} images")


def write(metrics: dict[str, Any], html: str, failures: list[str]) -> None:
    """Write the outputs, also for refused data, so that a person can see why."""
    files.write_text(PAGE, html)
    files.write_json(METRICS, {**metrics, "failures": failures})
    files.write_json(VERDICT, {"success": metrics["success"]})


if __name__ == "__main__":
    no_arguments(__doc__)
    run("validate", main)

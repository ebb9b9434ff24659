"""Compare the scores of two commits, image by image: `python -m review.compare BASE [HEAD]`."""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from scipy.stats import binomtest, t

from record import environment, results
from record.git import side
from record.results import NEEDED, Number, Results
from review.escape import clean
from stages.common.entry import UserError, run

SIGNIFICANCE = 0.05  # a p value below it counts as evidence
LISTED = 50  # indices shown to people; --json has them all


@dataclass(frozen=True)
class Comparison:
    """Two models on the same test images."""

    before: Results
    after: Results
    fixed: tuple[int, ...]  # indices that only the model before gets wrong
    broken: tuple[int, ...]  # indices that only the model after gets wrong
    p_value: float
    verdict: str  # better, worse, undecided or same

    @property
    def sentence(self) -> str:
        """What the paired test says about these two models, and whether another seed could undo the difference."""
        counts = f"{len(self.fixed)} image{'' if len(self.fixed) == 1 else 's'} fixed, {len(self.broken)} broken"
        p = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.2g}"
        if self.verdict == "same":
            return f"{counts}: the same images are wrong"
        if self.verdict == "undecided":
            return f"{counts}: no evidence of a difference ({p})"
        if self.noise_limit is None:
            return f"{counts}: {self.verdict}, and real for these two models ({p})"
        if abs(self.change) > self.noise_limit:
            return f"{counts}: {self.verdict}, and more than noise ({p})"
        return f"{counts}: these two models differ ({p}), but another seed may undo it"

    @property
    def change(self) -> float:
        """How much the accuracy changes from before to after."""
        return self.after.numbers["accuracy"] - self.before.numbers["accuracy"]

    @property
    def noise(self) -> Mapping[str, Any] | None:
        """The noise of the recipe before or, if that is not known, of the recipe after."""
        return self.before.noise or self.after.noise

    @property
    def noise_limit(self) -> float | None:
        """How much the accuracy varies across seeds; None if that is not known."""
        try:
            return None if self.noise is None else seed_noise(self.noise)
        except (UserError, ArithmeticError, TypeError):  # the number of seeds may be larger than any float
            return None


def paired(before: Results, after: Results) -> Comparison:
    """McNemar's exact test (McNemar 1947; two-sided binomial on the images that exactly one model gets wrong).

    It asks whether these two models differ on images of this kind, and assumes that the images are independent.
    Whether training again would repeat the difference is another question: see `seed_noise`. Raises `UserError` if
    the two were not scored on the same images with the same labels.
    """
    names = f"{before.name} and {after.name}"
    if before.test_data != after.test_data:
        raise UserError(
            f"{names} were scored on different test data ({before.test_data[:8]} and {after.test_data[:8]}):"
            " image by image they cannot be compared"
        )
    if before.numbers["images"] != after.numbers["images"]:
        counts = f"{before.numbers['images']} and {after.numbers['images']}"
        raise UserError(f"{names} were scored on {counts} images: image by image they cannot be compared")
    both = before.wrong.keys() & after.wrong.keys()
    if other := sorted(index for index in both if before.wrong[index] != after.wrong[index]):
        raise UserError(
            f"{names} give {len(other)} images different labels, the first is image {other[0]}: they cannot be compared"
        )
    fixed = tuple(sorted(before.wrong.keys() - after.wrong.keys()))
    broken = tuple(sorted(after.wrong.keys() - before.wrong.keys()))
    if not fixed and not broken:
        return Comparison(before, after, fixed, broken, 1.0, "same")
    p_value = float(binomtest(len(fixed), len(fixed) + len(broken)).pvalue)
    verdict = "better" if len(fixed) > len(broken) else "worse"
    return Comparison(before, after, fixed, broken, p_value, verdict if p_value < SIGNIFICANCE else "undecided")


def seed_noise(noise: Mapping[str, Any]) -> float:
    """In 95 of 100 cases, two trainings with different seeds differ in accuracy by less than this.

    t · sd · √2: ISO 5725's repeatability limit, with Student's t instead of 1.96, since the standard deviation
    `accuracy_sd` is estimated from few seeds. Raises `UserError` if there are fewer than two.
    """
    count = seeds(noise)
    if count < 2:
        raise UserError(f"{results.NOISE}: {count} seed says nothing about noise: it takes two or more")
    return float(t.ppf(0.975, count - 1) * noise["accuracy_sd"] * math.sqrt(2))


def seeds(noise: Mapping[str, Any]) -> int:
    """How many seeds were measured: `seeds` is their number or their list."""
    found = noise["seeds"]
    return found if isinstance(found, int) else len(found)


def noise_sentence(comparison: Comparison) -> str | None:
    """The difference, and how much the accuracy varies across seeds or why that is not known; None if not measured."""
    noise, limit = comparison.noise, comparison.noise_limit
    if noise is None:
        misfit = comparison.before.misfit or comparison.after.misfit
        return f"{results.NOISE} was measured {misfit}: `make noise` measures it anew." if misfit else None
    if limit is None:
        return f"{results.NOISE} has fewer than two seeds, too few to tell noise: `make noise` measures it anew."
    return (
        f"The default model with {seeds(noise)} seeds: {noise['accuracy_mean']:.2%} on average,"
        f" {noise['accuracy_low']:.2%} to {noise['accuracy_high']:.2%}. In 95 of 100 cases, two trainings with"
        f" different seeds differ by less than {100 * limit:.2f} points; this change is"
        f" {100 * comparison.change:+.2f} points."
    )


def rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Name, before and after of each number to show."""
    columns = [
        {
            "accuracy": f"{side['accuracy']:.2%}",
            "95 % interval": _interval(side, ""),
            "resampling whole writers": _interval(side, "_writers"),
            "mistakes": f"{side['mistakes']:,} of {side['images']:,}",
        }
        for side in (comparison.before.numbers, comparison.after.numbers)
    ]
    rows = [(name, columns[0][name], columns[1][name]) for name in columns[0]]
    return [row for row in rows if row[1:] != ("-", "-")]


def _interval(numbers: Mapping[str, Number], suffix: str) -> str:
    low, high = numbers.get(f"accuracy_low{suffix}"), numbers.get(f"accuracy_high{suffix}")
    return "-" if low is None or high is None else f"{low:.2%} to {high:.2%}"


def lists(comparison: Comparison) -> list[str]:
    """The indices fixed and broken, a line each."""
    named = {"Fixed": comparison.fixed, "Broken": comparison.broken}
    more = {name: f" and {len(found) - LISTED:,} more" if len(found) > LISTED else "" for name, found in named.items()}
    return [f"{name}: {', '.join(map(str, found[:LISTED])) or 'none'}{more[name]}" for name, found in named.items()]


def text(comparison: Comparison, notes: Sequence[str]) -> str:
    table = [("", comparison.before.name, comparison.after.name), *rows(comparison)]
    widths = [max(map(len, column)) for column in zip(*table)]
    aligned = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table]
    parts = [comparison.sentence, *map(clean, notes), *aligned, *lists(comparison), noise_sentence(comparison)]
    return "\n".join(filter(None, parts))


def as_json(comparison: Comparison, notes: Sequence[str]) -> str:
    sides = {"before": comparison.before, "after": comparison.after}
    optional = ("accuracy_low_writers", "accuracy_high_writers")
    values: dict[str, Any] = {
        side: {"revision": r.name} | {key: r.numbers[key] for key in (*NEEDED, *optional) if key in r.numbers}
        for side, r in sides.items()
    }
    values |= {key: getattr(comparison, key) for key in ("fixed", "broken", "p_value", "verdict", "sentence")}
    return json.dumps(values | {"seed_noise": comparison.noise_limit, "environment": next(iter(notes), None)}, indent=2)


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m review.compare", description=__doc__)
    options.add_argument("base", metavar="BASE", help="the commit to compare with: a branch, a tag, a hash")
    options.add_argument("head", metavar="HEAD", nargs="?", help="the commit to judge; the working tree by default")
    options.add_argument("--json", dest="form", action="store_const", const=as_json, default=text, help="for programs")
    chosen = options.parse_args(arguments)

    before = results.at(chosen.base)
    after = results.in_working_tree() if chosen.head is None else results.at(chosen.head)
    notes = environment.unlike(side(chosen.base), side(chosen.head))
    print(chosen.form(paired(before, after), notes))


if __name__ == "__main__":
    run("compare", partial(main, sys.argv[1:]))

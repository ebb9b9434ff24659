"""Whether digits are like those of a reference: what is measured, how it is compared, and what is said of it.

With enough digits every difference becomes significant, also one that does not matter. So a measurement counts as moved
only if the difference is certain (its p-value, corrected for the number of measurements, is below LEVEL) and large (at
least DISTANCE or SHARES, and STEP where it applies). The two groups of writers of MNIST's test images, of which the
default model reads 99.8 % and 99.5 %, differ from the training images by up to 0.14: DISTANCE lies above that.
`python -m benchmarks.drift` shows what is noticed.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import MonteCarloMethod, chi2_contingency, ks_2samp

LEVEL = 0.01  # probability that anything is certain if the digits come from where the reference comes from
DISTANCE = 0.15  # Kolmogorov-Smirnov distance: so many of the images at least have moved past some value
STEP = 10  # grey levels by which the mean of an extreme must differ: most are 0 or 255, where one level is a distance
SHARES = 0.05  # total variation: so many of the digits at least would have to be others to restore the shares
STRAYS = 0.01  # of the images may lie outside a bound: one odd picture is no drift
EXPECTED = 5  # digits of a class below which chi-square's own distribution is too coarse (Cochran 1954)
RESAMPLES = 9_999  # then: the smallest p-value is 1 in 10,000
SEED = 20


@dataclass(frozen=True)
class Kind:
    """Digits that came to the model in one way. What prepares a picture leaves traces of its own, such as softer edges,
    so the digits of each kind are compared with training images that came in the same way."""

    name: str
    prepared: bool  # as the log has it
    prefix: str  # of the reference's arrays


KINDS = (Kind("pictures", True, "picture_"), Kind("pixels sent to infer", False, ""))


@dataclass(frozen=True)
class Measurement:
    """A column in words: its `title`, what it means if its mean is `lower` or `higher`, and how a value is written.

    `step` is the difference of the means from which one matters, whatever the distance.
    """

    title: str
    lower: str
    higher: str
    form: str = "{:.1f}"
    unit: str = ""
    against: str = "in training"
    step: float = 0

    def written(self, value: float) -> str:
        return self.form.format(value) + self.unit


MEASUREMENTS = {
    "mean_intensity": Measurement("mean intensity", "there is less ink", "there is more ink"),
    "standard_deviation": Measurement("contrast", "ink and ground differ less", "ink and ground differ more"),
    "ink_fraction": Measurement("share of ink", "the strokes are thinner", "the strokes are thicker", "{:.1%}"),
    "distinct_values": Measurement("grey levels in an image", "the edges are harder", "the edges are softer, or noisy"),
    "smallest": Measurement("darkest pixel", "the ground is darker", "the ground is brighter", step=STEP),
    "largest": Measurement("brightest pixel", "the ink is paler", "the ink is brighter", step=STEP),
    "left": Measurement("left edge", "the digits begin further left", "the digits begin further right", unit=" px"),
    "right": Measurement("right edge", "the digits end further left", "the digits end further right", unit=" px"),
    "centre_x": Measurement("centre across", "the digits lie further left", "the digits lie further right", unit=" px"),
    "top": Measurement("top edge", "the digits begin higher", "the digits begin lower", unit=" px"),
    "bottom": Measurement("bottom edge", "the digits end higher", "the digits end lower", unit=" px"),
    "centre_y": Measurement("centre down", "the digits lie higher", "the digits lie lower", unit=" px"),
    "box_size": Measurement("longer side", "the digits are smaller", "the digits are larger", unit=" px"),
    "border_intensity": Measurement("intensity of the border", "the border is darker", "the border is brighter"),
    "confidence": Measurement(
        "confidence", "the model is less sure", "the model is surer", "{:.1%}", against="on the validation images"
    ),
}
PREDICTED = "predicted"


@dataclass(frozen=True)
class Comparison:
    """One measurement of the digits compared with the reference.

    `size` is the Kolmogorov-Smirnov distance, or for the classes the total variation of their shares; `least` is the
    size from which it matters. `p` is corrected for the number of measurements. `words` say what moved, if it did.
    """

    column: str
    title: str
    reference: str
    now: str
    size: float
    least: float
    p: float
    moved: bool
    words: str


@dataclass(frozen=True)
class Bound:
    """A bound of datasets.yaml, the share of the digits that lie outside, whether it is too much, and a sentence."""

    title: str
    bound: str
    outside: float
    crossed: bool
    words: str


@dataclass(frozen=True)
class Result:
    """The digits of one kind in `window`, a row for each, beside their reference."""

    kind: Kind
    reference: dict[str, np.ndarray]
    window: pd.DataFrame
    comparisons: list[Comparison]
    bounds: list[Bound]

    @property
    def findings(self) -> list[str]:
        return findings(self.comparisons, self.bounds)

    @property
    def verdict(self) -> str:
        return f"{self.kind.name}: {verdict(len(self.window), self.findings)}"


def compare(reference: dict[str, np.ndarray], window: pd.DataFrame, classes: list[str]) -> list[Comparison]:
    """Every measurement of `window` (a row for each digit) against `reference`, the classes last.

    The p-values are corrected together by Holm's method (1979). A blank image has no position and does not count there;
    a measurement of which the window has no value at all is left out.
    """
    raw = []
    for column in MEASUREMENTS:
        # In the precision of the reference: what is equal must be equal after rounding too.
        before, now = _known(reference[column]), _known(window[column].to_numpy(reference[column].dtype))
        if len(before) and len(now):
            # Ties, as in whole numbers, make the p-value too large, never too small.
            result = ks_2samp(before, now, method="asymp")
            raw.append((column, before, now, float(result.statistic), float(result.pvalue)))
    before, now = (_counts(values, len(classes)) for values in (reference[PREDICTED], window[PREDICTED].to_numpy()))
    *corrected, of_classes = holm([*(row[-1] for row in raw), classes_p(before, now)])
    compared = [
        _measured(column, before, now, size, p)
        for (column, before, now, size, _), p in zip(raw, corrected, strict=True)
    ]
    return [*compared, _classes(before / before.sum(), now / now.sum(), of_classes, classes)]


def holm(p: Sequence[float]) -> list[float]:
    """`p` corrected for their number: each is at most a level with that probability, if nothing differs (Holm 1979)."""
    order = np.argsort(p)
    scaled = np.array(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(value) for value in corrected]


def classes_p(before: np.ndarray, now: np.ndarray) -> float:
    """Chi-square's p-value of two rows of counts (classes,) having the same shares.

    With fewer than `EXPECTED` digits of a class it comes from random tables with the same sums, the same each time.
    """
    table = np.array([before, now])[:, before + now > 0]
    if table.shape[1] < 2:
        return 1.0
    result = chi2_contingency(table, correction=False)
    if result.expected_freq.min() < EXPECTED:
        method = MonteCarloMethod(n_resamples=RESAMPLES, rng=np.random.default_rng(SEED))
        result = chi2_contingency(table, correction=False, method=method)
    return float(result.pvalue)


def findings(comparisons: list[Comparison], bounds: list[Bound]) -> list[str]:
    """A sentence for each measurement that moved, the largest shift first, and for each bound that is crossed."""
    moved = sorted((each for each in comparisons if each.moved), key=lambda each: each.least / each.size)
    return [each.words for each in moved] + [bound.words for bound in bounds if bound.crossed]


def verdict(count: int, lines: list[str]) -> str:
    """The answer in one sentence."""
    if lines:
        return f"the last {count:,} digits are not like those the model was trained on"
    return f"no drift: the last {count:,} digits are like those the model was trained on"


def summary(results: list[Result], others: dict[Kind, int]) -> dict[str, Any]:
    """Everything that was found, for a program; `others` are the kinds with too few digits, and how many they have."""
    compared = [
        {
            "kind": result.kind.name,
            "digits": len(result.window),
            "drift": bool(result.findings),
            "findings": result.findings,
            "comparisons": [dataclasses.asdict(each) for each in result.comparisons],
            "bounds": [dataclasses.asdict(bound) for bound in result.bounds],
        }
        for result in results
    ]
    few = [{"kind": kind.name, "digits": count} for kind, count in others.items()]
    return {"drift": any(result.findings for result in results), "compared": compared, "not_compared": few}


def _known(values: np.ndarray) -> np.ndarray:
    return np.asarray(values[~np.isnan(values)])


def _counts(predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(predicted.astype(np.intp), minlength=classes)


def _measured(column: str, before: np.ndarray, now: np.ndarray, size: float, p: float) -> Comparison:
    measurement = MEASUREMENTS[column]
    known, seen = (measurement.written(float(values.mean())) for values in (before, now))
    moved = p < LEVEL and size >= DISTANCE and abs(float(now.mean()) - float(before.mean())) >= measurement.step
    words = _how(measurement, before.astype(np.float64), now.astype(np.float64)) if moved else ""
    return Comparison(column, measurement.title, known, seen, size, DISTANCE, p, moved, words)


def _how(measurement: Measurement, before: np.ndarray, now: np.ndarray) -> str:
    """In what `now` differs from `before`: in the mean, or if that is much the same, in the spread around it."""
    spread = float(before.std())
    title, against = measurement.title, measurement.against
    if abs(now.mean() - before.mean()) >= spread / 5:
        words = measurement.lower if now.mean() < before.mean() else measurement.higher
        means = [measurement.written(float(values.mean())) for values in (now, before)]
        return f"{words}: {title} {means[0]}, {means[1]} {against}"
    change = float(now.std()) / spread
    if 0.9 < change < 1.1:
        return f"{title}: its mean and spread are much the same as {against}, but its distribution is not"
    words = "more alike" if change < 1 else "more varied"
    spreads = [measurement.written(float(values.std())) for values in (now, before)]
    return f"the digits are {words} in {title}: standard deviation {spreads[0]}, {spreads[1]} {against}"


def _classes(before: np.ndarray, now: np.ndarray, p: float, names: list[str]) -> Comparison:
    """The comparison of two rows of shares (classes,): in words, the class that adds most to chi-square."""
    size = float(np.abs(before - now).sum() / 2)
    most = int(((before - now) ** 2 / np.maximum(before + now, 1e-12)).argmax())
    words = "fewer digits are" if now[most] < before[most] else "more digits are"
    words = "no digit is" if now[most] == 0 else words
    known, seen = (f"{names[most]}: {row[most]:.1%}" for row in (before, now))
    moved = p < LEVEL and size >= SHARES
    sentence = f"{words} read as {names[most]}: {now[most]:.1%}, {before[most]:.1%} of the validation images"
    return Comparison(PREDICTED, "class shares", known, seen, size, SHARES, p, moved, sentence if moved else "")

"""The gate: which numbers stop a pull request. Its values stand in gate.yaml, outside the pipeline."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from record import documents
from record.results import NUMBERS, Number
from review.compare import Comparison
from stages.common import parameters
from stages.common.entry import UserError
from stages.common.parameters import Block

PATH = "review/gate.yaml"
ACCURACY = (NUMBERS, "accuracy")  # the one metric with a paired test
DIGITS = 10  # decimals that count, so that 0.9963 - 0.9953 is no more than 0.001

Metrics = Mapping[str, Mapping[str, Number]]  # file: key: value
Sentences = list[str]


class Rule(Block):
    """The limit and the tolerance of one metric, in its own unit."""

    better: Literal["higher", "lower"]
    limit: float | None = None
    tolerance: float = Field(ge=0)

    def worsening(self, before: float, after: float) -> float:
        """How much worse `after` is than `before`; negative if it is better."""
        return round(before - after if self.better == "higher" else after - before, DIGITS)

    def beyond(self, value: float) -> bool:
        """Whether `value` misses the limit."""
        return self.limit is not None and (value < self.limit if self.better == "higher" else value > self.limit)


class Gate(Block):
    """Rules by file and key, and the data set that the limits are for; if none is named, that of the base."""

    dataset: str | None = None
    metrics: Annotated[dict[str, Annotated[dict[str, Rule], Field(min_length=1)]], Field(min_length=1)]


@dataclass(frozen=True)
class Judgement:
    """One metric, judged by the gate."""

    file: str
    key: str
    rule: Rule
    before: Number | None
    after: Number | None
    change: str  # better, worse, the same, new, missing, not comparable, …
    failures: tuple[str, ...]  # sentences; empty if the metric holds

    @property
    def name(self) -> str:
        return name(self.file, self.key)


def name(file: str, key: str) -> str:
    """The name of a metric for people: the key, with the file if it is not metrics/evaluate.json: `loss (train)`."""
    return key if file == NUMBERS else f"{key} ({PurePosixPath(file).stem})"


def read(where: str, text: bytes) -> Gate:
    """The gate in `text`. Raises `UserError`: not YAML, unknown or missing keys, wrong types."""
    try:
        values = parameters.parse(text)
    except documents.UNREADABLE as error:
        raise UserError(f"{where}: not valid YAML{documents.line_of(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: no rules: it must hold `metrics`")
    try:
        return parameters.check("gate", values, Gate, Path(PATH))
    except UserError as error:
        raise UserError(str(error).replace(PATH, where).replace("\n", "; ")) from None


def choose(
    before: tuple[str, bytes | None], after: tuple[str, bytes | None]
) -> tuple[Gate | None, Sentences, Sentences]:
    """The gate to judge by, what is wrong with the gates, and notes; each side is a name and a text.

    It is the gate of the base, so that no pull request can loosen its own; if the base has none, the gate of the head.
    """
    wrong: list[str] = []

    def readable(side: tuple[str, bytes | None]) -> Gate | None:
        try:
            return None if side[1] is None else read(f"{PATH} in {side[0]}", side[1])
        except UserError as error:
            wrong.append(str(error))
            return None

    old = readable(before)
    new = old if before[1] == after[1] else readable(after)
    if old and before[1] != after[1]:
        verb = "changes" if after[1] is not None else "removes"
        return old, wrong, [f"This pull request {verb} {PATH}: it is judged by the gate of the base."]
    if new and not old:
        return new, wrong, [f"The base has no readable {PATH}: this pull request is judged by its own."]
    return old, wrong or ([] if old else [f"there is no {PATH}, here or in the base: nothing to judge by"]), []


def without_limits(gate: Gate) -> Gate:
    """The gate for another data set than the limits are for: only tolerances are left."""
    rules = {
        file: {key: rule.model_copy(update={"limit": None}) for key, rule in named.items()}
        for file, named in gate.metrics.items()
    }
    return gate.model_copy(update={"metrics": rules})


def judge(
    gate: Gate,
    before: Metrics,
    after: Metrics,
    comparable: bool,
    comparison: Comparison | None,
    redefined: Collection[tuple[str, str]] = (),
) -> list[Judgement]:
    """The judgement on each metric of `gate`, in its order.

    If the numbers are not `comparable`, only limits count; the same holds for the metrics `redefined`, each a file and
    a key. A worse accuracy counts only if `comparison`, the mistakes image by image, is evidence of it; without a
    comparison, it always counts.
    """
    judgements = []
    for file, rules in gate.metrics.items():
        for key, rule in rules.items():
            old, new = before.get(file, {}).get(key), after.get(file, {}).get(key)
            pair = comparable and (file, key) not in redefined
            judgements.append(_judged(file, key, rule, old, new, pair, comparison))
    return judgements


def _judged(
    file: str,
    key: str,
    rule: Rule,
    before: Number | None,
    after: Number | None,
    comparable: bool,
    comparison: Comparison | None,
) -> Judgement:
    label, judgement = name(file, key), partial(Judgement, file, key, rule, before, after)
    if after is None:
        lost = "" if before is None else f"; in the base it is {before:g}"
        return judgement("missing", (f"{label} has no number{lost}",))
    failures = []
    if rule.beyond(after):
        side = "below" if rule.better == "higher" else "above"
        failures.append(f"{label} is {after:g}, {side} its limit of {rule.limit:g}")
    if before is None or not comparable:
        return judgement("new" if before is None else "not comparable", tuple(failures))
    worse = rule.worsening(before, after)
    change = "worse" if worse > 0 else "better" if worse < 0 else "the same"
    if worse > rule.tolerance:
        evidence = evidence_against(comparison, worse) if (file, key) == ACCURACY else ""
        if evidence is None:
            return judgement("worse, perhaps noise", tuple(failures))
        moved = f"{label} {'fell' if rule.better == 'higher' else 'rose'} from {before:g} to {after:g}"
        failures.append(f"{moved}, by {worse:g}; {rule.tolerance:g} is tolerated{evidence}")
    elif worse > 0:
        change = "worse, as tolerated"
    return judgement(change, tuple(failures))


def evidence_against(comparison: Comparison | None, fall: float) -> str | None:
    """Why a fall of the accuracy counts, as the end of a sentence; None if it may be noise."""
    if comparison is None:
        return (
            "; it cannot be tested for noise, because the mistakes of the two sides cannot be compared image by image"
        )
    if comparison.verdict == "worse":
        return f"; {comparison.sentence}"
    limit = comparison.noise_limit
    return f"; another seed changes it by less than {limit:.2g}" if limit is not None and fall > limit else None

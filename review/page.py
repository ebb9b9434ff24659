"""What a review says, section by section; `render` turns it into Markdown or HTML."""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from review import compare, gate, snapshot
from review.compare import Comparison
from review.gallery import Digit
from review.gate import Judgement
from review.results import MISTAKES, NUMBERS
from review.snapshot import Snapshot

HISTORY, CLASSES = "metrics/history.csv", "metrics/classes.csv"
DIFF = 60  # lines of a changed gate, at most
CURVES = ("validation_accuracy", "validation_loss")


@dataclass(frozen=True)
class Verdict:
    """Whether the pull request passes, and why not."""

    failures: tuple[str, ...]  # sentences
    override: str | None  # the reason for which it passes all the same
    holds: str  # what to say where nothing failed

    @property
    def passed(self) -> bool:
        return not self.failures or self.override is not None

    @property
    def word(self) -> str:
        return "Fail" if not self.passed else "Pass by override" if self.failures else "Pass"

    @property
    def sentence(self) -> str:
        if not self.failures:
            return self.holds
        more = f", and {len(self.failures) - 1} more" if len(self.failures) > 1 else ""
        overridden = f"{self.override} overrides this: " if self.override else ""
        return f"{overridden}{self.failures[0]}{more}."


@dataclass(frozen=True)
class Table:
    """Cells of text under a head; `columns` has a letter for each: c for code, n for a number, t for text."""

    head: tuple[str, ...]
    columns: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chart:
    """A quantity by epoch on both sides."""

    quantity: str
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True)
class Section:
    """One heading of the page and what stands under it; without anything under it, it is left out."""

    title: str
    importance: int  # where the page gets too long, the least important go first
    lines: tuple[str, ...] = ()
    table: Table | None = None
    source: str = ""  # text to be shown as it is, in the language `language`
    language: str = ""
    digits: tuple[tuple[str, tuple[Digit, ...]], ...] = ()  # groups, each with its caption
    charts: tuple[Chart, ...] = ()
    folded: bool = False

    @property
    def empty(self) -> bool:
        return not (self.lines or (self.table and self.table.rows) or self.source or self.digits or self.charts)


def holds(judgements: Sequence[Judgement], comparable: bool) -> str:
    """What to say where every metric holds."""
    names = f"all {len(judgements)} metrics hold" if len(judgements) > 1 else "the metric of the gate holds"
    if not comparable:
        return f"{names} within their limits; nothing could be compared with the base."
    changes = [f"{one.name} {number(one.before)} → {number(one.after)}" for one in judgements[:1]]
    return f"{names}; {', '.join(changes)}."


def failures(verdict: Verdict) -> Section:
    """All that failed, where the verdict's sentence has no room for it."""
    if verdict.failures and verdict.passed:
        return Section("What was overridden", 0, (f"Overridden by {verdict.override}.", *verdict.failures))
    return Section("What fails", 0, verdict.failures if len(verdict.failures) > 1 else ())


def notes(lines: Sequence[str]) -> Section:
    return Section("Notes", 1, tuple(lines))


def gated_metrics(judgements: Sequence[Judgement], after: Snapshot) -> Section:
    """The metrics that the gate names."""
    rows = []
    for one in judgements:
        bound = "≥" if one.rule.better == "higher" else "≤"
        rows.append(
            (
                one.name,
                "fails" if one.failures else "holds",
                number(one.before),
                number(one.after),
                difference(one.before, one.after),
                one.change,
                interval(after.metrics.get(one.file, {}), one.key),
                "-" if one.rule.limit is None else f"{bound} {number(one.rule.limit)}",
                number(one.rule.tolerance),
            )
        )
    head = (
        "Metric",
        "Gate",
        "Before",
        "After",
        "Difference",
        "Direction",
        "95 % interval, after",
        "Limit",
        "Tolerance",
    )
    return Section("Metrics", 2, table=Table(head, "ctnnntntn", tuple(rows)))


def other_metrics(before: Snapshot, after: Snapshot, gated: Sequence[Judgement]) -> Section:
    """The metrics that changed and that the gate does not name."""
    rows, shown = [], {(one.file, one.key) for one in gated}
    for file in sorted({*before.metrics, *after.metrics}):
        old, new = before.metrics.get(file, {}), after.metrics.get(file, {})
        for key in dict.fromkeys([*old, *new]):
            if before.metrics.get(NUMBERS) and (file, key) not in shown and old.get(key) != new.get(key):
                values = old.get(key), new.get(key)
                rows.append((gate.name(file, key), *map(number, values), difference(*values)))
    table = Table(("Metric", "Before", "After", "Difference"), "cnnn", tuple(rows))
    return Section("Other metrics that changed", 7, table=table, folded=True)


def mistakes(comparison: Comparison) -> Section:
    """What McNemar's test says of the images fixed and broken, and what the seed alone does."""
    sentence = f"{comparison.sentence}. McNemar's exact test, image by image, on the same test images."
    unusable = comparison.noise is not None and comparison.noise_limit is None
    noise = None if unusable else compare.noise_sentence(comparison)
    lists = compare.lists(comparison) if comparison.fixed or comparison.broken else []
    return Section("Mistakes, image by image", 3, tuple(filter(None, [sentence, noise, *lists])))


def pictures(broken: tuple[Digit, ...], fixed: tuple[Digit, ...], comparison: Comparison) -> Section:
    groups = [
        (f"Broken, {counted(broken, comparison.broken)}: the label, and what it is now taken for", broken),
        (f"Fixed, {counted(fixed, comparison.fixed)}: the label, and what it was taken for", fixed),
    ]
    return Section("Digits broken and fixed", 6, digits=tuple(group for group in groups if group[1]), folded=True)


def predictions(side: Snapshot) -> dict[int, int]:
    """What the model of one side took its misclassified images for, by index."""
    pairs = [[as_number(row.get(key)) for key in ("index", "predicted")] for row in snapshot.table(side, MISTAKES)]
    return {int(index): int(predicted) for index, predicted in pairs if None not in (index, predicted)}


def counted(shown: Sequence[Any], every: Sequence[Any]) -> str:
    return f"all {len(every):,}" if len(shown) == len(every) else f"the first {len(shown)} of {len(every):,}"


def parameters(before: Snapshot, after: Snapshot) -> Section:
    old, new = before.parameters, after.parameters
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)] if old and new else []
    rows = tuple((key, old.get(key, "-"), new.get(key, "-")) for key in keys)
    return Section("Parameters", 4, table=Table(("Parameter", "Before", "After"), "ccc", rows))


def stages(before: Snapshot, after: Snapshot, seconds: Mapping[str, float] | None) -> Section:
    """Which stages ran, for how long, and what of their entries in dvc.lock changed; `seconds` None: not known."""
    changes = {
        name: lock_change(before.stages.get(name), after.stages.get(name))
        for name in dict.fromkeys([*after.stages, *before.stages])
        if before.stages
    }
    ran = {name: spent for name, spent in (seconds or {}).items() if name in changes or not changes}
    rows = [
        (name, f"{ran[name]:.1f} s" if name in ran else "did not run", changes.get(name) or "-")
        for name in dict.fromkeys([*changes, *ran])
        if changes.get(name) or name in ran
    ]
    columns = [0, 1, 2] if seconds is not None else [0, 2]
    head, letters = ("Stage", "Time", "Changed in dvc.lock"), "cnt"
    table = Table(
        tuple(head[column] for column in columns),
        "".join(letters[column] for column in columns),
        tuple(tuple(row[column] for column in columns) for row in rows),
    )
    sentence = (f"{len(ran)} of {len(after.stages)} stages ran, in {sum(ran.values()):.1f} s.",) if ran else ()
    if seconds is not None and not ran:
        sentence = ("No stage ran: what they wrote was there, from a run with the same inputs.",)
    return Section("Stages", 5, sentence, table)


def lock_change(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """What differs between two entries of a stage, for people; empty where nothing does."""
    if before is None or after is None:
        return "new stage" if before is None else "stage removed"
    changes = ["its command"] if before.get("cmd") != after.get("cmd") else []
    for side, verb in (("deps", "reads"), ("outs", "writes")):
        old, new = snapshot.checksums(before, side), snapshot.checksums(after, side)
        if paths := [path for path in dict.fromkeys([*old, *new]) if old.get(path) != new.get(path)]:
            changes.append(f"{verb} {', '.join(paths)}")
        if side == "deps" and before.get("params") != after.get("params"):
            changes.append("its parameters")
    return "; ".join(changes)


def classes(before: Snapshot, after: Snapshot) -> Section:
    """The accuracy of each class, which is its recall."""
    old, new = (
        {row["class"]: row for row in snapshot.table(side, CLASSES) if "class" in row} for side in (before, after)
    )
    rows = []
    for name, row in new.items():
        values = [as_number(side.get("recall")) for side in (old.get(name, {}), row)]
        rows.append((name, *map(number, values), difference(*values), row.get("support", "-")))
    head = ("Class", "Before", "After", "Difference", "Images")
    changed = old and any(old.get(name, {}).get("recall") != row.get("recall") for name, row in new.items())
    table = Table(head, "cnnnn", tuple(rows)) if changed else None
    return Section("Accuracy by class", 8, table=table, folded=True)


def curves(before: Snapshot, after: Snapshot) -> Section:
    old, new = (snapshot.table(side, HISTORY) for side in (before, after))
    charts = []
    for quantity in CURVES:
        sides = [tuple(as_number(row.get(quantity)) for row in rows) for rows in (old, new)]
        if all(sides) and None not in sides[0] + sides[1] and sides[0] != sides[1]:
            charts.append(Chart(quantity.replace("_", " "), *sides))
    return Section("Validation by epoch", 9, charts=tuple(charts), folded=True)


def gate_change(before: bytes | None, after: bytes | None) -> Section:
    """The difference of two texts of the gate."""
    texts = [(text or b"").decode(errors="replace").splitlines() for text in (before, after)]
    lines = list(difflib.unified_diff(*texts, f"base/{gate.PATH}", f"head/{gate.PATH}", lineterm="", n=1))
    more = [f"… and {len(lines) - DIFF} more lines"] if len(lines) > DIFF else []
    source = "\n".join([*lines[:DIFF], *more]) if before is not None else ""
    return Section("This pull request changes its gate", 1, source=source, language="diff")


def seconds(text: str) -> dict[str, float]:
    """Stage: seconds, of the lines that STAGE_SECONDS collects; lines that are none are passed over."""
    spent: dict[str, float] = {}
    for line in text.splitlines():
        try:
            record = json.loads(line)
            name, value = str(record["stage"]), as_number(record["seconds"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if value is not None:
            spent[name] = spent.get(name, 0) + value
    return spent


def interval(numbers: Mapping[str, int | float], key: str) -> str:
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    return "-" if low is None or high is None else f"{number(low)} to {number(high)}"


def as_number(value: Any) -> float | None:
    try:
        return found if math.isfinite(found := float(value)) else None
    except (TypeError, ValueError, OverflowError):
        return None


def number(value: int | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def difference(before: int | float | None, after: int | float | None) -> str:
    if before is None or after is None:
        return "-"
    change = after - before if isinstance(after - before, int) else round(after - before, gate.DIGITS)
    return "0" if not change else f"{change:+,}" if isinstance(change, int) else f"{change:+.4g}"

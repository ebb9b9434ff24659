"""What a review says, section by section; `render` turns it into Markdown or HTML."""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from record import lock, snapshot
from record.results import MISTAKES, NUMBERS, Number
from record.snapshot import Snapshot
from review import compare, gate
from review.compare import Comparison
from review.gallery import Digit
from review.gate import Judgement

CLASSES = "metrics/classes.csv"
DIFF = 60  # lines of a changed gate, at most


@dataclass(frozen=True)
class Verdict:
    """Whether the pull request passes, and why not."""

    failures: tuple[str, ...]  # sentences
    override: str | None  # the reason why it passes despite failures
    holds: str  # what to say if nothing failed

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
class Section:
    """One heading of the page and what is below it; a section with nothing below its heading is left out."""

    title: str
    importance: int  # if the page gets too long, the sections with the largest numbers are left out first
    lines: tuple[str, ...] = ()
    table: Table | None = None
    source: str = ""  # text to be shown as it is, in the language `language`
    language: str = ""
    digits: tuple[tuple[str, tuple[Digit, ...]], ...] = ()  # groups, each with its caption
    folded: bool = False

    @property
    def empty(self) -> bool:
        return not (self.lines or (self.table and self.table.rows) or self.source or self.digits)


def holds(judgements: Sequence[Judgement], comparable: bool) -> str:
    """What to say if every metric holds."""
    names = f"all {len(judgements)} metrics hold" if len(judgements) > 1 else "the metric of the gate holds"
    if not comparable:
        return f"{names} within their limits; nothing could be compared with the base."
    changes = [f"{one.name} {number(one.before)} → {number(one.after)}" for one in judgements[:1]]
    return f"{names}; {', '.join(changes)}."


def failures(verdict: Verdict) -> Section:
    """All failures, unless the sentence of the verdict has the only one."""
    if verdict.failures and verdict.passed:
        return Section("What was overridden", 0, (f"Overridden by {verdict.override}.", *verdict.failures))
    return Section("What fails", 0, verdict.failures if len(verdict.failures) > 1 else ())


def notes(lines: Sequence[str]) -> Section:
    return Section("Notes", 1, tuple(lines))


def gate_change(before: bytes | None, after: bytes | None) -> Section:
    """How two texts of the gate differ."""
    old, new = ((text or b"").decode(errors="replace").splitlines() for text in (before, after))
    lines = list(difflib.unified_diff(old, new, f"base/{gate.PATH}", f"head/{gate.PATH}", lineterm="", n=1))
    more = [f"… and {len(lines) - DIFF} more lines"] if len(lines) > DIFF else []
    source = "\n".join([*lines[:DIFF], *more]) if before is not None else ""
    return Section("This pull request changes its gate", 1, source=source, language="diff")


def gated_metrics(judgements: Sequence[Judgement], after: Snapshot) -> Section:
    """The metrics that the gate names."""
    columns = {
        "Metric": "c",
        "Gate": "t",
        "Before": "n",
        "After": "n",
        "Difference": "n",
        "Direction": "t",
        "95 % interval, after": "n",
        "Limit": "t",
        "Tolerance": "n",
    }
    rows = tuple(
        (
            one.name,
            "fails" if one.failures else "holds",
            number(one.before),
            number(one.after),
            difference(one.before, one.after),
            one.change,
            interval(after.metrics.get(one.file, {}), one.key),
            "-"
            if one.rule.limit is None
            else f"{'≥' if one.rule.better == 'higher' else '≤'} {number(one.rule.limit)}",
            number(one.rule.tolerance),
        )
        for one in judgements
    )
    return Section("Metrics", 2, table=Table(tuple(columns), "".join(columns.values()), rows))


def mistakes(comparison: Comparison) -> Section:
    """What McNemar's test says about the images fixed and broken, and how much the accuracy varies across seeds."""
    sentence = f"{comparison.sentence}. McNemar's exact test, image by image, on the same test images."
    unusable = comparison.noise is not None and comparison.noise_limit is None
    noise = None if unusable else compare.noise_sentence(comparison)
    lists = compare.lists(comparison) if comparison.fixed or comparison.broken else []
    return Section("Mistakes, image by image", 3, tuple(filter(None, [sentence, noise, *lists])))


def parameters(before: Snapshot, after: Snapshot) -> Section:
    """The parameters that changed, in the files that both sides have."""
    shared = [file for file, values in after.values.items() if values and before.values.get(file)]
    old, new = before.parameters(shared), after.parameters(shared)
    rows = tuple((key, old.get(key, "-"), new.get(key, "-")) for key in changed(old, new))
    return Section("Parameters", 4, table=Table(("Parameter", "Before", "After"), "ccc", rows))


def stages(before: Snapshot, after: Snapshot, seconds: Mapping[str, float] | None) -> Section:
    """Which stages ran, for how long, and what changed in their entries in dvc.lock; `seconds` is None if not known."""
    old, new = before.lock.stages, after.lock.stages
    changes = {name: lock_change(old.get(name), new.get(name)) for name in dict.fromkeys([*new, *old]) if old}
    ran = {name: spent for name, spent in (seconds or {}).items() if name in changes or not changes}
    rows = [
        (name, f"{ran[name]:.1f} s" if name in ran else "did not run", changes.get(name) or "-")
        for name in dict.fromkeys([*changes, *ran])
        if changes.get(name) or name in ran
    ]
    sentence: tuple[str, ...] = ()
    if seconds is None:
        table = Table(("Stage", "Changed in dvc.lock"), "ct", tuple((name, change) for name, _, change in rows))
    else:
        table = Table(("Stage", "Time", "Changed in dvc.lock"), "cnt", tuple(rows))
        sentence = ("No stage ran: their outputs were restored from a run with the same inputs.",)
    if ran:
        sentence = (f"{len(ran)} of {len(new)} stages ran, in {sum(ran.values()):.1f} s.",)
    return Section("Stages", 5, sentence, table)


def lock_change(before: lock.Stage | None, after: lock.Stage | None) -> str:
    """How two entries of a stage differ, for people; empty if they do not."""
    if before is None or after is None:
        return "new stage" if before is None else "stage removed"
    changes = ["its command"] if before.command != after.command else []
    if paths := changed(before.deps, after.deps):
        changes.append(f"reads {', '.join(paths)}")
    if before.params != after.params:
        changes.append("its parameters")
    if paths := changed(before.outs, after.outs):
        changes.append(f"writes {', '.join(paths)}")
    return "; ".join(changes)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, or that only one side has."""
    return [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]


def pictures(broken: tuple[Digit, ...], fixed: tuple[Digit, ...], comparison: Comparison) -> Section:
    groups = [
        (f"Broken, {counted(broken, comparison.broken)}, each with its label and the new prediction", broken),
        (f"Fixed, {counted(fixed, comparison.fixed)}, each with its label and the old prediction", fixed),
    ]
    return Section("Digits broken and fixed", 6, digits=tuple(group for group in groups if group[1]), folded=True)


def predictions(side: Snapshot) -> dict[int, int]:
    """What the model of one side predicted for the images that it misclassified, by index."""
    found = {}
    for row in snapshot.table(side, MISTAKES):
        index, predicted = as_number(row.get("index")), as_number(row.get("predicted"))
        if index is not None and predicted is not None:
            found[int(index)] = int(predicted)
    return found


def counted(shown: Sequence[Any], every: Sequence[Any]) -> str:
    return f"all {len(every):,}" if len(shown) == len(every) else f"the first {len(shown)} of {len(every):,}"


def other_metrics(before: Snapshot, after: Snapshot, gated: Sequence[Judgement]) -> Section:
    """The metrics that changed and that the gate does not name."""
    rows, shown = [], {(one.file, one.key) for one in gated}
    for file in sorted({*before.metrics, *after.metrics}) if before.metrics.get(NUMBERS) else []:
        old, new = before.metrics.get(file, {}), after.metrics.get(file, {})
        for key in changed(old, new):
            if (file, key) not in shown:
                values = old.get(key), new.get(key)
                rows.append((gate.name(file, key), *map(number, values), difference(*values)))
    table = Table(("Metric", "Before", "After", "Difference"), "cnnn", tuple(rows))
    return Section("Other metrics that changed", 7, table=table, folded=True)


def classes(before: Snapshot, after: Snapshot) -> Section:
    """The accuracy of each class, which is its recall."""
    old, new = (
        {row["class"]: row for row in snapshot.table(side, CLASSES) if "class" in row} for side in (before, after)
    )
    rows = []
    for name, row in new.items():
        recalls = as_number(old.get(name, {}).get("recall")), as_number(row.get("recall"))
        rows.append((name, *map(number, recalls), difference(*recalls), row.get("support", "-")))
    head = ("Class", "Before", "After", "Difference", "Images")
    differ = old and any(old.get(name, {}).get("recall") != row.get("recall") for name, row in new.items())
    table = Table(head, "cnnnn", tuple(rows)) if differ else None
    return Section("Accuracy by class", 8, table=table, folded=True)


def seconds(text: str) -> dict[str, float]:
    """Stage: seconds, from the lines that STAGE_SECONDS collects; other lines are ignored."""
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


def interval(numbers: Mapping[str, Number], key: str) -> str:
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    return "-" if low is None or high is None else f"{number(low)} to {number(high)}"


def as_number(value: Any) -> float | None:
    try:
        return found if math.isfinite(found := float(value)) else None
    except (TypeError, ValueError, OverflowError):
        return None


def number(value: Number | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def difference(before: Number | None, after: Number | None) -> str:
    if before is None or after is None:
        return "-"
    change = after - before if isinstance(after - before, int) else round(after - before, gate.DIGITS)
    return "0" if not change else f"{change:+,}" if isinstance(change, int) else f"{change:+.4g}"

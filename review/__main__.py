"""Review a pull request: what it changes, and whether it passes the gate. `python -m review [BASE [HEAD]]`.

Writes one page as Markdown. The exit code is the verdict: 0 pass, 1 fail.
"""

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from review import gallery, gate, page, render, results, snapshot
from review.compare import Comparison, paired
from review.escape import clean
from review.gate import Gate, Judgement
from review.page import Section, Verdict
from review.results import LOCK, MISTAKES, NOISE, NUMBERS
from review.snapshot import Read, Snapshot
from stages.common.entry import UserError, run
from stages.common.files import write_text

PICTURES = 12  # digits shown, at most


def main(arguments: Sequence[str]) -> None:
    """Read both sides, judge, write the page; a `UserError` with the verdict where it is to fail."""
    chosen = options().parse_args(arguments)
    seconds = None if chosen.seconds is None else page.seconds(text_of(chosen.seconds))
    override = (chosen.override or "").strip() or None

    try:
        results.resolve("HEAD")  # says so in words where this is no repository, or one that Git refuses
        base = chosen.base or results.default_branch("origin/", "")
        if base is None:  # HEAD would be compared with itself
            raise UserError(
                "no base is known, neither main nor another default branch: name it, `python -m review BASE`"
            )
        verdict, about, sections = reviewed(base, chosen.head, seconds, override)
    except UserError as error:
        verdict, about, sections = Verdict((str(error),), override, ""), [], []

    markdown = render.markdown(verdict, about, sections)
    if chosen.html:
        write_text(chosen.html, render.html(verdict, about, sections))
    if chosen.output:
        write_text(chosen.output, markdown)
    else:
        sys.stdout.buffer.write(markdown.encode())
    if not verdict.passed:
        raise UserError(f"fail: {clean(verdict.sentence)}")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m review", description=__doc__)
    parser.add_argument(
        "base", metavar="BASE", nargs="?", help="what it is to be merged into: a branch, a hash; main unless given"
    )
    parser.add_argument("head", metavar="HEAD", nargs="?", help="the commit to judge; without it, the working tree")
    parser.add_argument("--seconds", type=Path, metavar="FILE", help="what STAGE_SECONDS collected in `dvc repro`")
    parser.add_argument("--override", metavar="REASON", help="pass all the same, and say why; empty: no override")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page there, not to standard output")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as HTML too, with the digits as pictures")
    return parser


def reviewed(
    base: str, head: str | None, seconds: Mapping[str, float] | None, override: str | None
) -> tuple[Verdict, list[str], list[Section]]:
    """The verdict, what was compared, and the page's sections. Raises `UserError` where there is no such head."""
    after_name, after_read = side(head)
    failures: list[str] = []
    try:
        left = results.merge_base(base, head or "HEAD")
        before_name, before_read = left[:7], partial(results.content, left)
        base_name = results.named(base, results.resolve(base))
        about = [f"Compared with {left[:7]}, the merge base of {base_name} and {after_name}."]
    except UserError as error:
        failures.append(f"there is no base: {error}")
        before_name, before_read = "the base", snapshot.EMPTY.read
        about = [f"Judged: {after_name}."]

    gates = before_read(gate.PATH), after_read(gate.PATH)
    judging, wrong, notes = gate.choose((before_name, gates[0]), (after_name, gates[1]))
    files = judging.metrics.keys() if judging else ()
    after = snapshot.take(after_name, after_read, files)
    before = snapshot.EMPTY if failures else snapshot.take(before_name, before_read, files)

    comparable, comparison, unlike, more = compared(before, after, files)
    changed = redefined(judging, before, after) if judging and comparable else {}
    judgements = gate.judge(judging, before.metrics, after.metrics, comparable, comparison, changed) if judging else []
    failures += [*wrong, *after.problems.values(), *stale(after, head), *unlike, *broken_numbers(judgements, before)]
    failures += [failure for one in judgements for failure in one.failures]
    verdict = Verdict(tuple(failures), override, page.holds(judgements, comparable))

    sections = [
        page.failures(verdict),
        page.notes(
            [*notes, *unseen(head), *more, *changed.values(), *stale_base(before), *new_numbers(judgements, before)]
        ),
        page.gate_change(*gates),
        page.gated_metrics(judgements, after),
        *(mistakes(comparison, before, after) if comparison else []),
        page.parameters(before, after),
        page.stages(before, after, seconds),
        page.other_metrics(before, after, judgements),
        page.classes(before, after),
        page.curves(before, after),
    ]
    return verdict, about, sections


def side(revision: str | None) -> tuple[str, Read]:
    """The name of a revision, or of the working tree, and what reads its files."""
    if revision is None:
        return results.WORKING_TREE, results.on_disk
    commit = results.resolve(revision)
    return results.named(revision, commit), partial(results.content, commit)


def stale(after: Snapshot, head: str | None) -> list[str]:
    """Why the numbers are not those of this code and these parameters; asked only where all files can be read.

    DVC tells it of the working tree. Of a commit, and where there is no DVC, the stages' names and the parameters are
    compared.
    """
    if after.problems:
        return []
    try:
        if head is None and Path(".dvc").is_dir():
            from tools import fresh  # it brings DVC

            found = fresh.by_stage([LOCK])
        else:
            found = snapshot.stage_differences(after) | snapshot.parameter_differences(after)
    except UserError as error:
        return [str(error)]
    stages = told(found)
    return [f"{LOCK} is not the lock of this code and these parameters, run `dvc repro`: {stages}"] if stages else []


def unseen(head: str | None) -> list[str]:
    return [] if head is None else [f"The code of {head} was not held against its lock: `make fresh` there does that."]


def stale_base(before: Snapshot) -> list[str]:
    """A line where the base's numbers are of other parameters; no failure, for this pull request may mend it."""
    try:
        stages = told(snapshot.parameter_differences(before))
    except UserError as error:
        return [str(error)]
    return [f"The numbers of the base are of other parameters than its own: {stages}."] if stages else []


def told(differences: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{stage}: {', '.join(found)}" for stage, found in differences.items() if found)


def compared(
    before: Snapshot, after: Snapshot, gated: Collection[str]
) -> tuple[bool, Comparison | None, list[str], list[str]]:
    """Whether the numbers of both sides can be compared, their mistakes image by image, failures and notes.

    A base that has numbers which nobody can trust is a failure: else damage there would loosen the gate.
    """
    old, new = before.results, after.results
    damaged = {
        path: f"the numbers of the base cannot be trusted, mend it first: {problem}"
        for path, problem in before.problems.items()
        if before.has(NUMBERS) and (path in (NUMBERS, MISTAKES, LOCK) or (path in gated and before.has(path)))
    }
    failures = [*damaged.values()]
    notes = [problem for path, problem in before.problems.items() if path not in damaged]
    if old is None or new is None:
        return False, None, failures, ["Nothing could be compared with the base: limits alone count.", *notes]
    if old.test_data != new.test_data:
        change = f"the test data changed ({old.test_data[:8]} to {new.test_data[:8]})"
        return False, None, [*failures, f"{change}: the numbers before and after cannot be compared"], notes
    if old.noise and before.read(NOISE) != after.read(NOISE):
        notes.append(f"This pull request changes {NOISE}: the noise that the base records is what counts.")
    try:
        return True, paired(old, new), failures, notes
    except UserError as error:
        return True, None, [*failures, f"{error}; run `dvc repro` on the side that is wrong"], notes


def redefined(judging: Gate, before: Snapshot, after: Snapshot) -> dict[tuple[str, str], str]:
    """A line for each metric, by file and key, that both sides have and do not measure with the same thing.

    Whoever moves the measure can make a worse model look better, so such a metric is not held against the base.
    """
    found = {}
    for file, rules in judging.metrics.items():
        for key in rules:
            measures = [snapshot.measure(one, file, key) for one in (before, after)]
            if measures[0] != measures[1] and key in before.metrics.get(file, {}):
                label = gate.name(file, key)
                found[file, key] = f"{label} is not measured as in the base ({measures[1][0]}): only its limit counts."
    return found


def broken_numbers(judgements: Sequence[Judgement], before: Snapshot) -> list[str]:
    """A failure for each metric that the base has, but not as a number: to pass it over would loosen the gate."""
    return [
        f"{one.name} is {value!r} in the base, which is no number: mend it there first"
        for one in judgements
        if one.change == "new" and (value := snapshot.value(before, one.file, one.key)) is not snapshot.ABSENT
    ]


def new_numbers(judgements: Sequence[Judgement], before: Snapshot) -> list[str]:
    """A line on each metric that the base lacks although it has the file: with it, only the limit counts."""
    return [
        f"{one.name} has no number in the base, which has {one.file}: only its limit counts."
        for one in judgements
        if one.change == "new"
        and one.file not in before.problems
        and before.has(one.file)
        and snapshot.value(before, one.file, one.key) is snapshot.ABSENT
    ]


def mistakes(comparison: Comparison, before: Snapshot, after: Snapshot) -> list[Section]:
    """The images fixed and broken: the test, and pictures where the test images are here."""
    section = page.mistakes(comparison)
    if not comparison.broken and not comparison.fixed:
        return [section]
    try:
        images = gallery.load(comparison.after.test_data)
    except UserError as error:
        return [replace(section, lines=(*section.lines, str(error)))]
    number = max(PICTURES // 2, PICTURES - len(comparison.fixed))
    broken = comparison.broken[:number]
    fixed = comparison.fixed[: PICTURES - len(broken)]
    shown = (
        gallery.digits(indices, wrong.wrong, page.predictions(made_by), after.classes, images)
        for indices, wrong, made_by in (
            (broken, comparison.after, after),
            (fixed, comparison.before, before),
        )
    )
    return [section, page.pictures(*shown, comparison)]


def text_of(path: Path) -> str:
    """The text of a file; empty where there is none, for a run without a stage leaves none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


if __name__ == "__main__":
    run("review", partial(main, sys.argv[1:]))

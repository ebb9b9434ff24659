"""Review a pull request: what it changes, and whether it passes the gate. `python -m review [BASE [HEAD]]`.

Writes review.md, which becomes a comment, and index.html, and prints the verdict. The exit code is 0 for a pass, 1 for
a failure.
"""

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from record import environment, git, lock, readable, rerun, snapshot
from record.results import MISTAKES, NOISE, NUMBERS
from record.snapshot import Snapshot
from review import gallery, gate, page, render
from review.compare import Comparison, paired
from review.escape import clean
from review.gate import Gate, Judgement
from review.page import Section, Verdict
from stages.common.entry import UserError, run
from stages.common.files import write_text

FOLDER = Path("reports/review")
PICTURES = 12  # digits shown, at most


@dataclass(frozen=True)
class Evidence:
    """What follows from the numbers of both sides."""

    comparable: bool
    comparison: Comparison | None = None  # the mistakes image by image
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def main(arguments: Sequence[str]) -> None:
    """Read both sides, judge, write the pages, print the verdict. Raises `UserError` if the verdict is a failure."""
    chosen = options().parse_args(arguments)
    for note in readable.problems(locks=()):
        print(f"review: {note}", file=sys.stderr)
    seconds = None
    if chosen.seconds and chosen.seconds.exists():
        seconds = page.seconds(chosen.seconds.read_text(encoding="utf-8", errors="replace"))
    override = (chosen.override or "").strip() or None
    about: list[str] = []
    sections: list[Section] = []
    try:
        git.resolve("HEAD")  # raises a readable error outside a repository, or in one that Git refuses
        base = chosen.base or git.default_branch("origin/", "")
        if base is None:  # HEAD would be compared with itself
            raise UserError(
                "no base is known, neither main nor another default branch: name it, `python -m review BASE`"
            )
        verdict, about, sections = reviewed(base, chosen.head, seconds, override)
    except UserError as error:
        verdict = Verdict((str(error),), override, "")

    write_text(chosen.output / "review.md", render.markdown(verdict, about, sections))
    write_text(chosen.output / "index.html", render.html(verdict, about, sections))
    print(f"The page: {chosen.output / 'index.html'}", flush=True)
    if not verdict.passed:
        raise UserError(f"fail: {clean(verdict.sentence)}")
    print(f"review: {verdict.word.lower()}: {clean(verdict.sentence)}")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m review", description=__doc__)
    parser.add_argument("base", metavar="BASE", nargs="?", help="the branch or commit to merge into; main by default")
    parser.add_argument("head", metavar="HEAD", nargs="?", help="the commit to judge; the working tree by default")
    parser.add_argument("--seconds", type=Path, metavar="FILE", help="the file that STAGE_SECONDS named in the run")
    parser.add_argument("--override", metavar="REASON", help="pass in any case, for this reason; empty: no override")
    parser.add_argument("--output", type=Path, metavar="FOLDER", default=FOLDER, help=f"by default {FOLDER}")
    return parser


def reviewed(
    base: str, head: str | None, seconds: Mapping[str, float] | None, override: str | None
) -> tuple[Verdict, list[str], list[Section]]:
    """The verdict, what was compared, and the page's sections. Raises `UserError` if there is no such head."""
    after_name, after_read = git.side(head)
    no_base: list[str] = []
    try:
        left = git.merge_base(base, head or "HEAD")
        before_name, before_read = git.side(left)
        base_name = git.named(base, git.resolve(base))
        about = [f"Compared with {before_name}, the merge base of {base_name} and {after_name}."]
    except UserError as error:
        no_base.append(f"there is no base: {error}")
        before_name, before_read = "the base", snapshot.EMPTY.read
        about = [f"Judged: {after_name}."]

    gates = before_read(gate.PATH), after_read(gate.PATH)
    judging, wrong, notes = gate.choose((before_name, gates[0]), (after_name, gates[1]))
    files = judging.metrics.keys() if judging else ()
    after = snapshot.take(after_name, after_read, files)
    base_side = snapshot.EMPTY if no_base else snapshot.take(before_name, before_read, files)
    moved = other_data(base_side, after)
    before = snapshot.EMPTY
    if not no_base and not moved:
        before, told = like_with_like(left, base_side, after, files)
        about += told

    found = Evidence(False, failures=moved) if moved else evidence(before, after, files)
    changed = redefined(judging, before, after) if judging and found.comparable else {}
    judgements = []
    if judging:
        meant = judging.dataset or (base_side.dataset if moved else after.dataset)
        elsewhere = after.dataset is not None and meant != after.dataset
        if elsewhere:
            judging = gate.without_limits(judging)
            notes.append(f"The limits of {gate.PATH} are for {meant}: they do not judge {after.dataset}.")
        judgements = gate.judge(judging, before.metrics, after.metrics, found.comparable, found.comparison, changed)
        # Not every metric exists for every data set.
        judgements = [one for one in judgements if not elsewhere or (one.before, one.after) != (None, None)]
    failures = [*no_base, *wrong, *after.problems.values(), *stale(after, head), *found.failures]
    failures += [*broken_numbers(judgements, before), *(each for one in judgements for each in one.failures)]
    notes += [*unseen(head), *found.notes, *changed.values(), *stale_base(before), *new_numbers(judgements, before)]
    verdict = Verdict(tuple(failures), override, page.holds(judgements, found.comparable))
    sections = [
        page.failures(verdict),
        page.notes(notes),
        page.gate_change(*gates),
        page.gated_metrics(judgements, after),
        *(mistakes(found.comparison, before, after) if found.comparison else []),
        page.parameters(base_side, after),
        page.stages(base_side, after, seconds),
        *([] if moved else [page.other_metrics(before, after, judgements), page.classes(before, after)]),
    ]
    return verdict, about, sections


def other_data(before: Snapshot, after: Snapshot) -> list[str]:
    """A failure if the two sides chose different data sets: then no number of one says anything about the other."""
    if None in (before.dataset, after.dataset) or before.dataset == after.dataset:
        return []
    return [f"the data set is {after.dataset}, in the base {before.dataset}: nothing can be compared"]


def like_with_like(
    commit: str, before: Snapshot, after: Snapshot, gated: Collection[str]
) -> tuple[Snapshot, list[str]]:
    """The base with the numbers to compare with, and sentences about the machines of both sides.

    `before` is the base as committed. If `make base` ran it on the same kind of machine as the head, and with the
    packages that it was committed with, that run counts: a change of packages must be judged against the old ones.
    """
    here = rerun.of(commit, before.read)
    if here and not here.problem:
        ran = snapshot.take(before.name, here.read, gated)
        then, now, head = (environment.known(side.name, side.read) for side in (before, ran, after))
        if then and now and head and now.kind == head.kind and now.versions == then.versions:
            scores = [page.number(side.metrics.get(NUMBERS, {}).get("accuracy")) for side in (ran, before)]
            told = [
                f"The base was run again on the same kind of machine as this branch ({now.kind}): accuracy {scores[0]};"
                f" as committed, {scores[1]} ({then.only(now)}).",
            ]
            if now.versions != head.versions:
                told += environment.unlike((ran.name, ran.read), (after.name, after.read))
            return ran, told
    told = environment.unlike((before.name, before.read), (after.name, after.read)) if before.has(NUMBERS) else []
    if here:
        problem = here.problem or "its run had other packages or another kind of machine, so it does not count"
        told.append(f"The base was not run again on this kind of machine: {problem}.")
    return before, told


def stale(after: Snapshot, head: str | None) -> list[str]:
    """Why the numbers do not belong to this code and these parameters; not asked if a file cannot be read.

    DVC checks the working tree. For a commit, and without DVC, the names of the stages and the parameters are compared.
    """
    if after.problems:
        return []
    try:
        if head is None and Path(".dvc").is_dir():
            from record import freshness  # it imports DVC

            found = freshness.by_stage([lock.FILE])
        else:
            found = snapshot.stage_differences(after) | snapshot.parameter_differences(after)
    except UserError as error:
        return [str(error)]
    stages = listed(found)
    return [f"{lock.FILE} does not fit this code and these parameters, run `dvc repro`: {stages}"] if stages else []


def unseen(head: str | None) -> list[str]:
    return [] if head is None else [f"The code of {head} was not compared with its lock: `make fresh` there does that."]


def stale_base(before: Snapshot) -> list[str]:
    """A line if the base's numbers belong to other parameters; no failure, since this pull request may mend it."""
    stages = listed(snapshot.parameter_differences(before))
    return [f"The numbers of the base belong to other parameters than it has: {stages}."] if stages else []


def listed(differences: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{stage}: {', '.join(found)}" for stage, found in differences.items() if found)


def evidence(before: Snapshot, after: Snapshot, gated: Collection[str]) -> Evidence:
    """Whether the numbers of both sides can be compared, and the mistakes image by image.

    It is a failure if the base has numbers that cannot be trusted: ignoring them would loosen the gate.
    """
    old, new = before.results, after.results
    damaged = {
        path: f"the numbers of the base cannot be trusted, mend it first: {problem}"
        for path, problem in before.problems.items()
        if before.has(NUMBERS) and (path in (NUMBERS, MISTAKES, lock.FILE) or (path in gated and before.has(path)))
    }
    failures = [*damaged.values()]
    notes = [problem for path, problem in before.problems.items() if path not in damaged]
    if old is None or new is None:
        return Evidence(False, None, failures, ["Nothing could be compared with the base: only limits count.", *notes])
    if old.test_data != new.test_data:
        change = f"the test data changed ({old.test_data[:8]} to {new.test_data[:8]})"
        return Evidence(False, None, [*failures, f"{change}: the numbers before and after cannot be compared"], notes)
    if old.noise and before.read(NOISE) != after.read(NOISE):
        notes.append(f"This pull request changes {NOISE}: the noise that the base records counts.")
    try:
        return Evidence(True, paired(old, new), failures, notes)
    except UserError as error:
        return Evidence(True, None, [*failures, f"{error}; run `dvc repro` on the side that is wrong"], notes)


def redefined(judging: Gate, before: Snapshot, after: Snapshot) -> dict[tuple[str, str], str]:
    """A line for each metric, by file and key, that both sides have but define differently.

    Changing a metric's definition can make a worse model look better, so such a metric is not compared with the base.
    """
    found = {}
    for file, rules in judging.metrics.items():
        for key in rules:
            definitions = [snapshot.definition(one, file, key) for one in (before, after)]
            if definitions[0] != definitions[1] and key in before.metrics.get(file, {}):
                label, defined_by = gate.name(file, key), definitions[1][0]
                found[file, key] = f"The definition of {label} changed ({defined_by}): only its limit counts."
    return found


def broken_numbers(judgements: Sequence[Judgement], before: Snapshot) -> list[str]:
    """A failure for each metric that the base has, but not as a number: ignoring it would loosen the gate."""
    return [
        f"{one.name} is {value!r} in the base, which is no number: mend it there first"
        for one in judgements
        if one.change == "new" and (value := snapshot.value(before, one.file, one.key)) is not lock.ABSENT
    ]


def new_numbers(judgements: Sequence[Judgement], before: Snapshot) -> list[str]:
    """A line for each metric that the base lacks although it has the file: only its limit counts."""
    return [
        f"{one.name} has no number in the base, which has {one.file}: only its limit counts."
        for one in judgements
        if one.change == "new"
        and one.file not in before.problems
        and before.has(one.file)
        and snapshot.value(before, one.file, one.key) is lock.ABSENT
    ]


def mistakes(comparison: Comparison, before: Snapshot, after: Snapshot) -> list[Section]:
    """The images fixed and broken: the test, and pictures if the test images are here."""
    section = page.mistakes(comparison)
    if not comparison.broken and not comparison.fixed:
        return [section]
    try:
        images = gallery.load(comparison.after.test_data)
    except UserError as error:
        return [replace(section, lines=(*section.lines, str(error)))]
    broken = comparison.broken[: max(PICTURES // 2, PICTURES - len(comparison.fixed))]
    fixed = comparison.fixed[: PICTURES - len(broken)]
    return [
        section,
        page.pictures(
            gallery.digits(broken, comparison.after.wrong, page.predictions(after), after.classes, images),
            gallery.digits(fixed, comparison.before.wrong, page.predictions(before), after.classes, images),
            comparison,
        ),
    ]


if __name__ == "__main__":
    run("review", partial(main, sys.argv[1:]))

"""Runs of a source and of wrong solutions made of it, and the report on what no check notices.

What each check says of a variant is compared with the solution's run. A mutant of the solution runs
with its checks only.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.name_lookup import counted
from mograder.grading.author.author_runs import AuthorRuns, NotebookVariant
from mograder.notebook.cells import CellKind, NotebookText, parse_cells
from mograder.notebook.grading.checks_advice import Fault, QualityFinding
from mograder.notebook.grading.grading_plan import (
    GradingPlan,
    cells_below,
    checks_below,
    needed_cells,
    only_cells,
)
from mograder.notebook.grading.mutants import Mutant, read_digests, with_digests
from mograder.notebook.points import checks_in
from mograder.sandbox.execution.report import CellStatus, CheckResult, ExecutionResult, Outcome
from mograder.store.submissions.submitted_files import SubmittedFile

_SHORTEST, _TIMES = 5.0, 4.0
"""A mutant may never end. It may take so many seconds, or so many times as long as the solution."""

_MOST_SHOWN = 3
_REMEDIES = {
    "boundary": "Add a condition with a value exactly at the boundary.",
    "condition": "Add a condition for each of both cases.",
    "removed statement": "Add a condition on what this statement does.",
    "return": "Add a condition on the result.",
}
_REMEDY = "Add a condition whose result differs for it."


@dataclass(frozen=True, slots=True)
class ExaminedSource:
    """A source to examine: ``filename`` is for messages, ``name`` and ``folder`` are the file's.

    ``release`` is the text without its solutions.
    """

    filename: str
    name: str
    folder: Path
    notebook: NotebookText
    plan: GradingPlan
    release: str


@dataclass(frozen=True, slots=True)
class Submissions:
    """Submissions of one assignment; ``folder`` has the files beside the release."""

    files: Sequence[SubmittedFile]
    folder: Path


@dataclass(slots=True)
class QualityReport:
    """What was found in one source; it grows while the examination goes on.

    ``mutants`` are those that could be made, ``tried`` of them ran, ``noticed`` failed a check, and
    ``same`` gave the same answers as the solution, so no check can notice them. ``notes`` say what
    was not looked at, and why. ``complete`` is false until the examination has ended.
    """

    filename: str
    findings: list[QualityFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labels: int = 0
    mutants: int = 0
    tried: int = 0
    noticed: int = 0
    same: int = 0
    seconds: float = 0.0
    complete: bool = False

    def add(self, finding: QualityFinding) -> None:
        if finding not in self.findings:
            self.findings.append(finding)

    def summary(self) -> str:
        count = len(self.findings)
        told = "clean" if not count else counted(count, "finding")
        if not self.complete:
            told = f"not finished, {told} so far"
        parts = [told, counted(self.labels, "check")]
        if self.tried:
            same = f", {self.same} gave the same answers" if self.same else ""
            parts.append(f"{self.noticed} of {self.tried} wrong solutions noticed{same}")
        return f"{self.filename}: {'; '.join(parts)}"

    def as_data(self) -> dict[str, object]:
        return {
            "file": self.filename,
            "complete": self.complete,
            "findings": [each.as_data() for each in sorted(self.findings)],
            "notes": self.notes,
            "checks": self.labels,
            "mutants": {
                "possible": self.mutants,
                "tried": self.tried,
                "noticed": self.noticed,
                "same answers": self.same,
            },
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: the last result of each check by its label, and the digests of the answers.

    ``problem`` says why it did not run to its end, and is empty if it did.
    """

    checks: Mapping[str, CheckResult] = field(default_factory=dict)
    digests: Mapping[str, str | None] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str = ""
    result: ExecutionResult | None = None

    def passes(self, label: str) -> bool:
        return label in self.checks and self.checks[label].status == "success"

    def passed(self) -> frozenset[str]:
        return frozenset(filter(self.passes, self.checks))

    def reason(self, label: str) -> str:
        if label not in self.checks:
            return self.problem or "it did not run"
        return "; ".join(self.checks[label].details) or "it waits for an answer"


class Trials:
    """Runs texts as a source's notebook, ``jobs`` at a time; ``done`` is called after each."""

    def __init__(
        self, source: ExaminedSource, runs: AuthorRuns, *, jobs: int, done: Callable[[], None]
    ) -> None:
        self._source = source
        self._runs = runs
        self._done = done
        found = (each for each in checks_in(source.notebook) if each.is_test)
        self._tests = {each.label for each in found if each.cell.kind is CellKind.CELL}
        self.room = asyncio.Semaphore(max(1, jobs))

    async def run(self, text: str, seconds: float, end: float = math.inf) -> Trial:
        """Run a text; what prevents that is the trial's problem.

        If its turn comes after ``end`` (monotonic), it does not run: the trial has no problem then,
        and no result.
        """
        variant = NotebookVariant(text, self._source.name, self._source.folder, seconds)
        async with self.room:
            if time.monotonic() > end:
                return Trial()
            try:
                result = await self._runs.run_variant(variant, lambda _: None)
            except MograderError as error:
                return Trial(problem=str(error))
            finally:
                self._done()
        return await asyncio.to_thread(_trial, result, self._tests)


class MutantTrials:
    """Runs mutants, and tells which are not noticed."""

    def __init__(
        self,
        source: ExaminedSource,
        trials: Trials,
        report: QualityReport,
        *,
        seconds: float,
        end: float,
    ) -> None:
        """``seconds`` limit a run; after ``end`` (monotonic) no further mutant is tried."""
        self._source = source
        self._trials = trials
        self._report = report
        self._seconds = seconds
        self._end = end
        self._survivors: list[tuple[Mutant, frozenset[str]]] = []

    async def run(self, mutants: Sequence[Mutant]) -> None:
        """Try mutants; findings are added to the report."""
        by_checks: dict[frozenset[int], list[Mutant]] = defaultdict(list)
        for mutant in mutants:
            by_checks[checks_below(self._source.plan, mutant.cell)].append(mutant)
        bases = [await self._base(checks) for checks in by_checks]
        try:
            pairs = zip(bases, by_checks.values(), strict=True)
            async with asyncio.TaskGroup() as group:
                for base, mutant in ((base, each) for base, some in pairs for each in some):
                    group.create_task(self._try(mutant, *base))
        finally:
            for finding in _findings(self._survivors, self._source.filename):
                self._report.add(finding)

    async def _base(self, checks: frozenset[int]) -> tuple[frozenset[int], Trial]:
        """Return the cells that some checks need, and the run of the solution with these only.

        If a check does not pass then, since a cell changes what another one made, all cells run.
        """
        plan, notebook = self._source.plan, self._source.notebook
        cells = needed_cells(plan, checks)
        trial = await self._run(notebook.text, cells, self._seconds)
        labels = {
            each.label
            for part in plan.checks
            if part.cell in checks and part.check
            for each in part.check.labels
            if each.label is not None
        }
        if labels <= trial.passed():
            return cells, trial
        every = frozenset(cell.index for cell in notebook.cells)
        return every, await self._run(notebook.text, every, self._seconds)

    async def _run(
        self, text: str, cells: frozenset[int], seconds: float, end: float = math.inf
    ) -> Trial:
        text = await asyncio.to_thread(self._text, text, cells)
        return await self._trials.run(text, seconds, end)

    def _text(self, text: str, cells: frozenset[int]) -> str:
        names = [a.name for a in self._source.plan.answers if cells.issuperset(a.cells)]
        chosen = only_cells(parse_cells(text, self._source.filename), cells)
        return with_digests(parse_cells(chosen, self._source.filename), names)

    async def _try(self, mutant: Mutant, cells: frozenset[int], base: Trial) -> None:
        longest = min(self._seconds, max(_SHORTEST, _TIMES * base.seconds))
        trial = await self._run(mutant.text, cells, longest, self._end)
        if trial.result is None:  # time is over, or the machine's fault, which no check has noticed
            told = f"Wrong solutions could not be run: {trial.problem}"
            is_new = trial.problem and told not in self._report.notes
            self._report.notes += [told] if is_new else []
            return
        expected = base.passed()
        self._report.tried += 1
        if trial.problem or not expected <= trial.passed():
            self._report.noticed += 1
        elif self._same_answers(mutant, base, trial):
            self._report.same += 1
        else:
            self._survivors.append((mutant, expected))

    def _same_answers(self, mutant: Mutant, one: Trial, other: Trial) -> bool:
        """Whether all answers that the mutant could change are data, and the same."""
        below = cells_below(self._source.plan, mutant.cell)
        names = [a.name for a in self._source.plan.answers if not below.isdisjoint(a.cells)]
        return all(
            one.digests.get(name) is not None and one.digests.get(name) == other.digests.get(name)
            for name in names
        )


def _trial(result: ExecutionResult, tests: Collection[str]) -> Trial:
    """Return the trial of a run; ``tests`` are the names of cells with asserts that are checks."""
    digests: dict[str, str | None] = {}
    for cell in result.cells:
        digests |= read_digests(cell.output_tail)
    ended = result.outcome is Outcome.FINISHED
    passed = {
        each.name: CheckResult(each.name, "success", (), 1.0, 1.0, each.index)
        for each in result.cells
        if each.name in tests and each.status is CellStatus.OK
    }
    return Trial(
        checks=passed | {check.label: check for check in result.checks},
        digests=digests,
        seconds=result.seconds,
        problem=result.problem or ("" if ended else f"its run ended early: {result.outcome}"),
        result=result,
    )


def _findings(
    survivors: Iterable[tuple[Mutant, frozenset[str]]], filename: str
) -> Iterator[QualityFinding]:
    """Yield a finding for each line with mutants that are not noticed."""
    by_line: dict[int, list[Mutant]] = defaultdict(list)
    labels: dict[int, frozenset[str]] = {}
    for mutant, passed in survivors:
        by_line[mutant.line].append(mutant)
        labels[mutant.line] = passed
    for line, some in sorted(by_line.items()):
        kinds = list(dict.fromkeys(each.kind for each in some))
        named = ", ".join(map(repr, sorted(labels[line])))
        if not named:
            continue
        shown = "\n".join(each.diff for each in some[:_MOST_SHOWN])
        more = len(some) - _MOST_SHOWN
        example = f"{shown}\nand {more} more" if more > 0 else shown
        changes = " or ".join(kinds)
        message = f"{named} still {'passes' if len(labels[line]) == 1 else 'pass'}"
        yield QualityFinding(
            filename,
            line,
            Fault.MUTANT,
            f"{message} with a wrong solution ({changes}).",
            _REMEDIES.get(kinds[0], _REMEDY),
            example,
            some[0].cell + 1,
        )

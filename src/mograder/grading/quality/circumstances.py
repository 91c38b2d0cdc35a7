"""Checks whose result depends on the order of cells, random numbers, the date or the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mograder.grading.quality.quality_report import Fault, QualityFinding, QualityReport
from mograder.grading.quality.text_findings import influence_findings, influences
from mograder.grading.quality.trials import ExaminedSource, Trial, Trials
from mograder.notebook.cells import NotebookText, parse_cells
from mograder.notebook.grading.label_answers import answers_of_labels
from mograder.notebook.quality.foreign_changes import foreign_changes
from mograder.notebook.quality.needed_cells import needed_cells, only_cells, with_checks
from mograder.notebook.quality.notebook_variants import (
    FIRST_CELLS,
    OTHER_DATE,
    OTHER_MACHINE,
    in_other_order,
    other_seed,
    with_checks_twice,
    with_first_cell,
)
from mograder.notebook.quality.outside_influences import Influence

SEEDS = (1, 2, 3, 4)
RUNS = len(SEEDS) + 5
"""Runs that this takes, if nothing is found; each difference is confirmed by two more."""

_MOST_CAUSES = 3


@dataclass(frozen=True, slots=True)
class _Circumstance:
    fault: Fault
    when: str
    text: str
    remedy: str


class Circumstances:
    """Runs the solution under other circumstances, and tells which checks do not pass then."""

    def __init__(
        self, source: ExaminedSource, trials: Trials, report: QualityReport, *, seconds: float
    ) -> None:
        self._source = source
        self._trials = trials
        self._report = report
        self._seconds = seconds
        self._random: set[str] = set()
        self._causes: set[tuple[int, str]] = set()

    async def run(self, passed: frozenset[str]) -> None:
        """Examine the checks that pass in an ordinary run; findings are added to the report."""
        needed = await asyncio.to_thread(self._needed)
        if not passed <= (await self._trials.run(needed.text, self._seconds)).passed():
            needed = self._source.notebook  # a cell without names that checks use matters, too
        texts = [with_first_cell(needed, other_seed(seed)) for seed in SEEDS]
        seeded = await self._all(texts)
        for label in sorted(passed):
            self._tell_random(label, seeded)
        others = await asyncio.to_thread(self._others, needed)
        trials = await self._all([each.text for each in others])
        for each, trial in zip(others, trials, strict=True):
            await self._compare(each, trial, passed - self._random)
        self._tell_places()

    def _needed(self) -> NotebookText:
        """Return the notebook with what checks need; random numbers and dates need no more."""
        plan, notebook = self._source.plan, self._source.notebook
        cells = needed_cells(plan, with_checks(plan))
        return parse_cells(only_cells(notebook, cells), self._source.filename)

    def _others(self, needed: NotebookText) -> tuple[_Circumstance, ...]:
        plan, notebook = self._source.plan, self._source.notebook
        twice, _ = with_checks_twice(notebook, plan)
        return (
            _Circumstance(
                Fault.ORDER,
                "when independent cells run in another order",
                in_other_order(notebook),
                "Let a cell that changes an object define it, or change a copy.",
            ),
            _Circumstance(
                Fault.ORDER,
                "when its cell runs a second time",
                twice,
                "Let the check work on a copy, or on values of its own.",
            ),
            _Circumstance(
                Fault.DATE,
                "on another day",
                with_first_cell(needed, FIRST_CELLS[OTHER_DATE]),
                "Write a fixed date, or pass the date as an argument.",
            ),
            _Circumstance(
                Fault.MACHINE,
                "on a machine with another user, environment, time zone and language",
                with_first_cell(needed, FIRST_CELLS[OTHER_MACHINE]),
                "Write the value into the notebook, or name the time zone.",
            ),
        )

    async def _all(self, texts: Sequence[str]) -> list[Trial]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._trials.run(each, self._seconds)) for each in texts]
        return [task.result() for task in tasks]

    def _tell_random(self, label: str, seeded: Sequence[Trial]) -> None:
        failed = [trial for trial in seeded if not trial.passes(label)]
        if not failed:
            return
        self._random.add(label)
        message = f"{label!r} fails in {len(failed)} of {len(seeded)} runs with other random "
        self._add(
            label,
            Fault.RANDOM,
            f"{message}numbers, though the solution is the same.",
            "Seed the numbers in the notebook, or allow for more difference.",
            failed[0].reason(label),
        )

    async def _compare(
        self, circumstance: _Circumstance, trial: Trial, passed: frozenset[str]
    ) -> None:
        """Tell the checks that do not pass, if they do not either in a second run."""
        failed = [label for label in sorted(passed) if not trial.passes(label)]
        if not failed:
            return
        plain, again = await self._all([self._source.notebook.text, circumstance.text])
        for label in failed:
            if not plain.passes(label):
                self._tell_random(label, [trial, plain, again])
            elif not again.passes(label):
                causes = self._causes_of(label, circumstance.fault)
                shown = [f"line {line}: {code}" for line, code in causes[:_MOST_CAUSES]]
                self._causes.update(causes)
                self._add(
                    label,
                    circumstance.fault,
                    f"{label!r} does not pass {circumstance.when}.",
                    circumstance.remedy,
                    "\n".join([again.reason(label), *shown]),
                )

    def _causes_of(self, label: str, fault: Fault) -> list[tuple[int, str]]:
        """Return lines, with their code, that are likely to make a check depend on something."""
        notebook, plan = self._source.notebook, self._source.plan
        needed = needed_cells(plan, [cell for cell, name in self._places() if name == label])
        if fault is Fault.ORDER:
            names = {name for cell in plan.cells if cell.index in needed for name in cell.uses}
            changes = [each for each in foreign_changes(notebook, plan) if each.name in names]
            return [(each.line, notebook.lines[each.line - 1].strip()) for each in changes]
        wanted = {Fault.DATE: Influence.DATE, Fault.MACHINE: Influence.MACHINE}.get(fault)
        return [
            (each.line, each.code)
            for each in influences(notebook, plan, self._source.filename)
            if each.influence is wanted and each.cell in needed
        ]

    def _places(self) -> Iterable[tuple[int, str]]:
        return answers_of_labels(self._source.plan)

    def _tell_places(self) -> None:
        """Add what the text alone shows, unless a run has shown that it is of no consequence."""
        found = influences(self._source.notebook, self._source.plan, self._source.filename)
        left = [
            each
            for each in found
            if not each.shown_by_run and (each.line, each.code) not in self._causes
        ]
        for finding in influence_findings(left, self._source.filename):
            self._report.add(finding)

    def _add(self, label: str, fault: Fault, message: str, remedy: str, example: str) -> None:
        line, cell = next(self._lines_of(label), (1, None))
        self._report.add(
            QualityFinding(self._source.filename, line, fault, message, remedy, example, cell)
        )

    def _lines_of(self, label: str) -> Iterator[tuple[int, int | None]]:
        for (cell, name), info in answers_of_labels(self._source.plan).items():
            if name == label:
                yield info.line, cell + 1

"""Findings from a source's text alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from mograder.grading.quality.quality_report import Fault, QualityFinding
from mograder.notebook.cells import NotebookText
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.quality.checks_advice import Told, given_away_told, influence_told
from mograder.notebook.quality.given_away import given_away
from mograder.notebook.quality.outside_influences import (
    Influence,
    absolute_paths,
    outside_influences,
)

_FAULTS = {Influence.DATE: Fault.DATE, Influence.MACHINE: Fault.MACHINE}


def influence_findings(
    notebook: NotebookText, plan: GradingPlan, filename: str
) -> Iterator[QualityFinding]:
    """Yield findings for the places on which checks depend besides answers."""
    found = {*outside_influences(notebook, plan), *absolute_paths(notebook, filename)}
    for each in sorted(found):
        told = influence_told(each)
        yield _finding(filename, each.line, _FAULTS[each.influence], told, each.cell)


def given_away_findings(
    notebook: NotebookText, release: str, plan: GradingPlan, filename: str
) -> Iterator[QualityFinding]:
    """Yield findings for hidden tests that the release gives away.

    Raises:
        InvalidInput: The markers in the source are wrong.
    """
    for each in given_away(notebook, release, plan, filename):
        yield _finding(filename, each.line, Fault.GIVEN_AWAY, given_away_told(each), each.cell)


def _finding(filename: str, line: int, fault: Fault, told: Told, cell: int) -> QualityFinding:
    index = cell + 1 if cell >= 0 else None
    return QualityFinding(filename, line, fault, told.message, told.remedy, told.example, index)

"""Findings from a source's text alone: nothing runs, so `generate` tells them, too. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mograder.grading.quality.quality_report import Fault, QualityFinding
from mograder.notebook.cells import NotebookText
from mograder.notebook.findings import Finding
from mograder.notebook.given_away import given_away
from mograder.notebook.grading_plan import GradingPlan
from mograder.notebook.outside_influences import (
    Found,
    Influence,
    absolute_paths,
    outside_influences,
)

_FAULTS = {Influence.DATE: Fault.DATE, Influence.MACHINE: Fault.MACHINE}
_REMEDIES = {
    "the date": "Write a fixed date, or pass the date as an argument.",
    "the network": "Put the file beside the notebook, and read it from there.",
    "a path of one machine": 'Write it relative to the notebook: `mo.notebook_dir() / "data.csv"`.',
    "the speed of the machine": "Count steps or calls instead of seconds.",
}
_FIXED = "Write a fixed value instead."


def text_findings(
    notebook: NotebookText, release: str, plan: GradingPlan, filename: str
) -> tuple[QualityFinding, ...]:
    """Return the findings from a source and its release.

    Raises:
        InvalidInput: The markers in the source are wrong.
    """
    found = [
        *influence_findings(influences(notebook, plan, filename), filename),
        *_given_away(notebook, release, plan, filename),
    ]
    return tuple(sorted(found))


def short_form(
    notebook: NotebookText, release: str, plan: GradingPlan, filename: str
) -> tuple[Finding, ...]:
    """Return the findings as `generate` tells them; it has told absolute paths before."""
    return tuple(
        Finding(filename, each.line, each.message, each.remedy)
        for each in text_findings(notebook, release, plan, filename)
        if "a path of one machine" not in each.message
    )


def influences(notebook: NotebookText, plan: GradingPlan, filename: str) -> tuple[Found, ...]:
    """Return the places on which checks depend besides answers."""
    found = {*outside_influences(notebook, plan), *absolute_paths(notebook, filename)}
    return tuple(sorted(found))


def influence_findings(found: Iterable[Found], filename: str) -> Iterator[QualityFinding]:
    """Yield findings for such places."""
    for each in found:
        yield QualityFinding(
            filename,
            each.line,
            _FAULTS[each.influence],
            f"checks depend on {each.what}.",
            _REMEDIES.get(each.what, _FIXED),
            each.code,
            each.cell + 1 if each.cell >= 0 else None,
        )


def _given_away(
    notebook: NotebookText, release: str, plan: GradingPlan, filename: str
) -> Iterator[QualityFinding]:
    for each in given_away(notebook, release, plan, filename):
        if each.value:
            message = f"the release shows {each.value!r}, which this hidden test expects."
            remedy = "Let the hidden test use another value."
            example = f"line {each.release_line} of the release: {each.shown}"
        else:
            message = "this hidden test repeats a visible one."
            remedy = "Let it test another case."
            example = f"line {each.release_line}: {each.shown}"
        yield QualityFinding(
            filename, each.line, Fault.GIVEN_AWAY, message, remedy, example, each.cell + 1
        )

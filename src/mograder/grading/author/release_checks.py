"""Findings about a notebook from a run of its source, or of the release made of it.

All line numbers are the source's: a release that is refused is never written, and authors edit the
source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from mograder.grading.author.author_runs import RunReport
from mograder.notebook.cells import NotebookText, parse_cells, split_lines
from mograder.notebook.findings import Finding
from mograder.notebook.points import Check, checks_in, key_of, marks_of
from mograder.notebook.source.leaks import find_leaks, hidden_values

PASSES_TOO_SOON = (
    "Let it wait for an answer: give the check an empty list while the student's name is `...`."
)
_AS_FUNCTIONS = (
    "Write the conditions as functions, `lambda: …`: what raises is then a check that fails."
)
_CORRECT = "Correct the solution or the check."


def judge_source(text: str, filename: str, report: RunReport) -> tuple[Finding, ...]:
    """Return the errors of cells and the checks that do not pass, in the order of the file."""
    if report.problem:
        return (Finding(filename, 1, f"it did not run: {report.problem}"),)
    errors = (replace(error, filename=filename) for error in report.cell_errors)
    return tuple(sorted({*errors, *_failed(text, filename, report)}))


@dataclass(frozen=True, slots=True)
class ReleaseFindings:
    """What a release's run shows, at the source's lines.

    ``leaks`` are what the outputs show and should not; ``early`` and ``partly`` the checks that
    pass without an answer, all or in part. If the notebook declares which checks earn marks, any
    other check may pass from the start.
    """

    failures: tuple[Finding, ...] = ()
    leaks: tuple[Finding, ...] = ()
    early: tuple[Finding, ...] = ()
    partly: tuple[Finding, ...] = ()

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that prevent a release."""
        return tuple(sorted({*self.failures, *self.leaks, *self.early}))


def judge_release(source: str, release: str, filename: str, report: RunReport) -> ReleaseFindings:
    """Return the findings of a release's run."""
    if report.problem:
        told = f"without its solutions it did not run: {report.problem}"
        return ReleaseFindings((Finding(filename, 1, told),))
    hidden = hidden_values(source, release, filename)
    leaks = find_leaks(release, filename, outputs=report.outputs, hidden=hidden)
    notebook = parse_cells(release, filename)
    checks, marks = tuple(checks_in(notebook)), marks_of(notebook)
    lines = {each.label: each.line for each in checks}
    early: list[Finding] = []
    partly: list[Finding] = []
    for check in report.checks:
        if check.status not in ("success", "partial"):
            continue
        if marks is None or key_of(check.label) in marks:
            part, some = ("", early) if check.status == "success" else (" in part", partly)
            message = f"the check {check.label!r} passes{part} though nothing is answered yet."
            some.append(Finding(filename, lines.get(check.label, 1), message, PASSES_TOO_SOON))
    errors = _broken(notebook, report.cell_errors, checks)
    named = (
        (replace(each, message=f"without the solutions, {each.message}") for each in found)
        for found in (errors, leaks)
    )
    every = (in_source(source, release, filename, found) for found in (*named, early, partly))
    return ReleaseFindings(*every)


def _broken(
    notebook: NotebookText, errors: Iterable[Finding], checks: Iterable[Check]
) -> Iterator[Finding]:
    """Yield the errors of cells but those of tests, which may fail until a question is answered."""
    is_test = {each.cell.index: each.is_test for each in checks}
    for error in errors:
        cell = notebook.cell_at(error.line)
        known = None if cell is None else is_test.get(cell.index)
        if known is None:
            yield error
        elif not known:
            yield replace(error, hint=_AS_FUNCTIONS)


def in_source(
    source: str, release: str, filename: str, findings: Iterable[Finding]
) -> tuple[Finding, ...]:
    """Return findings about a release under the source's name and line numbers."""
    matcher = SequenceMatcher(None, split_lines(source), split_lines(release), autojunk=False)
    blocks = matcher.get_matching_blocks()

    def line_of(line: int) -> int:
        """Return the source's line: of the same text, else of the insertion."""
        before = [block for block in blocks if block.size and block.b < line]
        if not before:
            return 1
        return before[-1].a + min(line - before[-1].b, before[-1].size)

    moved = (replace(each, filename=filename, line=line_of(each.line)) for each in findings)
    return tuple(sorted(set(moved)))


def _failed(text: str, filename: str, report: RunReport) -> Iterator[Finding]:
    lines = {each.label: each.line for each in checks_in(parse_cells(text, filename))}
    for check in report.checks:
        if check.status != "success":
            reason = "; ".join(check.details) or "it waits for an answer"
            message = f"the check {check.label!r} does not pass: {reason}."
            yield Finding(filename, lines.get(check.label, 1), message, _CORRECT)

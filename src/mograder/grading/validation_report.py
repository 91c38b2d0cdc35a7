"""The report of a validation: as a record, and as text, JSON and a page made of it.

The text is for a terminal and for logs. The JSON has the keys of 0.3.16, and ours beside them
(compatibility-0.3.16.md 2.3). The HTML page has no scripts or external resources; all text in it is
a student's or comes from their code, and is escaped as
:mod:`~mograder.grading.pages.page_templates` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from mograder.grading.pages.page_templates import render_page, styled
from mograder.marks import (
    NOTHING,
    Weights,
    held_to,
    marks_of_weight,
    question_marks,
    question_weight,
    sum_of_marks,
)
from mograder.notebook.findings import Finding
from mograder.notebook.integrity import Level
from mograder.sandbox.execution.report import ExecutionResult, Outcome
from mograder.sandbox.protocol import SHORTAGES

_ENDED = {
    "processes": "it started too many processes",
    "workspace": "it wrote too much to its folder",
    "output": "it printed too much",
    **SHORTAGES,
}
_OUTPUT_LINES = 10
_MOST_STRIPES = 40
_ELEMENTS = frozenset(
    (
        *("html", "head", "meta", "title", "style", "body", "main", "section", "footer", "div"),
        *("h1", "h2", "h3", "p", "span", "ul", "li", "i", "code", "pre", "strong"),
    )
)
_OPENINGS = re.compile(rb"<(!doctype html>|/?[a-z0-9]*)")


class CheckStatus(StrEnum):
    """The status of a check; the first four are the sidecar's words (compatibility-0.3.16.md 8)."""

    SUCCESS = "success"
    PARTIAL = "partial"
    DANGER = "danger"
    WARN = "warn"
    """The check waits for an answer."""
    NOT_RUN = "not_run"


WORDS = {
    CheckStatus.SUCCESS: "PASS",
    CheckStatus.PARTIAL: "PARTIAL",
    CheckStatus.DANGER: "FAIL",
    CheckStatus.WARN: "WAIT",
    CheckStatus.NOT_RUN: "NOT RUN",
}
"""The name of each status in all output for people."""

_Word = Literal["success", "partial", "danger", "warn"]
_OLD_WORDS: Mapping[CheckStatus, _Word] = {
    CheckStatus.SUCCESS: "success",
    CheckStatus.PARTIAL: "partial",
    CheckStatus.DANGER: "danger",
    CheckStatus.WARN: "warn",
    CheckStatus.NOT_RUN: "warn",
}
_CLASSES = {
    CheckStatus.SUCCESS: "good",
    CheckStatus.PARTIAL: "half",
    CheckStatus.DANGER: "bad",
    CheckStatus.WARN: "wait",
    CheckStatus.NOT_RUN: "none",
}


@dataclass(frozen=True, slots=True)
class ValidatedCheck:
    """One check of the notebook.

    ``line`` is its line in the student's file, if it is there, and ``index`` the number of its cell
    there, from 0. ``earned`` and ``available`` are marks, None for a question without any; several
    checks of one question divide its marks by their weights.
    ``hidden``: some of its tests run only when it is graded; ``waits``: all of them do, so that a
    waiting status is correct.
    """

    label: str
    key: str
    status: CheckStatus
    messages: tuple[str, ...] = ()
    earned: float | None = None
    available: float | None = None
    cell: str = ""
    line: int | None = None
    hidden: bool = False
    waits: bool = False
    index: int | None = None
    weights: Weights = NOTHING

    @property
    def passed(self) -> bool:
        """Whether the student has nothing left to do about it."""
        waits = self.waits and self.status is CheckStatus.WARN
        return waits or self.status is CheckStatus.SUCCESS


@dataclass(frozen=True, slots=True)
class CellError:
    """A cell that failed; ``line`` is the line in the student's file, if the cell is there.

    ``code`` is the text of that line, since marimo's editor shows no line numbers of the file.
    ``index`` is the number of the cell in that file, from 0.
    """

    cell: str
    line: int | None
    error_type: str
    message: str
    output: str = ""
    code: str = ""
    index: int | None = None


@dataclass(frozen=True, slots=True)
class IntegrityFindings:
    level: Level = Level.NONE
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """The whole report; ``problem`` says why the run did not reach its end, empty if it did."""

    filename: str
    outcome: Outcome
    problem: str = ""
    checks: tuple[ValidatedCheck, ...] = ()
    cell_errors: tuple[CellError, ...] = ()
    integrity: IntegrityFindings = field(default_factory=IntegrityFindings)
    log_tail: str = ""
    seconds: float = 0.0
    marks: tuple[float, float] | None = None
    """Marks earned and available in the questions that have checks, None without marks."""

    @property
    def ran(self) -> bool:
        return self.outcome is Outcome.FINISHED and not self.problem

    @property
    def ok(self) -> bool:
        """Whether it ran to its end without an error, and every check that counts succeeded."""
        return self.ran and not self.cell_errors and all(check.passed for check in self.checks)


MarkedChecks: TypeAlias = tuple[tuple[ValidatedCheck, ...], tuple[float, float] | None]
"""Checks with their marks, and the marks earned and available in all of them."""


def with_marks(
    checks: Sequence[ValidatedCheck],
    available: Mapping[str, float],
    expected: Mapping[str, float],
) -> MarkedChecks:
    """Return the checks with their marks, and the marks earned and available in all of them.

    ``available`` are the marks of each question, ``expected`` the known weights of labels
    (:func:`mograder.marks.question_marks`), by which checks of one question divide its marks. The
    second value is None if no check belongs to a question with marks.
    """
    questions: dict[str, list[ValidatedCheck]] = {}
    for check in checks:
        if check.key in available:
            questions.setdefault(check.key, []).append(check)
    marked = {
        check.label: each
        for key, of in questions.items()
        for check, each in zip(of, _shares(of, available[key], expected), strict=True)
    }
    if not marked:
        return tuple(checks), None
    earned = sum_of_marks(
        question_marks(available[key], *_weights(of, expected)) for key, of in questions.items()
    )
    whole = sum_of_marks(available[key] for key in questions)
    return tuple(marked.get(check.label, check) for check in checks), (earned, whole)


def _weights(
    checks: Sequence[ValidatedCheck], expected: Mapping[str, float]
) -> tuple[Mapping[str, Weights], Mapping[str, float]]:
    weights = {check.label: check.weights for check in checks}
    return weights, {label: expected.get(label, 0.0) for label in weights}


def _shares(
    checks: Sequence[ValidatedCheck], available: float, expected: Mapping[str, float]
) -> list[ValidatedCheck]:
    """Return the checks of one question, each with its part of the question's marks."""
    weights, least = _weights(checks, expected)
    if len(checks) == 1:
        earned = question_marks(available, weights, least)
        return [replace(checks[0], earned=earned, available=available)]
    share = partial(marks_of_weight, available, total=question_weight(weights, least))
    return [
        replace(check, earned=share(held.earned), available=share(held.total))
        for check in checks
        for held in [held_to(check.weights, least[check.label])]
    ]


def run_problem(result: ExecutionResult, seconds: float, where: str = "") -> str:
    """Return the sentence about a run that did not end well, empty for one that did.

    ``seconds`` was its limit, and ``where`` the cell that was running, as " in the cell at line 3".
    """
    match result.outcome:
        case Outcome.TIMED_OUT:
            return f"It was ended after {seconds:g} seconds{where}: is there an endless loop?"
        case Outcome.OUT_OF_MEMORY:
            return f"It needed more memory than there is for it{where}."
        case Outcome.KILLED:
            reason = _ENDED.get(result.reason, result.reason)
            return f"It was ended{where}: {reason}."
        case Outcome.EXITED:
            return f"It ended before its last cell{where}, so the rest did not run."
        case Outcome.UNREADABLE:
            return "What it reported cannot be read, so none of it counts."
    return f"It could not be run: {result.problem}" if result.problem else ""


def render_text(report: ValidationReport) -> str:
    """Return the report as lines, each of which can be read on its own."""
    return "\n".join(_lines(report)) + "\n"


def headline(report: ValidationReport) -> str:
    if report.problem:
        return report.problem
    parts = [f"{sum(check.passed for check in report.checks)} of {len(report.checks)} checks pass"]
    if report.cell_errors:
        count = len(report.cell_errors)
        parts.append(f"{count} cell{'s have' if count > 1 else ' has'} an error")
    if report.marks is not None:
        earned, available = report.marks
        parts.append(f"{earned:g} of {available:g} marks by checks")
    if any(check.hidden for check in report.checks):
        parts.append("more tests come when it is graded")
    return ", ".join(parts) + "."


def place_of(line: int | None) -> str:
    return "put back from the release" if line is None else f"line {line}"


def _marks_of_check(check: ValidatedCheck) -> str:
    """Return the marks of a check as ``5/10``, empty if it has none."""
    if check.available is None:
        return ""
    return f"{check.earned or 0.0:g}/{check.available:g}"


def _lines(report: ValidationReport) -> Iterator[str]:
    yield f"{'OK' if report.ok else 'FAILED'}: {report.filename}: {headline(report)}"
    for warning in report.integrity.warnings:
        yield f"  INTEGRITY: {_plain(str(warning))}"
    for check in report.checks:
        marks = _marks_of_check(check)
        yield f"  {WORDS[check.status]}: {_plain(check.label)}{f' [{marks}]' if marks else ''}"
        yield from (f"    - {_plain(message)}" for message in check.messages)
    for error in report.cell_errors:
        name = "" if error.cell in ("", "_") else f" {error.cell}"
        said = f"{_plain(error.error_type)}: {_plain(error.message)}"
        yield f"  ERROR: cell{name} ({place_of(error.line)}): {said}"
        output = error.output.splitlines()[-_OUTPUT_LINES:]
        yield from (f"    | {_plain(line)}" for line in output)


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text).strip()


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class CheckAnswer(_Answer):
    """One check. Clients of 0.3.16 know four statuses: a check that never ran counts as waiting."""

    label: str
    status: _Word
    details: tuple[str, ...]
    ran: bool
    passed: bool
    earned: float | None
    available: float | None
    cell: str
    line: int | None
    index: int | None = None


class ErrorAnswer(_Answer):
    cell: str
    line: int | None
    error_type: str
    message: str
    output: str
    index: int | None = None


class ValidationAnswer(_Answer):
    """The answer of POST /validate, and ``mograder validate --json`` for each notebook."""

    file: str
    ok: bool
    summary: str
    outcome: str
    checks: tuple[CheckAnswer, ...]
    cell_errors: int
    errors: tuple[ErrorAnswer, ...]
    export_ok: bool
    export_error: str
    html_available: bool
    integrity_level: Literal["source", "hash", "none"]
    integrity_warnings: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class ValidationResult:
    at: datetime
    answer: ValidationAnswer


def answer_of(report: ValidationReport, *, html_available: bool) -> ValidationAnswer:
    errors = tuple(
        ErrorAnswer.model_validate(each, from_attributes=True) for each in report.cell_errors
    )
    return ValidationAnswer(
        file=report.filename,
        ok=report.ok,
        summary=headline(report),
        outcome=report.outcome.value,
        checks=tuple(
            CheckAnswer(
                label=check.label,
                status=_OLD_WORDS[check.status],
                details=check.messages,
                ran=check.status is not CheckStatus.NOT_RUN,
                passed=check.passed,
                earned=check.earned,
                available=check.available,
                cell=check.cell,
                line=check.line,
                index=check.index,
            )
            for check in report.checks
        ),
        cell_errors=len(errors),
        errors=errors,
        export_ok=report.ran,
        export_error=report.problem,
        html_available=html_available,
        integrity_level=report.integrity.level.value,
        integrity_warnings=tuple(str(each) for each in report.integrity.warnings),
        seconds=round(report.seconds, 3),
    )


def render_html(report: ValidationReport) -> str:
    return render_page(
        "report.html.j2",
        report=report,
        words=WORDS,
        classes=_CLASSES,
        most_stripes=_MOST_STRIPES,
        not_run=CheckStatus.NOT_RUN,
        warn=CheckStatus.WARN,
        headline=headline,
        marks_of=_marks_of_check,
        place=lambda line: place_of(line).capitalize(),
        styled=styled,
    )


def has_our_elements_only(page: bytes) -> bool:
    """Whether a page in UTF-8 has only elements that :func:`render_html` writes.

    The page may have been written by a student, who must not choose what a browser loads. Reports
    of 0.3.16, which need scripts, do not pass either.
    """
    names = (found[1].removeprefix(b"/").decode() for found in _OPENINGS.finditer(page))
    return all(name in _ELEMENTS or name == "!doctype html>" for name in names)

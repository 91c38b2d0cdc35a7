"""A validation report as JSON: the keys of 0.3.16, and ours beside them.

See compatibility-0.3.16.md 2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mograder.grading.validation.report import CheckStatus, ValidatedCheck, ValidationReport
from mograder.grading.validation.report_text import headline

_Word = Literal["success", "partial", "danger", "warn"]
_OLD_WORDS: Mapping[CheckStatus, _Word] = {
    CheckStatus.SUCCESS: "success",
    CheckStatus.PARTIAL: "partial",
    CheckStatus.DANGER: "danger",
    CheckStatus.WARN: "warn",
    CheckStatus.NOT_RUN: "warn",
}


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
    """A cell that failed."""

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
    """The report of a validation, and its time."""

    at: datetime
    answer: ValidationAnswer


def answer_of(report: ValidationReport, *, html_available: bool) -> ValidationAnswer:
    """Return the report in the form of the JSON answer."""
    errors = tuple(
        ErrorAnswer.model_validate(each, from_attributes=True) for each in report.cell_errors
    )
    return ValidationAnswer(
        file=report.filename,
        ok=report.ok,
        summary=headline(report),
        outcome=report.outcome.value,
        checks=tuple(_check(each) for each in report.checks),
        cell_errors=len(errors),
        errors=errors,
        export_ok=report.ran,
        export_error=report.problem,
        html_available=html_available,
        integrity_level=report.integrity.level.value,
        integrity_warnings=tuple(str(each) for each in report.integrity.warnings),
        seconds=round(report.seconds, 3),
    )


def _check(check: ValidatedCheck) -> CheckAnswer:
    ran = check.status is not CheckStatus.NOT_RUN
    return CheckAnswer(
        label=check.label,
        status=_OLD_WORDS[check.status],
        details=check.messages,
        ran=ran,
        passed=check.passed,
        earned=check.earned,
        available=check.available,
        cell=check.cell,
        line=check.line,
        index=check.index,
    )

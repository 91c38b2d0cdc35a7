"""A validation report as plain text, for a terminal and for a log."""

from __future__ import annotations

from collections.abc import Iterator

from mograder.grading.validation.report import (
    CellError,
    CheckStatus,
    ValidatedCheck,
    ValidationReport,
)

WORDS = {
    CheckStatus.SUCCESS: "PASS",
    CheckStatus.PARTIAL: "PARTIAL",
    CheckStatus.DANGER: "FAIL",
    CheckStatus.WARN: "WAIT",
    CheckStatus.NOT_RUN: "NOT RUN",
}
"""The name of each status in all output for people."""

_OUTPUT_LINES = 10


def render_text(report: ValidationReport) -> str:
    """Return the report as lines, each of which can be read on its own."""
    return "\n".join(_lines(report)) + "\n"


def headline(report: ValidationReport) -> str:
    """Return a summary of the report in one sentence."""
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
    """Return a line of the student's file in words."""
    return "put back from the release" if line is None else f"line {line}"


def marks_of_check(check: ValidatedCheck) -> str:
    """Return the marks of a check as ``5/10``, empty if it has none."""
    if check.available is None:
        return ""
    return f"{check.earned or 0.0:g}/{check.available:g}"


def _lines(report: ValidationReport) -> Iterator[str]:
    yield f"{'OK' if report.ok else 'FAILED'}: {report.filename}: {headline(report)}"
    for warning in report.integrity.warnings:
        yield f"  INTEGRITY: {_plain(str(warning))}"
    for check in report.checks:
        marks = marks_of_check(check)
        yield f"  {WORDS[check.status]}: {_plain(check.label)}{f' [{marks}]' if marks else ''}"
        yield from (f"    - {_plain(message)}" for message in check.messages)
    for error in report.cell_errors:
        yield from _error_lines(error)


def _error_lines(error: CellError) -> Iterator[str]:
    name = "" if error.cell in ("", "_") else f" {error.cell}"
    yield (
        f"  ERROR: cell{name} ({place_of(error.line)}): "
        f"{_plain(error.error_type)}: {_plain(error.message)}"
    )
    output = [_plain(line) for line in error.output.splitlines()]
    yield from (f"    | {line}" for line in output[-_OUTPUT_LINES:])


def _plain(text: str) -> str:
    """Return a text as one line without control characters."""
    return "".join(char if char.isprintable() else " " for char in text).strip()

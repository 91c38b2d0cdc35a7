"""One submission's result in short, for tables, CSV and lists; pure.

A batch keeps a row for each submission, and drops the results with their conditions and calls.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mograder.core.csv_table import number_text, spreadsheet_text
from mograder.grading.results.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingResult,
    GradingState,
)
from mograder.grading.validation.report import CheckStatus
from mograder.marks import sum_of_marks

WORDS: Mapping[CheckStatus, str] = MappingProxyType(
    {
        CheckStatus.SUCCESS: "PASS",
        CheckStatus.PARTIAL: "PARTIAL",
        CheckStatus.DANGER: "FAIL",
        CheckStatus.WARN: "WAIT",
        CheckStatus.NOT_RUN: "ERR",
    }
)
"""0.3.16's words of a check's status (compatibility-0.3.16.md 9)."""

MISSING = "---"
FAILED = "EXPORT_FAILED"
"""0.3.16's words of a check without a result, and of all checks of a submission without one."""


@dataclass(frozen=True, slots=True)
class Column:
    """A label of the assignment, and its question's key."""

    label: str
    key: str


@dataclass(frozen=True, slots=True)
class ResultRow:
    """The result of one submission in short.

    ``labels`` has a word of :data:`WORDS` for each label with a result. ``problem`` says why the
    whole submission has none. ``notes`` are sentences for the grader. ``fresh`` is whether it was
    graded now, not before.
    """

    student: str
    state: GradingState
    problem: str = ""
    labels: tuple[tuple[Column, str], ...] = ()
    questions: tuple[GradedQuestion, ...] = ()
    cell_errors: int = 0
    tampered: tuple[str, ...] = ()
    auto_mark: float | None = None
    auto_available: float | None = None
    max_mark: float | None = None
    notes: tuple[str, ...] = ()
    fresh: bool = True

    @property
    def needs_attention(self) -> bool:
        """Whether the submission, or a question of it, has no result that counts."""
        return GradingState.NEEDS_ATTENTION in {self.state, *(q.state for q in self.questions)}

    @property
    def waiting(self) -> float:
        """The marks of the questions that a person has to mark or confirm."""
        states = (GradingState.MANUAL, GradingState.UNPROTECTED)
        return sum_of_marks(q.available or 0.0 for q in self.questions if q.state in states)

    def word(self, column: Column) -> str:
        if self.problem:
            return FAILED
        return next((word for known, word in self.labels if known == column), MISSING)

    def words_by_key(self, columns: Sequence[Column]) -> dict[str, str]:
        """Return the word for each question: that of its labels if they agree, else PARTIAL."""
        words: dict[str, set[str]] = {}
        for column in columns:
            words.setdefault(column.key, set()).add(self.word(column))
        return {key: found.pop() if len(found) == 1 else "PARTIAL" for key, found in words.items()}


def row_of(result: GradingResult, *, notes: Sequence[str] = (), fresh: bool = True) -> ResultRow:
    marked = any(question.available is not None for question in result.questions)
    return ResultRow(
        student=result.student,
        state=result.state,
        problem=result.problem,
        labels=tuple(_labels(result)),
        questions=result.questions,
        cell_errors=len(result.cell_errors),
        tampered=result.tampered,
        auto_mark=result.auto_mark,
        auto_available=result.auto_available,
        max_mark=result.max_mark if marked else None,
        notes=tuple(notes),
        fresh=fresh,
    )


def unread_row(student: str, problem: str) -> ResultRow:
    """Return the row of a submission that cannot be graded at all."""
    return ResultRow(student, GradingState.NEEDS_ATTENTION, problem)


def columns_of(rows: Sequence[ResultRow]) -> tuple[Column, ...]:
    """Return the labels of all rows, in the order in which they appear."""
    return tuple(dict.fromkeys(column for row in rows for column, _ in row.labels))


def status_of(check: GradedCheck, label: GradedLabel) -> CheckStatus:
    """Return the status of a label in a check cell."""
    if check.state in (GradingState.NOT_RUN, GradingState.NEEDS_ATTENTION):
        return CheckStatus.NOT_RUN
    if label.passed:
        return CheckStatus.SUCCESS
    if label.earned > 0:
        return CheckStatus.PARTIAL
    return CheckStatus.DANGER if label.total > 0 or label.conditions else CheckStatus.WARN


def _labels(result: GradingResult) -> Iterator[tuple[Column, str]]:
    for check in result.checks:
        for label in check.labels:
            yield Column(label.label, label.key), WORDS[status_of(check, label)]


def render_csv(rows: Sequence[ResultRow], columns: Sequence[Column]) -> str:
    """Return a line for each submission: its student, a word for each label, and its marks.

    The column ``auto_mark`` is there if the assignment has marks, ``tampered`` if there is any.
    """
    marked = any(row.max_mark is not None for row in rows)
    tampered = any(row.tampered for row in rows)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    last = (["auto_mark"] if marked else []) + (["tampered"] if tampered else [])
    keys = (spreadsheet_text(column.key) for column in columns)
    writer.writerow(["notebook", *keys, "cell_errors", "export_error", *last])
    for row in rows:
        writer.writerow(_cells(row, columns, marked=marked, tampered=tampered))
    return out.getvalue()


def _cells(
    row: ResultRow, columns: Sequence[Column], *, marked: bool, tampered: bool
) -> Iterator[str]:
    yield spreadsheet_text(row.student)
    yield from (row.word(column) for column in columns)
    yield str(row.cell_errors)
    yield spreadsheet_text(row.problem)
    if marked:
        yield number_text(row.auto_mark)
    if tampered:
        yield spreadsheet_text("; ".join(row.tampered))

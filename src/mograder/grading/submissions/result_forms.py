"""A submission's result in the forms of 0.3.16: a row for tables and CSV, two cells of the copy.

A batch keeps a row for each submission, and drops the results with their conditions and calls.

The first of the two cells shows the results of the checks, in the second a marker of 0.3.16 writes
a mark and a comment. 0.3.16 finds them by a comment and reads them by regular expressions
(compatibility-0.3.16.md 9), from the first occurrence to the end of the file. So the student's text
must not contain these comments and names, and nothing of it may come after the cells.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from mograder.core.csv_table import number_text, spreadsheet_text
from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingResult,
    GradingState,
)
from mograder.grading.validation_report import CheckStatus
from mograder.marks import sum_of_marks
from mograder.notebook.points import FEEDBACK, VERIFICATION

_WORDS: Mapping[CheckStatus, str] = MappingProxyType(
    {
        CheckStatus.SUCCESS: "PASS",
        CheckStatus.PARTIAL: "PARTIAL",
        CheckStatus.DANGER: "FAIL",
        CheckStatus.WARN: "WAIT",
        CheckStatus.NOT_RUN: "ERR",
    }
)
"""0.3.16's words of a check's status (compatibility-0.3.16.md 9)."""

_MISSING = "---"
_FAILED = "EXPORT_FAILED"
"""0.3.16's words of a check without a result, and of all checks of a submission without one."""

_RESERVED: Mapping[str, str] = {
    VERIFICATION: "# === removed: VERIFICATION SUMMARY ===",
    FEEDBACK: "# === removed: MARKER FEEDBACK ===",
    "_mograder_checks": "_removed_checks",
    "_mograder_marks": "_removed_marks",
}
"""Texts that 0.3.16 looks for, and their replacements in a student's text."""

_ENDING = re.compile(r"^if __name__ == ['\"]__main__['\"]:\s+app\.run\(\)\Z", re.MULTILINE)
_ENDING_AT_MOST = 100
"""Characters to search for the ending, so that a long file costs no time."""

_LAST_LINES = 'if __name__ == "__main__":\n    app.run()\n'
_NOTHING = "import marimo\n\napp = marimo.App()\n"
"""The notebook that takes the place of a submission that cannot be read."""

_UNREADABLE = str.maketrans('"[]{}\\', "'()()/")
"""Characters at which 0.3.16's regular expressions end a label or a key."""

_CELLS = """\
@app.cell(hide_code=True)
def _():
    {verification}
    import marimo as _mo

    _mograder_checks = [{checks}]
    {marks}_cell_errors = {cell_errors}
    _rows = [
        {{"Check": _label, "Result": _status, "Earned": _earned, "Of": _total}}
        for _label, _status, _earned, _total in _mograder_checks
    ]
    _mo.vstack(
        [
            _mo.md("## Verification Summary"),
            _mo.ui.table(_rows, selection=None) if _rows else _mo.md("No checks."),
            _mo.md(f"Cells with errors: {{_cell_errors}}"),
        ]
    )
    return


@app.cell
def _():
    {feedback}
    {instructions}
    _mark = None       # e.g. _mark = {available}
    _feedback = ""     # e.g. _feedback = "Good analysis of the DP approach..."
    # --- display (do not edit below) ---
    import marimo as _mo

    _mo.callout(
        _mo.vstack([_mo.md(f"**Mark:** {{_mark}}"), _mo.plain_text(str(_feedback))]),
        kind="neutral" if _mark is None else "success",
    )
    return
"""


@dataclass(frozen=True, slots=True)
class Column:
    label: str
    key: str


@dataclass(frozen=True, slots=True)
class ResultRow:
    """The result of one submission in short.

    ``labels`` has 0.3.16's word for each label with a result. ``problem`` says why the
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
            return _FAILED
        return next((word for known, word in self.labels if known == column), _MISSING)

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
    return ResultRow(student, GradingState.NEEDS_ATTENTION, problem)


def columns_of(rows: Sequence[ResultRow]) -> tuple[Column, ...]:
    return tuple(dict.fromkeys(column for row in rows for column, _ in row.labels))


def status_of(check: GradedCheck, label: GradedLabel) -> CheckStatus:
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
            yield Column(label.label, label.key), _WORDS[status_of(check, label)]


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
        words = (row.word(column) for column in columns)
        problem = spreadsheet_text(row.problem)
        cells = [spreadsheet_text(row.student), *words, str(row.cell_errors), problem]
        cells += [number_text(row.auto_mark)] if marked else []
        cells += [spreadsheet_text("; ".join(row.tampered))] if tampered else []
        writer.writerow(cells)
    return out.getvalue()


def grading_copy(text: str, result: GradingResult) -> tuple[str, tuple[str, ...]]:
    """Return a student's text with the grading cells, and the texts that were taken out of it.

    marimo shows the cells as the last two.
    """
    removed = tuple(each for each in _RESERVED if each in text)
    for each in removed:
        text = text.replace(each, _RESERVED[each])
    body = (text or _NOTHING).rstrip()
    body = body[:-_ENDING_AT_MOST] + _ENDING.sub("", body[-_ENDING_AT_MOST:])
    return f"{body.rstrip()}\n\n\n{_cells(result)}\n\n{_LAST_LINES}", removed


def _cells(result: GradingResult) -> str:
    entries = [
        f'("{label}", "{status}", {_number(earned)}, {_number(total)})'
        for label, status, earned, total in _entries(result)
    ]
    checks = "".join(f"\n        {entry}," for entry in entries)
    marks = _marks(result)
    left = sum_of_marks([result.max_mark, -(result.auto_available or 0.0)])
    manual = _short(max(left, 0.0)) if marks else "65"
    how = ["# Set the mark (0-100) and write 2-3 sentences of feedback, then save."]
    if marks:
        how = [f"# Set _mark for manual questions (out of {manual}), then save."]
        if result.auto_mark is not None and result.auto_available is not None:
            auto = f"{_short(result.auto_mark)}/{_short(result.auto_available)}"
            how.insert(0, f"# Auto marks: {auto}")
    return _CELLS.format(
        verification=VERIFICATION,
        feedback=FEEDBACK,
        checks=f"{checks}\n    " if checks else "",
        marks=f"_mograder_marks = {_literal(marks)}\n    " if marks else "",
        cell_errors=len(result.cell_errors),
        instructions="\n    ".join(how),
        available=manual,
    )


def _marks(result: GradingResult) -> dict[str, float]:
    """Return the marks by question, none while some question has no result.

    0.3.16 adds up what it finds, so it must find either all or nothing.
    """
    if result.auto_mark is None:
        return {}
    known = ((_plain(q.key), q.available) for q in result.questions)
    return {key: available for key, available in known if available is not None}


def _entries(result: GradingResult) -> Iterator[tuple[str, str, float, float]]:
    """Yield label, status, and the two numbers whose ratio is the label's part of its question.

    0.3.16 multiplies each ratio with the marks of the whole question, rounds, and adds up. With
    several labels of a question the numbers are therefore marks, so that the sum is the same.
    """
    labels = {each.label: (each, check) for check in result.checks for each in check.labels}
    for question in result.questions:
        own = [labels[name] for name in question.labels if name in labels]
        shares = _shares(question, [label for label, _ in own])
        for (label, check), (earned, total) in zip(own, shares, strict=True):
            hidden = " (hidden)" if label.hidden else ""
            word = _WORDS[status_of(check, label)]
            yield _plain(label.label) + hidden, word, earned, total


def _shares(
    question: GradedQuestion, labels: Sequence[GradedLabel]
) -> Iterator[tuple[float, float]]:
    available, earned = question.available, question.earned
    if available is None or earned is None:
        yield from ((label.earned, label.total) for label in labels)
        return
    left, weight = earned, sum(label.earned for label in labels)
    for label in labels[:-1]:
        share = round(earned * label.earned / weight, 1) if weight > 0 else 0.0
        share = min(share, left)  # many that are rounded up may be more than the whole
        yield share, available
        left = sum_of_marks([left, -share])
    if labels:
        yield left, available


def _plain(text: str) -> str:
    """Return a label or key without what 0.3.16's regular expressions cannot read."""
    printable = (each if each.isprintable() else " " for each in text.translate(_UNREADABLE))
    return "".join(printable).strip() or "?"


def _literal(marks: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{key!r}: {_short(value)}" for key, value in marks.items()) + "}"


def _number(value: float) -> str:
    return format(Decimal(repr(float(value))), "f") if math.isfinite(value) and value > 0 else "0.0"


def _short(value: float) -> str:
    return _number(value).removesuffix(".0")

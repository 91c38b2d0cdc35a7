"""Records of the gradebook: assignments, students' work, and marks by grading and by people.

Marks are points. A question is named by its key; the key "" (:data:`WHOLE`) means all questions
without checks together, or the whole submission in an assignment without marks: 0.3.16's markers
give one such mark. Lists are stored as JSON text. One that is malformed must not prevent a
gradebook from being opened.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from mograder.marks import sum_of_marks

if TYPE_CHECKING:  # authors read `CheckResult` where SQLAlchemy is not installed
    from sqlalchemy import Row

_T = TypeVar("_T")

WHOLE = ""
"""The key of the mark for all questions without checks, and of the comment on the submission."""

MACHINE = ""
"""The marker of marks that grading gave."""

EARLIER_MARKER = "mograder 0.3.16"
"""The marker of a mark that was given with 0.3.16, which does not record markers."""

MANUAL, NEEDS_ATTENTION, UNPROTECTED = "manual", "needs attention", "unprotected"
"""The grading states that the gradebook treats differently; all states are
``grading.submissions.grading_result.GradingState``."""

DOUBTFUL = "doubtful"
"""The state of a mark from 0.3.16 that is probably wrong."""

IMPORTED = "imported"
"""The state of a mark that 0.3.16 read from the text of a notebook; no marker saved it."""

EARLIER = "graded by 0.3.16"
"""The state of a question with checks of which only 0.3.16's sum of all such marks is known."""

REMOVED = "removed"
"""The state of a question that the assignment no longer has."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check of a notebook; ``hidden`` ones are not shown to students."""

    label: str
    status: str
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """One student's work for an assignment, beside its marks.

    Attributes:
        total: The mark before deductions, as it was computed after the last change.
        received: When the work that explains the marks was submitted, ISO 8601; "" if unknown.
        receipt: The number of its receipt.
        earlier_auto: The marks of the questions with checks, as 0.3.16 graded them.
        earlier_pct: The deduction that 0.3.16 made, in per cent; None if it made none.
        earlier_mark: The mark after it.
        earlier_submitted: The time of submission that 0.3.16 recorded; Unix seconds, or ISO 8601.
        cell_errors: The number of cells that failed, as the two lists of the last grading.
    """

    total: float | None = None
    received: str = ""
    receipt: int | None = None
    earlier_auto: float | None = None
    earlier_pct: float | None = None
    earlier_mark: float | None = None
    earlier_submitted: str = ""
    cell_errors: int = 0
    tampered: tuple[str, ...] = ()
    checks: tuple[CheckResult, ...] = ()


NO_WORK = Work()


@dataclass(frozen=True, slots=True)
class AssignmentRow:
    """An assignment.

    ``marks`` are those of each question by key in the source's order, None without a table of
    marks. ``automatic`` are the keys of questions with checks.
    """

    name: str
    max_mark: float = 100.0
    marks: Mapping[str, float] | None = None
    automatic: frozenset[str] = frozenset()

    @property
    def manual_available(self) -> float:
        """The marks of the questions without checks: what 0.3.16's percentage is a part of."""
        told = self.marks or {}
        return sum_of_marks([self.max_mark, *(-told[key] for key in told if key in self.automatic)])


@dataclass(frozen=True, slots=True)
class RecordedMark:
    """One row of the history of marks; ``marker`` is "" for grading, ``at`` ISO 8601 in UTC.

    ``points`` is None for a question without a result; ``available`` None without marks.
    ``state`` is a grading state, ``manual`` for a question without checks. ``number``, ``run`` and
    ``at`` of a mark by grading are given when it is recorded.
    """

    number: int
    question: str
    points: float | None
    available: float | None
    state: str
    comment: str = ""
    marker: str = MACHINE
    run: int | None = None
    at: str = ""


@dataclass(frozen=True, slots=True)
class GradingRun:
    """The result of grading one submission.

    ``questions`` are the marks of all in the assignment's order, none if the submission could not
    be graded (``state`` needs attention, ``problem`` says why). ``checks`` have 0.3.16's statuses
    (success, partial, danger, warn). ``marks`` are the assignment's marks by key, None without.
    ``result`` is the signed JSON. ``received`` is the time of submission where it is known,
    ``receipt`` the number of its receipt. Both times are aware.
    """

    assignment: str
    student: str
    submission_sha256: str
    state: str
    result: str
    signature: str
    at: datetime
    questions: tuple[RecordedMark, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    cell_errors: int = 0
    tampered: tuple[str, ...] = ()
    marks: Mapping[str, float] | None = None
    max_mark: float = 100.0
    problem: str = ""
    received: datetime | None = None
    receipt: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as it is kept: ``number`` counts all runs, ``at`` is ISO 8601 in UTC."""

    number: int
    assignment: str
    student: str
    submission_sha256: str
    state: str
    problem: str
    result: str
    signature: str
    at: str


@dataclass(frozen=True, slots=True)
class MarkDetails:
    """How a person's mark came about.

    ``saved`` are identifiers of saved comments. With an ``adjustment``, the points are theirs and
    the adjustment; None where the marker gave the points as a number. ``reason`` is why the mark
    replaces one by grading. ``takes_back`` is read only: the mark took back the change before it.
    """

    adjustment: float | None = None
    saved: tuple[str, ...] = ()
    reason: str = ""
    takes_back: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class MarkEntry:
    """A mark that a person gives; ``points`` None withdraws the mark given by people before.

    ``details`` are None for a mark from a file, which may replace grading's without a reason. Such
    a mark, and one that ``keeps_saved``, has the saved comments of the mark before.
    """

    points: float | None
    comment: str = ""
    details: MarkDetails | None = None
    keeps_saved: bool = False


@dataclass(frozen=True, slots=True)
class QuestionGrade:
    """One question of a student: the mark that counts, and the one that grading gave.

    ``points`` is None while the question has no mark, and where a newer mark for all questions
    without checks counts. ``reason`` is grading's reason for its state. ``marker`` is "" for a mark
    by grading. ``open`` is the reason for which the question still waits for a person, empty if it
    does not. ``look_again``: a person marked it on other work, or on another mark by grading, than
    there is now.
    """

    key: str
    points: float | None
    available: float | None
    state: str
    graded: float | None = None
    reason: str = ""
    marker: str = ""
    comment: str = ""
    at: str = ""
    open: str = ""
    look_again: bool = False


@dataclass(frozen=True, slots=True)
class StudentGrade:
    """One student's marks for an assignment.

    Attributes:
        questions: In the assignment's order.
        auto: The marks of the questions with checks, None without any.
        manual: The marks of the others, None while one of them has none.
        total: ``auto`` and ``manual``; None while a question waits for a person.
        penalty_pct: The deduction for lateness in per cent, None if there is none. Deductions are
            computed by ``grading.late_work``; the gradebook itself has only those that 0.3.16 made.
        penalised: The mark after it.
        final: The mark that counts: after the penalty if there is one. None if ``total`` is.
        whole: The mark that counts for all questions without checks together, if one was given.
        flags: Sentences about what a teacher should look at.
        comment: The comment on the whole submission.
        submitted_at: Unix seconds, None where it is not known.
        graded_at: When a person marked last, ISO 8601 in UTC; "" if none has.
        version: Give it to ``Gradebook.record_marks``, which refuses to overwrite later changes.
    """

    assignment: str
    student: str
    questions: tuple[QuestionGrade, ...] = ()
    auto: float | None = None
    manual: float | None = None
    total: float | None = None
    max_mark: float = 100.0
    penalty_pct: float | None = None
    penalised: float | None = None
    final: float | None = None
    whole: QuestionGrade | None = None
    comment: str = ""
    flags: tuple[str, ...] = ()
    run: int | None = None
    state: str = ""
    cell_errors: int = 0
    tampered: tuple[str, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    submitted_at: float | None = None
    graded_at: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Penalty:
    """The deduction for lateness: per cent, and the mark after it; None for both if none."""

    percent: float | None
    mark: float | None
    submitted_at: float | None = None


@dataclass(frozen=True, slots=True)
class SentFile:
    """A feedback file: our name, Moodle's name for it, its size in bytes and its SHA-256.

    ``sha256`` is empty for a file that Moodle held already and that was never read.
    """

    name: str
    kept_as: str
    size: int
    sha256: str = ""


def texts_of(text: object) -> tuple[str, ...]:
    return tuple(map(str, list_of(text)))


def checks_of(text: object) -> tuple[CheckResult, ...]:
    """Return the checks of a JSON text, without damaged ones."""
    return tuple(
        CheckResult(text_of(it.get("label")), text_of(it.get("status")), bool(it.get("hidden")))
        for it in list_of(text)
        if isinstance(it, dict)
    )


def checks_json(checks: Iterable[CheckResult]) -> str:
    """Return checks as JSON, in the words of 0.3.16."""
    return json.dumps([asdict(each) for each in checks])


def assignment_of(name: str, max_mark: object, marks: object, automatic: object) -> AssignmentRow:
    """Return an assignment, of JSON texts. Without ``automatic`` all are, as 0.3.16 does."""
    told, keys = json_of(marks), json_of(automatic)
    table = told.items() if isinstance(told, dict) else ()
    known = {str(key): number_or_none(mark) for key, mark in table}
    found = {key: mark for key, mark in known.items() if mark is not None}
    maximum = number_or_none(max_mark)
    return AssignmentRow(
        name,
        100.0 if maximum is None else maximum,
        found or None,
        frozenset(map(str, keys)) if isinstance(keys, list) else frozenset(found),
    )


def unix_time(text: str) -> float | None:
    """Return a time in Unix seconds of such a number, which 0.3.16 writes, or of ISO 8601."""
    try:
        if text[4:5] != "-":
            return number_or_none(text)
        return datetime.fromisoformat(text).timestamp()  # a time without a zone is local
    except ValueError:
        return None


def utc_iso(at: datetime) -> str:
    """Return a time in UTC as ISO 8601, as the tables of the gradebook keep times.

    A time without a zone is one of the machine's own.
    """
    return at.astimezone(UTC).isoformat()


def by_student(rows: Iterable[Row[Any]], made: Callable[..., _T]) -> defaultdict[str, list[_T]]:
    """Return records by student, made of the columns after the first.

    The rows are used as tuples, since mappings take several times longer.
    """
    found: defaultdict[str, list[_T]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(made(*row[1:]))
    return found


def number_or_none(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, int | float) else float(str(value))
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def text_of(value: object) -> str:
    return "" if value is None else str(value)


def list_of(value: object) -> list[object]:
    found = json_of(value)
    return found if isinstance(found, list) else []


def json_of(value: object) -> object:
    """Return the value of a JSON text; None if it is empty or damaged."""
    try:
        return json.loads(str(value)) if value else None
    except (ValueError, RecursionError):
        return None

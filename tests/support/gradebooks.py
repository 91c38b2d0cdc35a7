"""Grading runs for tests of the gradebook, and the gradebook that 0.3.16 made."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_marks import put
from mograder.store.gradebook.gradebook_tables import student_work
from mograder.store.gradebook.grading_records import (
    MANUAL,
    CheckResult,
    GradingRun,
    MarkEntry,
    Penalty,
    RecordedMark,
    StudentGrade,
)

AT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
MARKS: Mapping[str, float] = {"Q1": 10, "Q2": 15, "Q3": 15, "Analysis": 60}
"""The marks of the assignment A1 of 0.3.16's gradebook; people mark Analysis."""

FAIR: Mapping[str, float | None] = {"Q1": 7.1, "Q2": 15.0, "Q3": 0.0}
"""The marks of grading in most tests: 22.1 in all."""

RECORDED = Path(__file__).parent.parent / "data" / "legacy" / "gradebook"


class Meanwhile(Gradebook):
    """A gradebook that calls a function after its next read transaction or before its next write.

    The function makes the change of another person or process.
    """

    after_look: Callable[[], object] | None = None
    before_change: Callable[[], object] | None = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with super().reading() as connection:
            yield connection
        act, self.after_look = self.after_look, None
        if act is not None:
            act()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        act, self.before_change = self.before_change, None
        if act is not None:
            act()
        with super().writing() as connection:
            yield connection


def put_recorded(path: Path) -> Path:
    """Make the database that ``scripts/record_gradebook.py`` recorded."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((RECORDED / "gradebook.sql").read_text("utf-8"))
    return path


def a_run(
    student: str = "alice",
    points: Mapping[str, float | None] | None = None,
    *,
    assignment: str = "A1",
    work: str = "first",
    state: str = "judged",
    states: Mapping[str, str] | None = None,
    later: int = 0,
    marks: Mapping[str, float] | None = MARKS,
    problem: str = "",
    received: datetime | None = None,
) -> GradingRun:
    """Return the result of grading; ``points`` are those of the questions with checks.

    ``work`` stands for the submission's text, ``later`` is in minutes. Without ``points`` the
    submission could not be graded.
    """
    named = states or {}
    questions = tuple(
        RecordedMark(0, key, points.get(key), available, named.get(key) or _state(key, points))
        for key, available in (marks or {}).items()
        if points is not None
    )
    checks = tuple(
        CheckResult(f"{q.question}: check", "success" if q.points else "danger", q.question == "Q3")
        for q in questions
        if q.state != MANUAL
    )
    return GradingRun(
        assignment,
        student,
        hashlib.sha256(work.encode()).hexdigest(),
        state,
        "{}",
        "signature",
        AT + timedelta(minutes=later),
        questions,
        checks,
        marks=marks if questions else None,
        max_mark=sum((marks or {"": 100.0}).values()) if questions else 100.0,
        problem=problem,
        received=received,
    )


def _state(key: str, points: Mapping[str, float | None]) -> str:
    return "judged" if key in points else MANUAL


def random_points(random_: random.Random, marks: Mapping[str, float]) -> dict[str, float | None]:
    """Return marks with one decimal, as grading gives them, for most of the questions."""
    return {
        key: random_.choice([0.0, float(most), round(random_.uniform(0, most), 1)])
        for key, most in marks.items()
        if key != "Analysis"
    }


def row_of(path: Path, student: str = "alice", assignment: str = "A1") -> sqlite3.Row:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute(
            "SELECT * FROM submissions WHERE assignment = ? AND student = ?", (assignment, student)
        ).fetchone()
    assert isinstance(found, sqlite3.Row)
    return found


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


def only(book: Gradebook, assignment: str = "A1") -> StudentGrade:
    (grade,) = book.grades(assignment)
    return grade


def give(book: Gradebook, later: int = 1, student: str = "alice", **points: float) -> StudentGrade:
    marks = {key: MarkEntry(value, f"why {key}") for key, value in points.items()}
    at = AT + timedelta(minutes=later)
    return book.record_marks("A1", student, marks, marker="mia", at=at)


def import_0316(book: Gradebook, *, replaces: bool = False) -> list[tuple[str, str, str]]:
    """Import what 0.3.16 has changed; return student, outcome and sentence of each row told."""
    told = book.import_0316(None, AT, replaces=replaces)
    return [(each.student, each.outcome.value, each.text) for each in told]


def export_0316(
    book: Gradebook, deductions: Mapping[tuple[str, str], Penalty] | None = None
) -> list[tuple[str, str, str]]:
    """Write the rows of 0.3.16 into the same file; return what is told as for an import."""
    told = book.export_0316(None, lambda _: deductions or {}, AT)
    return [(each.student, each.outcome.value, each.text) for each in told]


def no_deductions(_: Gradebook) -> Mapping[tuple[str, str], Penalty]:
    return {}


def put_penalty(book: Gradebook, student: str, penalty: Penalty, *, assignment: str = "A1") -> None:
    """Record a deduction as one that 0.3.16 has made, which it computes by itself."""
    row: dict[str, object] = {"assignment": assignment, "student": student}
    row |= {"earlier_pct": penalty.percent, "earlier_mark": penalty.mark}
    with book.writing() as connection:
        put(connection, student_work, row)

"""A course with graded submissions and times of submission, for tests of deductions and pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from mograder.core.settings import LoadedSettings, load_settings
from mograder.grading.course_late import CourseLate
from mograder.grading.pages.notebook_page import render_notebook_page
from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingState,
    grading_key,
    render_result,
    sign_result,
)
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import GradingRun, MarkEntry, StudentGrade
from tests.support.gradebooks import AT, FAIR, MARKS, a_run
from tests.support.graded_results import graded_result
from tests.support.notebooks import notebook

DUE = AT
SETTINGS = f"""[penalties]
enabled = true

[[assignments]]
name = "Assignment 1"
dir = "A1"
duedate = {int(DUE.timestamp())}
"""
NOTEBOOK = notebook("answer = 42\nreturn", end="")


def put(
    course: Path,
    student: str,
    late: timedelta | None,
    points: Mapping[str, float | None] = FAIR,
    *,
    assignment: str = "A1",
) -> None:
    """Grade a submission, received so much after the due date; a person marks the rest."""
    received = None if late is None else DUE + late
    run = graded_run(course, student, points, received, assignment=assignment)
    with Gradebook(course / "gradebook.db") as book:
        book.record_run(run)
        given = {"Analysis": MarkEntry(45.4, "Nice\n\nplot")}
        said = f"For {student}."
        book.record_marks(assignment, student, given, marker="mia", at=AT, comment=said)
    copy = course / f"autograded/{assignment}/{student}.py"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(NOTEBOOK)
    copy.with_suffix(".html").write_text(render_notebook_page(NOTEBOOK, copy.name, ()))


def graded_run(
    course: Path,
    student: str,
    points: Mapping[str, float | None] = FAIR,
    received: datetime | None = None,
    *,
    assignment: str = "A1",
    work: str = "first",
    receipt: int | None = None,
) -> GradingRun:
    """Return a run with a signed result, as `mograder autograde` records it."""
    plain = a_run(student, points, received=received, assignment=assignment, work=work)
    result = graded_result(
        assignment=assignment,
        student=student,
        filename=f"{student}.py",
        submission_sha256=plain.submission_sha256,
        received="" if received is None else received.isoformat(),
        receipt=receipt,
        questions=tuple(question(key, most, points.get(key)) for key, most in MARKS.items()),
        checks=tuple(map(check, points)),
        at=AT.isoformat(),
    )
    signature = sign_result(grading_key(loaded(course)), result)
    return replace(plain, result=render_result(result), signature=signature, receipt=receipt)


def question(key: str, most: float, points: float | None) -> GradedQuestion:
    state = GradingState.MANUAL if points is None else GradingState.JUDGED
    return GradedQuestion(key=key, available=most, earned=points, state=state)


def check(key: str) -> GradedCheck:
    """A check; that of Q3 is hidden."""
    hidden = key == "Q3"
    label = GradedLabel(
        label=f"{key}: check", key=key, earned=1, total=2, passed=False, hidden=hidden
    )
    return GradedCheck(cell=1, line=9, hidden=hidden, state=GradingState.JUDGED, labels=(label,))


def loaded(course: Path) -> LoadedSettings:
    return load_settings(course)


def grades(course: Path, assignment: str = "A1") -> dict[str, StudentGrade]:
    """Return the marks as they count, by student."""
    with Gradebook(course / "gradebook.db") as book:
        late = CourseLate(loaded(course))
        return {each.student: each for each in late.grades(book, assignment)}

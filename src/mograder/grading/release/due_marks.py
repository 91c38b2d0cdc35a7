"""The marks of an assignment that other systems may have now: those that students see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.grading.late.late_work import late_sentence
from mograder.grading.release.course_feedback import CourseFeedback
from mograder.grading.release.released_marks import ReleasedMarks, parse_marks
from mograder.grading.release.telling import telling
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.mark_release import MarkReleases, standing

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DueMark:
    """A released mark; ``late`` is the deduction as a sum, "" without one."""

    grade: StudentGrade
    late: str = ""


@dataclass(frozen=True, slots=True)
class DueMarks:
    """The marks of an assignment by username; None for one that was taken back.

    Marks that students are not told yet, and damaged ones, are left out. ``changes_at`` is when the
    next mark becomes visible without anybody's doing, None if none does.
    """

    marks: dict[str, DueMark | None]
    changes_at: datetime | None = None


def due_marks(feedback: CourseFeedback) -> DueMarks:
    """Return the marks that students see now; blocks, and may raise the gradebook's errors."""
    tells = telling(feedback)
    found: dict[str, DueMark | None] = {}
    moments = [] if tells.ahead.later is None else [tells.ahead.later]
    for student, rows in MarkReleases(feedback.book).rows(feedback.assignment).items():
        stands = standing(rows, feedback.now)
        if stands.waiting is not None and stands.waiting.visible_from is not None:
            moments.append(stands.waiting.visible_from)
        if stands.shown is None:
            if stands.taken_back is not None:
                found[student] = None
            continue
        try:
            marks = parse_marks(stands.shown.grade)
        except MograderError as error:
            _log.error("the marks of %s for %s: %s", student, feedback.assignment, error)
            continue
        if marks.grade.final is None or (marks.hidden_tests and tells.of(rows).later is not None):
            continue
        found[student] = _due(marks)
    return DueMarks(found, min(moments, default=None))


def _due(marks: ReleasedMarks) -> DueMark:
    late = late_sentence(marks.grade, marks.deduction) if marks.deduction.percent else ""
    return DueMark(marks.grade, late)

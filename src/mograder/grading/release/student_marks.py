"""A student's released marks of all assignments, in short."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.settings import LoadedSettings
from mograder.grading.feedback.disclosure import Disclosure, Level
from mograder.grading.feedback.feedback_view import view_feedback
from mograder.grading.late.late_work import moment
from mograder.grading.release.course_feedback import CourseFeedback
from mograder.grading.release.released_marks import ReleasedMarks, parse_marks
from mograder.grading.release.telling import telling
from mograder.grading.results.recorded_results import NO_RESULT
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_facts import LateFacts
from mograder.store.gradebook.late_work import LateWork
from mograder.store.gradebook.mark_release import MarkReleases, ReleaseRow, standing
from mograder.store.marking.regrade_requests import RegradeRequest, RegradeRequests, RequestState

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StudentMark:
    """A released mark in short.

    ``mark`` is empty while it may not be told; ``status`` says so, or what was taken back. ``late``
    is the deduction as a sum. ``answered`` counts requests with an answer that asks for more, and
    ``decided`` those with a decision, ``waiting`` those without an answer.
    """

    mark: str = ""
    most: str = ""
    late: str = ""
    status: str = ""
    waiting: int = 0
    answered: int = 0
    decided: int = 0


def marks_of_student(
    loaded: LoadedSettings, book: Gradebook, key: bytes, student: str, now: datetime
) -> Mapping[str, StudentMark]:
    """Return what a student sees, by assignment; blocks.

    Assignments of which the student never saw a mark are left out, and damaged ones logged.
    """
    requests: defaultdict[str, list[RegradeRequest]] = defaultdict(list)
    found: dict[str, StudentMark] = {}
    releases = MarkReleases(book).rows_of(student)
    if not releases:
        return found
    facts = LateWork(book).facts()
    for request in RegradeRequests(book).of(student=student):
        requests[request.assignment].append(request)
    for assignment, rows in releases.items():
        feedback = CourseFeedback(loaded, book, assignment, key, now)
        try:
            told = _told(feedback, facts, rows)
        except MograderError as error:
            _log.error("the released marks of %s for %s: %s", student, assignment, error)
            continue
        if told is not None:
            found[assignment] = _with(told, requests[assignment])
    return found


def _told(
    feedback: CourseFeedback, facts: LateFacts, rows: Sequence[ReleaseRow]
) -> StudentMark | None:
    stands = standing(rows, feedback.now)
    if stands.shown is not None:
        marks = parse_marks(stands.shown.grade)
        later = telling(feedback, facts).of(rows).later if marks.hidden_tests else None
        return _summary(marks, later)
    if stands.taken_back is not None:
        return StudentMark(status=f"was taken back: {stands.taken_back.note}")
    return None


def _summary(marks: ReleasedMarks, later: datetime | None) -> StudentMark:
    if later is not None:
        return StudentMark(status=f"will be told after {moment(later)}")
    view = view_feedback(marks.work(NO_RESULT), Disclosure(Level.NOTHING))
    return StudentMark(view.mark, view.most, view.late)


def _with(told: StudentMark, requests: list[RegradeRequest]) -> StudentMark:
    states = [each.state for each in requests]
    return replace(
        told,
        waiting=states.count(RequestState.OPEN),
        answered=states.count(RequestState.ANSWERED),
        decided=states.count(RequestState.DECIDED),
    )

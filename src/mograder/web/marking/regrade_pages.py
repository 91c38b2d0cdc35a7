"""Requests to look at a mark again, for the people who answer them: the list, and a thread.

A request is answered by the person it goes to, and by instructors. Others who mark the assignment
may read it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.core.csv_table import number_text
from mograder.core.errors import Conflict, Forbidden, InvalidInput, MograderError, NotFound
from mograder.core.item_dates import course_zone
from mograder.core.names import is_same_person
from mograder.grading.late_work import moment
from mograder.grading.release import regrade_requests
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.feedback_view import GradedWork, QuestionView
from mograder.grading.release.regrade_requests import LONGEST_TEXT, Decision
from mograder.grading.release.releasing import ReleasedMarks, marks_now, readable_marks
from mograder.grading.release.student_marks import telling, view_marks
from mograder.grading.submissions.grading_result import GradedCheck
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.mark_release import MarkReleases, ReleaseRow, Standing, standing
from mograder.store.marking.annotations import NO_REASONS
from mograder.store.marking.marking_progress import open_for_marking
from mograder.store.marking.question_marking import AnswerMark, QuestionMarks
from mograder.store.marking.regrade_requests import RegradeRequest, RegradeRequests
from mograder.web.error_responses import status_of
from mograder.web.marking.context import (
    CurrentMarker,
    CurrentMarking,
    Marker,
    MarkingApp,
    answer_id,
    check_instructor,
    known_markers,
    names_shown,
    question_address,
    question_title,
)
from mograder.web.marking.release_pages import feedback_of
from mograder.web.pages import go_to, page, path_segment, with_outcome
from mograder.web.request_body import read_form

_FORM_BYTES = 64 * 1024
_MOST_CALLS = 10


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A request with what a person needs to answer it.

    ``mark`` is the mark as it stands, None if the assignment has no such question any more.
    ``reasons`` is what the student's page would say about the question now, None if it cannot be
    shown; ``checks`` are those of the question for staff. ``besides`` is what else of the student
    another mark would release, as of the ``version`` of all marks. ``changed`` is whether the mark
    is another than the one that the student sees, which can then not be kept. ``replaced`` is
    whether one for the whole counts in its place, or those of questions in place of one.
    ``people`` may be given the request. ``following`` waits for the same person, ``left`` do.
    """

    request: RegradeRequest
    title: str
    mark: AnswerMark | None
    reasons: QuestionView | None
    checks: tuple[GradedCheck, ...]
    besides: tuple[str, ...]
    changed: bool
    replaced: bool
    version: int
    people: tuple[str, ...]
    answer: str
    following: RegradeRequest | None
    left: int


def requests_page(request: Request, marking: CurrentMarking, marker: CurrentMarker) -> Response:
    found = _visible(marking, marker)
    mine = [each for each in found if each.waits and is_for(marker, each)]
    others = [each for each in found if each.waits and not is_for(marker, each)]
    closed = [each for each in reversed(found) if not each.waits]
    return page(
        request,
        "marking/requests.html",
        here="marking",
        mine=mine,
        others=others,
        closed=closed,
        title_of=question_title,
        named=_named(marking, marker),
    )


def thread_page(
    a: str, number: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    return _page(request, marking, marker, _thread(marking, marker, a, number))


def _page(
    request: Request,
    marking: MarkingApp,
    marker: Marker,
    view: ThreadView,
    fields: Mapping[str, str] | None = None,
    refused: MograderError | None = None,
) -> Response:
    """Return the page of a request; ``fields`` of a ``refused`` form are in it again."""
    return page(
        request,
        "marking/request.html",
        status_of(refused) if refused else 200,
        here="marking",
        view=view,
        fields={"text": "", "points": "", **(fields or {})},
        refused=refused,
        may=may_answer(marker, view.request),
        instructor=marker.role is Role.INSTRUCTOR,
        longest=LONGEST_TEXT,
        most_calls=_MOST_CALLS,
        named=_named(marking, marker),
    )


async def change_thread(
    a: str, number: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Answer, decide, reopen or give away a request.

    The form's fields: ``action``, ``text``, ``points``, ``to``, ``seen`` and ``version``.
    """
    fields = await read_form(request, _FORM_BYTES)
    try:
        done, student = await to_thread.run_sync(_change, marking, marker, a, number, fields)
    except (InvalidInput, Conflict, Forbidden) as error:
        view = await to_thread.run_sync(_thread, marking, marker, a, number)
        return _page(request, marking, marker, view, fields, error)
    await marking.record(request, f"request: {fields['action']}", f"{a}: {number}"[:200])
    marking.tell((student,))
    where = with_outcome(f"/marking/{path_segment(a)}/requests/{path_segment(number)}", done)
    return go_to(request, where)


def _named(marking: MarkingApp, marker: Marker) -> bool:
    return marker.role is Role.INSTRUCTOR or names_shown(marking, marker, None)


def is_for(marker: Marker, request: RegradeRequest) -> bool:
    if not request.assignee:
        return marker.role is Role.INSTRUCTOR
    return request.assignee == marker.name


def may_answer(marker: Marker, request: RegradeRequest) -> bool:
    """Return whether this person may answer and decide a request; not one's own."""
    if is_same_person(marker.name, request.student):
        return False
    return marker.role is Role.INSTRUCTOR or is_for(marker, request)


def _visible(marking: MarkingApp, marker: Marker) -> tuple[RegradeRequest, ...]:
    found = RegradeRequests(marking.book()).of()
    if marker.role is Role.INSTRUCTOR:
        return found
    opened = open_for_marking(marking.loaded.course_dir)
    return tuple(each for each in found if each.assignment in opened)


def _find(book: Gradebook, assignment: str, number: str) -> RegradeRequest:
    of = _number(number)
    found = None if of is None else RegradeRequests(book).find(of)
    if found is None or found.assignment != assignment:
        raise NotFound("There is no such request.")
    return found


def _thread(marking: MarkingApp, marker: Marker, assignment: str, number: str) -> ThreadView:
    book = marking.book()
    found = _find(book, assignment, number)
    feedback = feedback_of(marking, assignment)
    (work,) = feedback.works((found.student,))
    rows = MarkReleases(book).rows_for(assignment, found.student)
    stands = standing(rows, feedback.now)
    reasons, checks, besides = _reasons(feedback, found.question, work, rows, stands)
    others = [
        each
        for each in _visible(marking, marker)
        if each.waits and each.number != found.number and is_for(marker, each)
    ]
    later = (each for each in others if each.number > found.number)
    return ThreadView(
        found,
        question_title(found.question),
        _mark(book, found),
        reasons,
        checks,
        besides,
        regrade_requests.is_changed(work.grade, stands, found.question),
        regrade_requests.is_replaced(work.grade, found.question),
        work.grade.version,
        known_markers(marking, book, assignment),
        f"{answer_id(marking.key, assignment, found.student)}/"
        f"{path_segment(question_address(found.question))}",
        next(later, others[0] if others else None),
        len(others),
    )


def _mark(book: Gradebook, request: RegradeRequest) -> AnswerMark | None:
    try:
        return QuestionMarks(book).state(request.assignment, request.student, request.question)
    except NotFound:  # it was renamed or removed since
        return None


def _reasons(
    feedback: CourseFeedback,
    question: str,
    work: GradedWork,
    rows: Sequence[ReleaseRow],
    stands: Standing,
) -> tuple[QuestionView | None, tuple[GradedCheck, ...], tuple[str, ...]]:
    """Return what the student's page says about the question, and the checks with all they say.

    Then the other marks that a decision would release.
    """
    if work.last.problem:
        return None, (), ()
    seen = readable_marks(stands.shown or stands.waiting)
    present = marks_now(work)
    besides = () if seen is None else _besides(seen, present, question)
    if stands.shown and stands.waiting and stands.waiting.visible_from:
        begin = moment(stands.waiting.visible_from, course_zone(feedback.loaded.settings))
        besides += (f"what was to be released on {begin}",)
    view = view_marks(feedback, present, telling(feedback).of(rows))
    shown = next((each for each in view.questions if each.key == question), None)
    graded = work.last.result.checks if work.last.result else ()
    about = []
    for check in graded:
        labels = tuple(each for each in check.labels if each.key == question)
        about += [check.model_copy(update={"labels": labels})] if labels else []
    return shown, tuple(about), besides


def _besides(seen: ReleasedMarks, now: ReleasedMarks, key: str) -> tuple[str, ...]:
    """Return in words how a student's other marks differ from those that the student sees."""
    points = [
        {each.key: each.points for each in (*grade.questions, grade.whole) if each is not None}
        for grade in (seen.grade, now.grade)
    ]
    keys = [each for each in {**points[0], **points[1]} if each != key]
    before, after = ([number_text(of.get(each)) or "–" for each in keys] for of in points)
    told = [
        f"{question_title(each)} {one} → {other}"
        for each, one, other in zip(keys, before, after, strict=True)
        if one != other
    ]
    told += ["comments"] if _words(seen, key) != _words(now, key) else []
    told += ["the deduction"] if seen.grade.penalty_pct != now.grade.penalty_pct else []
    return tuple(told)


def _words(marks: ReleasedMarks, key: str) -> object:
    """Return what people said about a student's marks, but for those of one question."""
    comments = {each.key: each.comment for each in marks.grade.questions if each.key != key}
    given = marks.reasons.items()
    reasons = {of: each for of, each in given if of != key and each != NO_REASONS}
    return comments, marks.grade.comment, reasons


def _change(
    marking: MarkingApp, marker: Marker, assignment: str, number: str, fields: Mapping[str, str]
) -> tuple[str, str]:
    """Carry out a form's action; return the page's word for what came of it, and the student."""
    book, now = marking.book(), marking.clock.now()
    request = _find(book, assignment, number)
    if not may_answer(marker, request):
        raise Forbidden("Another person answers this request.")
    action, text = fields.get("action", ""), fields.get("text", "")
    seen = _number(fields.get("seen", ""))
    if seen is None:
        raise InvalidInput("The form is not complete.", hint="Load the page again.")
    if action in ("answer", "keep") and request.waits:
        _refuse_points(_mark(book, request), fields.get("points", ""))
    match action:
        case "answer":
            regrade_requests.answer(book, request, marker.name, text, seen=seen, now=now)
        case "reopen":
            check_instructor(marker.role)
            regrade_requests.reopen(book, request, marker.name, text, seen=seen, now=now)
        case "assign":
            check_instructor(marker.role)
            to = fields.get("to", "")
            if to and to not in known_markers(marking, book, assignment):
                raise InvalidInput("This person does not mark the assignment.")
            regrade_requests.assign(book, request, marker.name, to, seen=seen, now=now)
        case "keep" | "change":
            points = _points(fields.get("points", "")) if action == "change" else None
            made = Decision(marker.name, text, points, seen, fields.get("version", "")[:200])
            done = regrade_requests.decide(feedback_of(marking, assignment), request, made)
            if action == "change" and not done.released:
                action = "keep" if done.after == done.before else "change-unseen"
        case _:
            raise InvalidInput("The field action must be answer, keep, change, assign or reopen.")
    return action, request.student


def _number(text: str) -> int | None:
    """Return a number of at most nine digits, None for any other text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _refuse_points(mark: AnswerMark | None, text: str) -> None:
    """Raise InvalidInput for new points, sent by a button that keeps the present ones."""
    if mark is None or not text.strip():
        return
    with suppress(InvalidInput):
        if _points(text) == mark.question.points:
            return
    raise InvalidInput(
        f"You wrote {text} points, and did not press Change the mark.",
        hint="Press it, or empty the field.",
    )


def _points(text: str) -> float:
    points, number = math.nan, text.strip()
    if "_" not in number and number.isascii():  # float() reads 1_0 as 10
        with suppress(ValueError):
            points = float(number.replace(",", "."))
    if not math.isfinite(points):
        raise InvalidInput(f"{text[:40]!r} is not a number of points.")
    return points

"""Releasing an assignment's marks: its page, the form, and the preview of a student's page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.item_dates import read_moment
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.releasing import (
    LONGEST_NOTE,
    Released,
    ReleaseState,
    StudentRelease,
    changed_marks,
    chosen_students,
    marks_now,
    release,
    release_states,
    render_marks,
    take_back,
)
from mograder.grading.release.student_marks import render_marks_page, telling, untold_students
from mograder.publishing.schedule import zone_of_form
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import LateWork
from mograder.store.gradebook.mark_counting import waiting_for
from mograder.store.gradebook.mark_release import MarkReleases
from mograder.store.marking.question_marking import QuestionMarks
from mograder.web.marking.context import CurrentMarker, CurrentMarking, Marker, MarkingApp
from mograder.web.pages import Sheet, go_to, inert_page, page, path_segment, sheet_of, with_outcome
from mograder.web.request_body import read_form

_LONGEST = 100
_STUDENT, _GROUP = "student:", "group:"


@dataclass(frozen=True, slots=True)
class _Line:
    """One student's row: why there is no mark, and until when released ones are not seen."""

    entry: StudentRelease
    waits: str
    told: datetime | None


def release_page(a: str, request: Request, marking: CurrentMarking) -> Response:
    wanted = request.query_params.get("q", "").strip()[:_LONGEST]
    state = ReleaseState.__members__.get(request.query_params.get("state", ""))
    return page(
        request,
        "marking/release.html",
        here="marking",
        assignment=a,
        states=ReleaseState,
        wanted=wanted,
        state=state,
        chosen=request.query_params.get("for", "")[:300],
        longest=LONGEST_NOTE,
        **_values(marking, a, request, wanted, state),
    )


async def change_release(
    a: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Release marks or take them back.

    The form's fields: ``action``, ``for``, ``visible_from``, ``timezone`` and ``note``.
    """
    fields = await read_form(request)
    done = await to_thread.run_sync(_change, marking, marker, a, fields)
    action = fields["action"]
    students = ", ".join(done.students[:20])
    await marking.record(request, f"{action} marks", f"{a}: {students}"[:500])
    where = f"/marking/{path_segment(a)}/release"
    later = action == "release" and bool(fields.get("visible_from"))
    if not later:
        marking.tell(done.students)
    told = f"marks-{action}{'-later' if later else ''}"
    path = with_outcome(where, told, str(len(done.students)))
    return go_to(request, path)


async def preview(a: str, student: str, request: Request, marking: CurrentMarking) -> Response:
    """Show the page of feedback that a release would give a student now."""
    html = await to_thread.run_sync(_preview, marking, a, student)
    await marking.record(request, "read result", f"{student}/{a}"[:500])
    return inert_page(html.encode("utf-8", "replace"))


def feedback_of(marking: MarkingApp, assignment: str) -> CourseFeedback:
    now = marking.clock.now()
    return CourseFeedback(marking.loaded, marking.book(), assignment, marking.key, now)


def demand_assignment(book: Gradebook, assignment: str) -> None:
    if all(each.name != assignment for each in book.assignments()):
        raise NotFound("The gradebook has no such assignment.", hint="Grade it first.")


def _values(
    marking: MarkingApp, assignment: str, request: Request, wanted: str, state: ReleaseState | None
) -> dict[str, Any]:
    """Return the values for the page of students with ``wanted`` in the name, and in a state.

    The students ``untold`` do not see their released marks, which tell results of hidden tests,
    before ``hidden_until``; ``extended`` is whether that is because of extensions only. Those
    ``flagged`` have marks to look at first. The marks of all students are computed to find those
    in a state, and once after a change to find those flagged.
    """
    book = marking.book()
    demand_assignment(book, assignment)
    feedback = feedback_of(marking, assignment)
    names = sorted(QuestionMarks(book).students(assignment), key=str.casefold)
    found = [each for each in names if wanted.casefold() in each.casefold()]
    if state is not None:
        states = release_states(feedback, found)
        found = [each.grade.student for each in states if each.state is state]
    sheet = sheet_of(found, request)
    shown = release_states(feedback, sheet.lines)
    tells = telling(feedback)
    later = tells.ahead.later
    untold = untold_students(feedback, tells)
    lines = [
        _Line(
            each,
            ", ".join(waiting_for(each.grade)),
            later if each.grade.student in untold else None,
        )
        for each in shown
    ]
    return {
        "sheet": Sheet(lines, sheet.total, sheet.first, sheet.before, sheet.following),
        "names": names,
        "changed": changed_marks(feedback, shown),
        "flagged": marking.progress.of(book, assignment).flagged,
        "groups": LateWork(book).facts().groups(),
        "untold": untold,
        "hidden_until": later,
        "extended": tells.is_extended,
    }


def _change(
    marking: MarkingApp, marker: Marker, assignment: str, fields: Mapping[str, str]
) -> Released:
    book = marking.book()
    demand_assignment(book, assignment)
    chosen, note = _chosen(book, assignment, fields.get("for", "")), fields.get("note", "").strip()
    action = fields.get("action", "")
    if action == "take-back":
        feedback = feedback_of(marking, assignment)
        return take_back(feedback, chosen, by=marker.name, note=note)
    if action != "release":
        raise InvalidInput("Choose whether to release marks or to take them back.")
    text = fields.get("visible_from", "")
    at = read_moment(text, zone_of_form(fields)) if text else None
    feedback = feedback_of(marking, assignment)
    return release(feedback, chosen, at=at, by=marker.name, note=note)


def _chosen(book: Gradebook, assignment: str, text: str) -> frozenset[str] | None:
    if text == "all":
        return None
    if text.startswith(_STUDENT):
        return chosen_students(book, assignment, [text.removeprefix(_STUDENT)], [])
    if text.startswith(_GROUP):
        return chosen_students(book, assignment, [], [text.removeprefix(_GROUP)])
    raise InvalidInput("Choose for whom.")


def _preview(marking: MarkingApp, assignment: str, student: str) -> str:
    feedback = feedback_of(marking, assignment)
    (work,) = feedback.works((student,))
    marks = marks_now(work)
    rows = MarkReleases(feedback.book).rows_for(assignment, student)
    told = telling(feedback).anew(rows, render_marks(marks))
    return render_marks_page(feedback, marks, told)

"""The pages of marking: the course, one assignment, and the page on which people mark.

Forms open an assignment for markers, and share its answers out among them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.item_dates import OwnDates
from mograder.core.names import ItemName, Username, nfc
from mograder.grading.course_late import CourseLate
from mograder.grading.late_changes import demand_known
from mograder.store.filesystem.files import entry_named
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.marking.marking_progress import (
    AssignmentProgress,
    QuestionProgress,
    Shares,
    open_for_marking,
    set_open_for_marking,
)
from mograder.store.marking.regrade_requests import RegradeRequests
from mograder.store.submissions.submitted_files import submitted_files
from mograder.web.app import content_security_policy
from mograder.web.context import request_context
from mograder.web.marking.context import (
    Answers,
    CurrentHere,
    CurrentMarker,
    CurrentMarking,
    Marker,
    MarkingApp,
    known_markers,
    may_show_names,
    names_shown,
    question_address,
    question_title,
)
from mograder.web.pages import Sheet, go_to, page, path_segment, sheet_of, with_outcome
from mograder.web.request_body import read_form

_ANSWERS = {"1": True, "0": False}
_MOST_MARKERS = 200


@dataclass(frozen=True, slots=True)
class QuestionLine:
    """One question; ``mine`` are the waiting answers of the person's own share."""

    progress: QuestionProgress
    title: str
    address: str
    mine: int

    @property
    def done(self) -> int:
        return self.progress.total - self.progress.waiting


@dataclass(frozen=True, slots=True)
class AssignmentLine:
    """One assignment; ``requests`` are those that wait, ``dates`` those without exceptions."""

    name: str
    submitted: int
    progress: AssignmentProgress
    questions: tuple[QuestionLine, ...]
    mine: int
    is_open: bool
    requests: int
    dates: OwnDates

    @property
    def to_mark(self) -> tuple[QuestionLine, ...]:
        return tuple(
            each for each in self.questions if each.progress.waiting or each.progress.marked
        )


@dataclass(frozen=True, slots=True)
class StudentLine:
    label: str
    answer: str
    grade: StudentGrade

    @property
    def waiting(self) -> int:
        return sum(bool(each.open) for each in self.grade.questions)


def course(request: Request, marking: CurrentMarking, marker: CurrentMarker) -> Response:
    """Show the assignments: all to instructors, to markers those that are open for marking."""
    lines = _assignment_lines(marking, marker)
    requests = sum(line.requests for line in lines)
    return page(
        request,
        "marking/course.html",
        here="marking",
        now=marking.clock.now(),
        lines=lines,
        requests=requests,
        instructor=marker.role is Role.INSTRUCTOR,
    )


def assignment(here: CurrentHere, names: bool | None = None) -> Response:
    """Show an assignment's questions and students; ``names`` as in the API of answers.

    The people ``unknown`` have a share, and no role that marks as far as is known here.
    """
    request, marking, marker, item = here.request, here.marking, here.marker, here.item
    shown, opened = names_shown(marking, marker, names), open_for_marking(marking.loaded.course_dir)
    line = _assignment_line(marking, marker, item, opened, _requests(marking)[item])
    answers = here.answers(shown)
    if not line.submitted and not answers.order:
        raise NotFound("There is nothing to mark under this name.")
    shares = {*Shares(here.book).of(item).values()} - {"", marker.name}
    return page(
        request,
        "marking/assignment.html",
        here="marking",
        now=marking.clock.now(),
        markers=marking.loaded.settings.marking.markers,
        line=line,
        unknown=sorted(shares.difference(known_markers(marking, here.book, item))),
        sheet=_students(request, marking, answers, by_name=shown),
        names=shown,
        may_show_names=may_show_names(marking, marker),
        instructor=marker.role is Role.INSTRUCTOR,
    )


async def mark_page(here: CurrentHere) -> Response:
    """Show the page that goes through the answers to a question, or the questions of an answer.

    It holds no mark and no name: its script asks the API for them, one answer after the other. Its
    policy also allows the frame of the outputs, which is ours.
    """
    question = here.request.path_params.get("question", "")
    response = page(
        here.request,
        "marking/mark.html",
        here="marking",
        assignment=here.item,
        question=question,
        title=question_title(here.question) if question else "",
        answer=here.answer,
        marker=here.marker.name,
        names_shown=names_shown(here.marking, here.marker, None),
        may_show_names=may_show_names(here.marking, here.marker),
    )
    own = content_security_policy(request_context(here.request))
    response.headers["Content-Security-Policy"] = f"{own}; frame-src 'self'"
    return response


async def open_or_close(a: str, request: Request, marking: CurrentMarking) -> Response:
    """Open an assignment for markers, or close it: the form's field ``open`` is 1 or 0."""
    answer = (await read_form(request)).get("open", "")
    if answer not in _ANSWERS:
        raise InvalidInput("The field open must be 1 or 0.")
    name, is_open = ItemName.parse(a), _ANSWERS[answer]

    def change() -> None:
        if is_open:
            demand_known(marking.loaded, marking.book(), name)
        set_open_for_marking(marking.loaded.course_dir, name, is_open=is_open)

    await to_thread.run_sync(change)
    await marking.record(request, f"{'open' if is_open else 'close'} for marking", name)
    done = "opened" if is_open else "closed"
    return go_to(request, with_outcome("/marking", done, name))


async def share(here: CurrentHere) -> Response:
    """Share out all answers among the users in the field ``markers``, or end their shares."""
    item, by = here.item, here.marker.name
    markers = markers_in((await read_form(here.request)).get("markers", ""))

    def write() -> None:
        demand_known(here.marking.loaded, here.book, item)
        at = here.marking.clock.now()
        Shares(here.book).share_out(item, markers, by=by, at=at)

    await to_thread.run_sync(write)
    await here.record("share out marking", item)
    where = with_outcome(f"/marking/{path_segment(item)}", "shared", ", ".join(markers))
    return go_to(here.request, where)


def markers_in(text: str) -> tuple[str, ...]:
    """Return the users that a text lists, separated by commas or spaces, each once."""
    names = dict.fromkeys(Username.parse(name) for name in text.replace(",", " ").split())
    if len(names) > _MOST_MARKERS:
        raise InvalidInput(f"markers: name at most {_MOST_MARKERS} users.")
    return tuple(names)


def _assignment_lines(marking: MarkingApp, marker: Marker) -> list[AssignmentLine]:
    opened = open_for_marking(marking.loaded.course_dir)
    known = {each.name for each in marking.book().assignments()}
    directory = marking.loaded.path(marking.loaded.settings.dirs.submitted)
    for each in directory.iterdir() if directory.is_dir() else ():
        if each.is_dir() and any(each.glob("*.py")):
            known.add(nfc(each.name))
    names = {name for name in known if ItemName.valid(name)}
    if marker.role is not Role.INSTRUCTOR:
        names &= opened
    asked = _requests(marking)
    return [
        _assignment_line(marking, marker, ItemName.parse(name), opened, asked[name])
        for name in sorted(names, key=str.casefold)
    ]


def _requests(marking: MarkingApp) -> Counter[str]:
    return Counter(each.assignment for each in RegradeRequests(marking.book()).of() if each.waits)


def _assignment_line(
    marking: MarkingApp, marker: Marker, item: ItemName, opened: frozenset[str], requests: int
) -> AssignmentLine:
    directory = entry_named(marking.loaded.path(marking.loaded.settings.dirs.submitted), item)
    progress = marking.progress.of(marking.book(), item)
    return AssignmentLine(
        name=item,
        submitted=len(submitted_files(directory)) if directory.is_dir() else 0,
        progress=progress,
        questions=tuple(
            QuestionLine(
                each,
                question_title(each.key),
                question_address(each.key),
                each.shares.get(marker.name, 0),
            )
            for each in progress.questions
        ),
        mine=progress.of_marker(marker.name),
        is_open=item in opened,
        requests=requests,
        dates=marking.dates.usual(item),
    )


def _students(
    request: Request, marking: MarkingApp, answers: Answers, *, by_name: bool
) -> Sheet[StudentLine]:
    """Return one page of the students: by name, or in the marker's order where names are hidden."""
    order = answers.order
    if by_name:
        order = tuple(sorted(order, key=lambda student: answers.labels[student].casefold()))
    sheet = sheet_of(order, request)
    late = CourseLate(marking.loaded)
    found = late.counted(marking.book(), answers.assignment, sheet.lines)
    grades = {each.grade.student: each.grade for each in found}
    lines = [
        StudentLine(answers.labels[each], answers.id_of(each), grades[each])
        for each in sheet.lines
        if each in grades
    ]
    return Sheet(lines, sheet.total, sheet.first, sheet.before, sheet.following)

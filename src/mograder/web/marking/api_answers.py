"""The JSON API of marking: the questions, a marker's queue, an answer and its mark."""

from __future__ import annotations

from anyio import to_thread
from fastapi import Request
from starlette.responses import JSONResponse, Response

from mograder.core.errors import Conflict
from mograder.grading.marking.answer_names import (
    answer_id,
    marking_order,
    question_address,
    question_of,
    question_title,
    student_of,
)
from mograder.store.grading_records import MarkEntry, QuestionGrade, StudentGrade
from mograder.web.marking.context import CurrentMarker, CurrentMarking, Marker, MarkingApp
from mograder.web.marking.models import (
    AnswerState,
    Conflicting,
    History,
    Mark,
    MarkChange,
    Overview,
    QuestionSummary,
    Queue,
    QueueEntry,
    Rendered,
    Saved,
    Text,
    Undo,
)
from mograder.web.request_body import read_json

_LIMIT = 256 * 1024


async def overview(
    a: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Return an assignment's questions, and how far each is."""

    def read() -> Overview:
        with marking.book() as book:
            grades = book.grades(a)
        keys = dict.fromkeys(q.key for grade in grades for q in grade.questions)
        return Overview(assignment=a, questions=[_summary(key, grades) for key in keys])

    return JSONResponse((await to_thread.run_sync(read)).model_dump(mode="json"))


def _summary(key: str, grades: tuple[StudentGrade, ...]) -> QuestionSummary:
    found = [q for grade in grades for q in grade.questions if q.key == key]
    waiting = sum(bool(q.open) for q in found)
    return QuestionSummary(
        key=key,
        address=question_address(key),
        title=question_title(key),
        available=found[0].available,
        state=found[0].state,
        marked=sum(bool(q.marker) for q in found),
        total=len(found),
        waiting=waiting,
        mine=waiting,
    )


async def queue(
    a: str,
    request: Request,
    marking: CurrentMarking,
    marker: CurrentMarker,
    question: str,
    names: bool = False,
) -> Response:
    """Return all answers to a question in the marker's order."""

    def read() -> Queue:
        key = question_of(question)
        with marking.book() as book:
            grades = {each.student: each for each in book.grades(a)}
            full = book.students() if names else {}
        entries = []
        order = marking_order(marking.key, a, marker.name, grades)
        for number, student in enumerate(order, start=1):
            grade = _question(grades[student], key)
            if grade is None:
                continue
            shown = full.get(student) or student
            entries.append(
                QueueEntry(
                    id=answer_id(marking.key, a, student),
                    label=shown if names else f"Answer {number}",
                    state=grade.state,
                    points=grade.points,
                    marker=grade.marker,
                    share="",
                    look_again=grade.look_again,
                    open=grade.open,
                )
            )
        return Queue(question=key, available=None, answers=entries)

    return JSONResponse((await to_thread.run_sync(read)).model_dump(mode="json"))


def _question(grade: StudentGrade, key: str) -> QuestionGrade | None:
    return next((each for each in grade.questions if each.key == key), None)


def _mark(grade: QuestionGrade | None) -> Mark | None:
    if grade is None or not grade.marker:
        return None
    return Mark(
        points=grade.points,
        adjustment=None,
        saved=[],
        comment=grade.comment,
        html="",
        reason="",
        marker=grade.marker,
        at=grade.at,
    )


def _find(marking: MarkingApp, a: str, answer: str) -> StudentGrade:
    with marking.book() as book:
        grades = {each.student: each for each in book.grades(a)}
    return grades[student_of(marking.key, a, answer, grades)]


async def answer(
    a: str,
    answer: str,
    question: str,
    request: Request,
    marking: CurrentMarking,
    marker: CurrentMarker,
    names: bool = False,
) -> Response:
    """Return an answer, with all that its mark depends on."""

    def read() -> AnswerState:
        key = question_of(question)
        student = _find(marking, a, answer)
        grade = _question(student, key)
        return AnswerState(
            id=answer,
            label=student.student if names else "Answer",
            question=key,
            address=question,
            title=question_title(key),
            available=grade.available if grade else None,
            cells=[],
            outputs="",
            auto=None,
            mark=_mark(grade),
            version=student.version,
            look_again=bool(grade and grade.look_again),
            open=grade.open if grade else "",
            annotations=[],
            solution=[],
            scale="",
            reason_needed=bool(grade and grade.graded is not None),
            undo=False,
        )

    return JSONResponse((await to_thread.run_sync(read)).model_dump(mode="json"))


async def save(
    a: str,
    answer: str,
    question: str,
    request: Request,
    marking: CurrentMarking,
    marker: CurrentMarker,
) -> Response:
    """Save a mark; 409 with the other person's if the answer was marked meanwhile."""
    change = await read_json(request, MarkChange, _LIMIT)

    def write() -> Response:
        return _save(marking, marker, (a, answer, question_of(question)), change)

    return await to_thread.run_sync(write)


def _save(
    marking: MarkingApp, marker: Marker, at: tuple[str, str, str], change: MarkChange
) -> Response:
    a, named, key = at
    student = _find(marking, a, named).student
    with marking.book() as book:
        try:
            grade = book.record_marks(
                a,
                student,
                {key: MarkEntry(change.points, change.comment)},
                marker=marker.name,
                at=marking.clock.now(),
                version=change.version,
            )
        except Conflict as error:
            (now,) = (each for each in book.grades(a) if each.student == student)
            found = Conflicting(
                detail=str(error), now=_mark(_question(now, key)), version=now.version
            )
            return JSONResponse(found.model_dump(mode="json"), 409)
    told = _question(grade, key)
    saved = Saved(
        mark=_mark(told),
        version=grade.version,
        total=grade.total,
        look_again=False,
        open=told.open if told else "",
        undo=True,
    )
    return JSONResponse(saved.model_dump(mode="json"))


async def undo(
    a: str,
    answer: str,
    question: str,
    request: Request,
    marking: CurrentMarking,
    marker: CurrentMarker,
) -> Response:
    """Take back the marker's own last change."""
    await read_json(request, Undo, _LIMIT)
    raise Conflict("There is no change of yours to take back.")


async def history(
    a: str,
    answer: str,
    question: str,
    request: Request,
    marking: CurrentMarking,
    marker: CurrentMarker,
) -> Response:
    """Return all marks that an answer had, newest first."""
    return JSONResponse(History(entries=[]).model_dump(mode="json"))


async def preview(
    a: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Return a comment's Markdown as it will be shown."""
    await read_json(request, Text, _LIMIT)
    return JSONResponse(Rendered(html="").model_dump(mode="json"))

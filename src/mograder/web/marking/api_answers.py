"""The JSON API of marking: questions, a marker's queue, an answer, its mark, and its equal answers.

Equal answers to a question form a group, whose answers get one mark; an answer can be taken out of
its group.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from anyio import to_thread
from starlette.responses import JSONResponse, Response

from mograder.core.errors import InvalidInput, MograderError
from mograder.grading.marking.answer_names import (
    group_id,
    question_address,
    question_of,
    question_title,
)
from mograder.grading.marking.equal_answers import AnswerGroup, answer_groups
from mograder.grading.marking.graded_work import WorkFiles, has_page, nameless_page
from mograder.grading.marking.question_sources import (
    QuestionSources,
    sources_or_none,
)
from mograder.grading.marking.shown_work import ShownWork, WorkToShow, solution_cells
from mograder.grading.pages.comment_markup import comment_html, task_html
from mograder.grading.submissions.grading_result import NO_RESULT, last_results
from mograder.store.gradebook.grading_records import MarkDetails, MarkEntry
from mograder.store.gradebook.mark_counting import replaces_automatic
from mograder.store.marking.annotations import Annotations
from mograder.store.marking.marking_progress import Shares
from mograder.store.marking.question_marking import (
    AnswerChanged,
    AnswerMark,
    Change,
    QuestionMarks,
    Rubric,
    Separations,
    answers_to,
)
from mograder.store.marking.regrade_requests import RegradeRequests
from mograder.store.marking.saved_comments import SavedComments
from mograder.web.marking.answer_json import (
    GroupChange,
    Json,
    MarkChange,
    Text,
    Undo,
    annotation_json,
    automatic_json,
    cells_json,
    history_json,
    mark_json,
    progress_json,
    request_json,
    saved_json,
    shown_text,
    whole_json,
)
from mograder.web.marking.context import (
    Answers,
    CurrentHere,
    Here,
    may_mark,
    stamp_of,
)
from mograder.web.pages import inert_page

_PATIENCE_SECONDS = 0.1
"""How long a page waits for groups that are not known yet; a later request will find them."""

_LONG = 3600.0
"""How long a request waits that asks for the groups alone: until they are known."""

_Written = tuple[str, AnswerMark, tuple[str, ...], int]
"""A student, the mark after a change, who else got it, and how many equal answers did not."""


def overview(here: CurrentHere) -> Response:
    known = here.marking.progress.of(here.book, here.item).known
    return JSONResponse({"questions": [progress_json(each, here.marker.name) for each in known]})


async def queue(here: CurrentHere, question: str, names: bool | None = None) -> Response:
    """Return all answers to a question in the marker's order, the own share first."""
    key = question_of(question)
    answers = await to_thread.run_sync(here.answers, names)
    equal = await equal_answers(here, answers, key)
    return JSONResponse(await to_thread.run_sync(_queue, here, key, answers, equal))


def _queue(here: Here, key: str, answers: Answers, equal: EqualAnswers | None) -> Json:
    """Return the answers.

    ``share`` is the marker who is to mark one, "" for any. ``group`` is the group of equal answers
    with which it gets one mark. ``open`` says what it waits for, "" if for nothing. ``own``: it is
    the marker's own, which others mark.
    """
    states = answers_to(here.book, here.item, key)
    shares = Shares(here.book).of(here.item)
    entries: list[Json] = [
        {
            "id": answers.id_of(student),
            "label": answers.labels[student],
            "state": grade.state,
            "points": grade.points,
            "marker": grade.marker,
            "share": shares.get(student, ""),
            "group": equal.shared_by(student) if equal else None,
            "look_again": grade.look_again,
            "open": grade.open,
            "own": not may_mark(here.marker, student),
        }
        for student in answers.order
        if (grade := states.get(student)) is not None
    ]
    return {"answers": sorted(entries, key=lambda each: each["share"] != here.marker.name)}


@dataclass(frozen=True, slots=True)
class _Read:
    """An answer as it is read before its submission is parsed."""

    student: str
    answers: Answers
    text: str
    sources: QuestionSources
    trouble: str


async def answer(here: CurrentHere, names: bool | None = None) -> Response:
    found = await to_thread.run_sync(_read, here, names)
    to_show = WorkToShow(found.text, "submission.py", found.sources)
    work = await here.marking.works.show(to_show) if found.text else ShownWork()
    equal = await equal_answers(here, found.answers, here.question)
    group = equal.of(found.student) if equal else None
    # Encoded in the thread, too: it may be megabytes.
    response = await to_thread.run_sync(
        lambda: JSONResponse(_answer(here, found, work) | {"group": group})
    )
    await here.record("read answer", f"{found.student}/{here.item}")
    return response


def _read(here: Here, names: bool | None) -> _Read:
    answers = here.answers(names)
    student, text = answers.student_of(here.answer), ""
    sources, trouble = sources_or_none(here.marking.source(here.item))
    try:
        text = WorkFiles(here.autograded, here.submitted).graded_first(student)
    except MograderError as error:
        trouble = str(error)
    return _Read(student, answers, text, sources, trouble)


def _answer(here: Here, found: _Read, work: ShownWork) -> Json:
    """Return an answer with all that its mark depends on, without its group.

    ``outputs`` is the address, below the prefix, of the notebook as it ran, "" without one; it is
    for an opaque sandboxed frame. ``solution`` are the cells of the author's solution. ``scale`` is
    the HTML of the marking scale, ``task`` that of the question's own words. ``reason_needed``:
    another mark than grading's needs a reason. ``whole`` is the mark for all questions without
    checks together, if one counts. ``total`` are all marks of the student. ``trouble`` says what
    cannot be shown, if so; ``text`` is a submission that is no notebook. ``submission`` is the
    SHA-256 of the one that was graded last, ``run`` that grading. ``own``: it is the marker's own,
    which others mark.
    """
    book, item, key, student = here.book, here.item, here.question, found.student
    mark, rubric = (
        QuestionMarks(book).state(item, student, key),
        SavedComments(book).rubric(item, key),
    )
    last = last_results(here.marking.key, book, item, (student,)).get(student, NO_RESULT)
    trouble = f"The checks are not shown: {last.problem}." if last.problem else found.trouble
    page = f"/marking/-/api/{item}/answers/{here.answer}/outputs"
    return saved_json(mark, here.marker.name) | {
        "id": here.answer,
        "label": found.answers.labels[student],
        "own": not may_mark(here.marker, student),
        "question": key,
        "address": question_address(key),
        "title": question_title(key),
        "available": mark.question.available,
        "cells": cells_json(work.of(key)),
        "text": shown_text(work.text),
        "submission": mark.submission_sha256,
        "run": mark.run,
        "outputs": page if has_page(here.autograded, student) else "",
        "auto": automatic_json(mark.question, last.result),
        "whole": whole_json(mark),
        "annotations": [
            annotation_json(each, rubric, mark.submission_sha256)
            for each in Annotations(book).of(item, student)
            if each.place.question == key
        ],
        "solution": cells_json(solution_cells(found.sources, key)),
        "scale": task_html(found.sources.scale),
        "task": task_html(found.sources.task(key)),
        "reason_needed": replaces_automatic(mark.question),
        "requests": [request_json(each) for each in RegradeRequests(book).of(item, student, key)],
        "trouble": " ".join(filter(None, (trouble, work.problem))),
    }


async def outputs(here: CurrentHere) -> Response:
    def read() -> tuple[str, bytes]:
        student = here.student()
        return student, nameless_page(here.autograded, student)

    student, data = await to_thread.run_sync(read)
    await here.record("read result", f"{student}/{here.item}")
    return inert_page(data, framed=True)


async def save(here: CurrentHere) -> Response:
    """Save a mark; 409 with the present one if the answer was marked or graded meanwhile.

    For ``to: "group"`` the equal answers get it, too, but for those taken out or marked otherwise.
    """
    change = await here.read(MarkChange)
    if change.points is not None and change.adjustment is not None:
        raise InvalidInput("adjustment: give the points as a number, or saved comments.")
    equal: EqualAnswers | None = None
    if change.to == "group":
        answers = await to_thread.run_sync(here.answers)
        equal = await equal_answers(here, answers, here.question, wait=True)

    def write() -> _Written:
        item, key, marker = here.item, here.question, here.marker
        student = here.markable()
        together = equal.with_mark_of(student) if equal else (student,)
        others = tuple(each for each in together if may_mark(marker, each))
        if equal and len(others) == 1:
            raise InvalidInput("to: this answer belongs to no group of equal answers.")
        rubric = SavedComments(here.book).rubric(item, key) if change.saved else Rubric()
        entry = _entry(change, rubric)
        at = here.marking.clock.now()
        asked = Change(key, entry, marker.name, at, change.version, change.run)
        marks = QuestionMarks(here.book)
        return student, *marks.give_together(item, student, asked, others)

    return await _changed(here, write, "mark")


def _entry(change: MarkChange, rubric: Rubric) -> MarkEntry:
    """Return a change as the gradebook's: by saved comments if any of them has points."""
    adjustment = change.adjustment
    has_points = any(
        each in rubric.comments and rubric.comments[each].points is not None
        for each in change.saved
    )
    if change.points is None and adjustment is None and has_points:
        adjustment = 0.0
    details = MarkDetails(adjustment, tuple(change.saved), change.reason)
    return MarkEntry(change.points, change.comment, details)


async def undo(here: CurrentHere) -> Response:
    """Take back the marker's own last change; 409 if another person's came after it."""
    version = (await here.read(Undo)).version

    def write() -> _Written:
        student = here.markable()
        marks, marker, now = QuestionMarks(here.book), here.marker.name, here.marking.clock.now()
        undone = marks.undo(
            here.item, student, here.question, marker=marker, at=now, version=version
        )
        return student, undone, (), 0

    return await _changed(here, write, "undo mark")


async def _changed(here: Here, write: Callable[[], _Written], action: str) -> Response:
    try:
        given, mark, also, kept = await to_thread.run_sync(write)
    except AnswerChanged as error:
        now = error.now
        told = {"now": mark_json(now), "version": now.version, "run": now.run}
        return JSONResponse({"detail": str(error), **told}, 409)
    title = question_title(here.question)
    await here.record(action, *(f"{student}/{here.item}/{title}" for student in (given, *also)))
    return JSONResponse(saved_json(mark, here.marker.name, len(also), kept))


def history(here: CurrentHere) -> Response:
    student = here.student()
    found = QuestionMarks(here.book).history(here.item, student, here.question)
    return JSONResponse({"entries": history_json(found)})


async def preview(here: CurrentHere) -> Response:
    text = (await here.read(Text)).text
    return JSONResponse({"html": await to_thread.run_sync(comment_html, text)})


async def groups(here: CurrentHere, question: str) -> Response:
    """Return the groups of equal answers to a question, by their names, the largest first.

    ``question`` is the question's address; ``separate`` are the answers taken out of a group.
    """
    key = question_of(question)
    answers = await to_thread.run_sync(here.answers)
    found = await equal_answers(here, answers, key, wait=True)
    if found is None:
        return JSONResponse({"groups": []})
    named = ((name, found.groups[first]) for first, name in found.names.items())
    listed = [
        {
            "id": name,
            "same": group.same,
            "answers": [answers.id_of(each) for each in group.students],
            "separate": [answers.id_of(each) for each in group.students if each in found.apart],
        }
        for name, group in named
    ]
    return JSONResponse({"groups": listed})


async def separate(here: CurrentHere) -> Response:
    """Take an answer that the person may mark out of its group of equal ones, or put it back."""
    apart, key = (await here.read(GroupChange)).separate, here.question

    def write() -> tuple[Answers, str]:
        student, by, at = here.markable(), here.marker.name, here.marking.clock.now()
        Separations(here.book).put(here.item, key, student, separate=apart, by=by, at=at)
        return here.answers(), student

    answers, student = await to_thread.run_sync(write)
    action = "separate answer" if apart else "put answer back"
    await here.record(action, f"{student}/{here.item}/{question_title(key)}")
    found = await equal_answers(here, answers, key)
    return JSONResponse({"group": found.of(student) if found else None})


@dataclass(frozen=True, slots=True)
class EqualAnswers:
    """The groups of a question, by student, and the students whose answer is apart.

    ``names`` are those of the groups in addresses, by their first student.
    """

    groups: Mapping[str, AnswerGroup]
    names: Mapping[str, str]
    apart: frozenset[str]

    def with_mark_of(self, student: str) -> tuple[str, ...]:
        group = self.groups.get(student)
        if group is None or student in self.apart:
            return (student,)
        return tuple(each for each in group.students if each not in self.apart)

    def of(self, student: str) -> Json | None:
        """Return the group of an answer, None without one.

        ``separate``: taken out of it. ``same`` is False for texts of which some differ in a few
        words. ``size`` counts those that get one mark; of an answer taken out, all of the group.
        """
        group = self.groups.get(student)
        if group is None:
            return None
        apart = student in self.apart
        size = len(group.students) if apart else len(self.with_mark_of(student))
        name = self.names[group.students[0]]
        return {"id": name, "size": size, "separate": apart, "same": group.same}

    def shared_by(self, student: str) -> str | None:
        if len(self.with_mark_of(student)) < 2:
            return None
        return self.names[self.groups[student].students[0]]


async def equal_answers(
    here: Here, answers: Answers, key: str, *, wait: bool = False
) -> EqualAnswers | None:
    """Return the groups of a question; None if they are not known soon, and not waited for."""
    students = tuple(sorted(answers.order))

    def look() -> tuple[QuestionSources, Hashable]:
        sources, _ = sources_or_none(here.marking.source(here.item))
        return sources, (students, sources, stamp_of((here.autograded, here.submitted)))

    async def make() -> tuple[AnswerGroup, ...]:
        files = WorkFiles(here.autograded, here.submitted)
        return await answer_groups(here.marking.works, files, students, sources, key)

    sources, stamp = await to_thread.run_sync(look)
    name, patience = ("equal answers", here.item, key), _LONG if wait else _PATIENCE_SECONDS
    found = await here.marking.reports.get(name, stamp, make, patience)
    if found is None:
        return None
    apart = await to_thread.run_sync(
        lambda: Separations(here.book).of(here.item, key) if found else frozenset[str]()
    )
    first = (group.students[0] for group in found)
    names = {student: group_id(answers.key, here.item, key, student) for student in first}
    by_student = {student: group for group in found for student in group.students}
    return EqualAnswers(by_student, names, apart)

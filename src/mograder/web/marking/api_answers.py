"""The JSON API of marking: questions, a marker's queue, an answer, its mark, and its equal answers.

Equal answers to a question form a group, whose answers get one mark; an answer can be taken out of
its group. Answers are named by an opaque identifier, so that addresses and pages do not tell the
student. A question is named in addresses by its ``address``, since a key may have any character.
Texts of markers are Markdown; ``html`` beside one is the text rendered, safe to put into a page.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Literal

from anyio import to_thread
from pydantic import Field
from starlette.responses import JSONResponse, Response

from mograder.core.errors import InvalidInput, MograderError
from mograder.grading.marking.equal_answers import AnswerGroup, answer_groups
from mograder.grading.marking.graded_work import WorkFiles, has_page, nameless_page
from mograder.grading.marking.question_sources import (
    QuestionSources,
    sources_or_none,
)
from mograder.grading.marking.shown_work import ShownWork, WorkCell, WorkToShow, solution_cells
from mograder.grading.pages.comment_markup import as_it_is, comment_html, task_html
from mograder.grading.pages.page_templates import readable
from mograder.grading.submissions.grading_result import NO_RESULT, GradingResult, last_results
from mograder.store.gradebook.grading_records import (
    MACHINE,
    MANUAL,
    MarkDetails,
    MarkEntry,
    QuestionGrade,
    RecordedMark,
)
from mograder.store.gradebook.mark_counting import replaces_automatic
from mograder.store.marking.annotations import Annotations
from mograder.store.marking.marking_progress import QuestionProgress, Shares
from mograder.store.marking.question_marking import (
    AnswerChanged,
    AnswerMark,
    Change,
    GivenMark,
    QuestionMarks,
    Rubric,
    Separations,
    answers_to,
)
from mograder.store.marking.regrade_requests import RegradeRequest, RegradeRequests
from mograder.store.marking.saved_comments import SavedComments
from mograder.web.marking.api_comments import (
    Identifier,
    Json,
    MarkersText,
    Points,
    Sent,
    annotation_json,
)
from mograder.web.marking.context import (
    Answers,
    CurrentHere,
    Here,
    group_id,
    may_mark,
    question_address,
    question_of,
    question_title,
    stamp_of,
)
from mograder.web.pages import inert_page

_PATIENCE_SECONDS = 0.1
"""How long a page waits for groups that are not known yet; a later request will find them."""

_LONG = 3600.0
"""How long a request waits that asks for the groups alone: until they are known."""

_MOST_MARKDOWN = 100_000
_MOST_OF_TEXT, _MOST_SHOWN = 100_000, 500_000
"""Characters that a page gets of one text, and of all cells; a submission may have 15 million."""

_MOST_SAVED = 100

_Written = tuple[str, AnswerMark, tuple[str, ...], int]
"""A student, the mark after a change, who else got it, and how many equal answers did not."""


class MarkChange(Sent):
    """A mark: ``points`` as a number, or None, and then saved comments and ``adjustment`` count.

    With neither points nor adjustment nor a saved comment that has points, the mark is taken back.
    ``run`` is that of the answer looked at.
    """

    points: Points | None = None
    adjustment: Points | None = None
    saved: list[Identifier] = Field(default=[], max_length=_MOST_SAVED)
    comment: MarkersText = ""
    reason: MarkersText = ""
    version: Annotated[str, Field(max_length=100)]
    run: Annotated[int, Field(ge=0)] | None = None
    to: Literal["answer", "group"] = "answer"


class GroupChange(Sent):
    separate: bool


class Undo(Sent):
    version: Annotated[str, Field(max_length=100)]


class Text(Sent):
    text: MarkersText


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
    """An answer as it is read before its submission is parsed.

    ``mark`` is read before ``text``: where another submission is graded meanwhile, it is the older,
    and a mark given on it is refused.
    """

    student: str
    answers: Answers
    mark: AnswerMark
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
    mark = QuestionMarks(here.book).state(here.item, student, here.question)
    sources, trouble = sources_or_none(here.marking.source(here.item))
    try:
        text = WorkFiles(here.autograded, here.submitted).graded_first(student)
    except MograderError as error:
        trouble = str(error)
    return _Read(student, answers, mark, text, sources, trouble)


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
    mark, rubric = found.mark, SavedComments(book).rubric(item, key)
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
        together = equal.with_mark_of(student) if equal else ()
        others = {
            each: equal.works.get(each, "") for each in together if equal and may_mark(marker, each)
        }
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

    ``names`` are those of the groups in addresses, by their first student. ``works`` are the
    SHA-256 of each student's submission that was graded last before the answers were read, or "".
    """

    groups: Mapping[str, AnswerGroup]
    works: Mapping[str, str]
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

    async def make() -> tuple[tuple[AnswerGroup, ...], Mapping[str, str]]:
        graded = await to_thread.run_sync(here.book.last_works, here.item)
        files = WorkFiles(here.autograded, here.submitted)
        groups = await answer_groups(here.marking.works, files, students, sources, key)
        return groups, {each: graded.get(each, ("", ""))[0] for each in students}

    sources, stamp = await to_thread.run_sync(look)
    name, patience = ("equal answers", here.item, key), _LONG if wait else _PATIENCE_SECONDS
    made = await here.marking.reports.get(name, stamp, make, patience)
    if made is None:
        return None
    found, works = made
    apart = await to_thread.run_sync(
        lambda: Separations(here.book).of(here.item, key) if found else frozenset[str]()
    )
    first = (group.students[0] for group in found)
    names = {student: group_id(answers.key, here.item, key, student) for student in first}
    by_student = {student: group for group in found for student in group.students}
    return EqualAnswers(by_student, works, names, apart)


def progress_json(question: QuestionProgress, marker: str) -> Json:
    """Return how far a question is.

    ``key`` is empty for the submission as a whole; ``state`` is "manual" for a question without
    checks. ``marked`` counts answers with a mark by a person, ``waiting`` those that wait for a
    person, ``mine`` those that wait in the marker's own share.
    """
    return {
        "key": question.key,
        "address": question_address(question.key),
        "title": question_title(question.key),
        "available": question.available,
        "state": question.state,
        "marked": question.marked,
        "total": question.total,
        "waiting": question.waiting,
        "mine": question.shares.get(marker, 0),
    }


def mark_json(answer: AnswerMark) -> Json | None:
    """Return the mark that a person gave; None without one.

    ``adjustment`` is None where the marker gave the points as a number; else the points are those
    of the saved comments and the adjustment. ``state`` is "" but for marks of mograder 0.3.16:
    "imported" or "doubtful".
    """
    given = answer.given
    return None if given is None else _mark(given.mark, given.mark.comment, given.details)


def whole_json(answer: AnswerMark) -> Json | None:
    whole = answer.whole
    return None if whole is None else _mark(whole, answer.comment, MarkDetails())


def _mark(mark: RecordedMark | QuestionGrade, comment: str, details: MarkDetails) -> Json:
    return {
        "points": mark.points,
        "adjustment": details.adjustment,
        "saved": details.saved,
        "comment": comment,
        "html": comment and comment_html(comment),
        "reason": details.reason,
        "marker": mark.marker,
        "at": mark.at,
        "state": "" if mark.state == MANUAL else mark.state,
    }


def saved_json(answer: AnswerMark, marker: str, also: int = 0, kept: int = 0) -> Json:
    """Return the state after a change.

    ``total`` are all marks of the student, None while one is missing. ``undo``: the marker's own
    last change can be taken back. ``also`` counts the further answers of the group that got the
    same mark, ``kept`` those that keep another one.
    """
    return {
        "mark": mark_json(answer),
        "version": answer.version,
        "total": answer.total,
        "look_again": answer.question.look_again,
        "open": answer.question.open,
        "undo": answer.is_undoable_by(marker),
        "also": also,
        "kept": kept,
    }


def automatic_json(question: QuestionGrade, result: GradingResult | None) -> Json | None:
    """Return what grading said about a question; None for one that it does not mark.

    ``hidden`` labels have tests that students do not see; a condition's ``reason`` is the error
    that prevented its evaluation.
    """
    if question.state == MANUAL:
        return None
    labels = [
        label.model_dump(include={"label", "earned", "total", "passed", "hidden"})
        | {
            "reason": check.reason,
            "conditions": [
                {"message": each.message, "passed": each.passed, "reason": each.reason}
                for each in label.conditions
            ],
        }
        for check in (result.checks if result is not None else ())
        for label in check.labels
        if label.key == question.key
    ]
    return {
        "points": question.graded,
        "state": question.state,
        "reason": question.reason,
        "labels": labels,
    }


def cells_json(cells: Iterable[WorkCell]) -> list[Json]:
    """Return cells of a notebook; texts behind the first 100,000 characters are shown as they are.

    Some texts take a second for 20,000 characters of Markdown, and a student chooses how many.
    ``index`` is a cell's place in the notebook, ``line`` its first line in the file. ``lines``
    counts its lines, which annotations number from 1. ``kind`` is "code" or "text": of a written
    answer ``html`` is the text rendered. ``own`` is whether it belongs to the question. Long cells
    are cut (:func:`shown_text`), and all behind the first 500,000 characters.
    """
    shown = tuple(cells)
    before = accumulate((len(each.text) for each in shown), initial=0)
    sizes = (min(len(each.code), _MOST_OF_TEXT) for each in shown)
    left = accumulate(sizes, lambda most, size: max(most - size, 0), initial=_MOST_SHOWN)
    return [
        {
            "index": each.index,
            "name": each.name,
            "code": shown_text(each.code, most),
            "line": each.line,
            "lines": each.code.count("\n") + 1,
            "kind": "text" if each.text else "code",
            "html": (comment_html if length < _MOST_MARKDOWN else as_it_is)(
                shown_text(each.text, most)
            ),
            "own": each.own,
        }
        for each, length, most in zip(shown, before, left, strict=False)
    ]


def shown_text(text: str, most: int = _MOST_OF_TEXT) -> str:
    """Return a text with its unseen characters replaced.

    Of one with over 100,000 characters, or ``most``, it is the beginning and how much was cut.
    """
    most = min(most, _MOST_OF_TEXT)
    cut = len(text) - most
    shown = readable(text[:most])
    return f"{shown}\n[{cut} more characters are not shown]" if cut > 0 else shown


def request_json(stored: RegradeRequest) -> Json:
    """Return a student's request to look at the mark again, with the words that it began with."""
    first = stored.messages[0]
    return {
        "id": stored.number,
        "text": first.text,
        "at": first.at.isoformat(),
        "state": stored.state,
    }


def history_json(history: Iterable[GivenMark]) -> list[Json]:
    """Return the marks that a question had, newest first; ``marker`` is "" for grading.

    ``again``: the points of saved comments were changed, and nobody gave another mark.
    ``restored``: the mark before is there again, since the last change was taken back.
    """
    entries: list[Json] = []
    before: GivenMark | None = None
    for each in history:
        entry: Json = {
            "points": each.mark.points,
            "available": each.mark.available,
            "state": each.mark.state,
            "marker": each.mark.marker,
            "comment": each.mark.comment if each.mark.marker != MACHINE else "",
            "saved": each.details.saved,
            "adjustment": each.details.adjustment,
            "reason": each.details.reason if each.mark.marker != MACHINE else each.mark.comment,
            "at": each.mark.at,
            "again": each.counts_again(before),
            "restored": each.details.takes_back and not each.is_empty,
        }
        entries.append(entry)
        before = each if each.mark.marker != MACHINE else before
    return entries[::-1]

"""The JSON that the pages of marking send, and the JSON that they read; pure.

Answers are named by an opaque identifier, so that addresses and pages do not tell the student. A
question is named in addresses by its ``address``, since a key may have any character. Texts of
markers are Markdown; ``html`` beside one is the text rendered, safe to put into a page.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mograder.grading.marking.answer_names import question_address, question_title
from mograder.grading.marking.shown_work import WorkCell
from mograder.grading.pages.comment_markup import as_it_is, comment_html
from mograder.grading.pages.page_templates import readable
from mograder.grading.submissions.grading_result import GradingResult
from mograder.store.gradebook.grading_records import (
    MACHINE,
    MANUAL,
    MarkDetails,
    QuestionGrade,
    RecordedMark,
)
from mograder.store.marking.annotations import Annotation, annotation_text
from mograder.store.marking.marking_progress import QuestionProgress
from mograder.store.marking.question_marking import AnswerMark, GivenMark, Rubric, SavedComment
from mograder.store.marking.regrade_requests import RegradeRequest

Json = dict[str, object]

_MOST_MARKDOWN = 100_000
_MOST_OF_TEXT, _MOST_SHOWN = 100_000, 500_000
"""Characters that a page gets of one text, and of all cells; a submission may have 15 million."""

MOST_TEXT = 20_000

_MOST_SAVED = 100
_Points = Annotated[float, Field(strict=True, ge=-10_000, le=10_000, allow_inf_nan=False)]
_Text = Annotated[str, Field(max_length=MOST_TEXT)]
_Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")]


class _Sent(BaseModel):
    """The body of a page's request: unknown fields are refused, so that none is lost silently."""

    model_config = ConfigDict(extra="forbid")


class MarkChange(_Sent):
    """A mark: ``points`` as a number, or None, and then saved comments and ``adjustment`` count.

    With neither points nor adjustment nor a saved comment that has points, the mark is taken back.
    ``run`` is that of the answer looked at.
    """

    points: _Points | None = None
    adjustment: _Points | None = None
    saved: list[_Identifier] = Field(default=[], max_length=_MOST_SAVED)
    comment: _Text = ""
    reason: _Text = ""
    version: Annotated[str, Field(max_length=100)]
    run: Annotated[int, Field(ge=0)] | None = None
    to: Literal["answer", "group"] = "answer"


class GroupChange(_Sent):
    separate: bool


class Undo(_Sent):
    version: Annotated[str, Field(max_length=100)]


class NewComment(_Sent):
    text: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
    points: _Points | None = None
    position: Annotated[int, Field(ge=0, le=10_000)] | None = None


class CommentChange(_Sent):
    """A saved comment; ``version`` is that of the one looked at."""

    text: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
    points: _Points | None = None
    position: Annotated[int, Field(ge=0, le=10_000)]
    version: int


class RubricChange(_Sent):
    starts_at: Literal["zero", "full"]


class AnnotationChange(_Sent):
    """An annotation: ``question`` is a key, ``text`` may be empty if a saved comment is named.

    A change names the ``version`` that was looked at, a new one the ``submission``.
    """

    question: Annotated[str, Field(max_length=1000)] = ""
    cell: Annotated[int, Field(ge=0, le=100_000)]
    first_line: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    last_line: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    text: _Text = ""
    saved_comment: _Identifier | None = None
    version: int | None = None
    submission: Annotated[str, Field(max_length=64)] | None = None


class Text(_Sent):
    text: _Text


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
        "html": comment_html(comment),
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


def annotation_json(stored: Annotation, rubric: Rubric, work: str) -> Json:
    """Return a comment at a cell, or at lines of it (from 1; None: the whole cell).

    ``work`` is the SHA-256 of the submission that is shown. ``outdated``: it was written about
    another one.
    """
    place = stored.place
    return {
        "id": stored.annotation,
        "question": place.question,
        "cell": place.cell,
        "first_line": place.first_line,
        "last_line": place.last_line,
        "text": stored.text,
        "html": comment_html(annotation_text(stored, rubric)),
        "saved_comment": stored.saved_comment,
        "version": stored.version,
        "by": stored.by,
        "at": stored.at,
        "outdated": stored.submission_sha256 != work,
    }


def comment_json(stored: SavedComment) -> Json:
    """Return a comment to use again; one with points is an item of the rubric."""
    return {
        "id": stored.comment,
        "text": stored.text,
        "html": comment_html(stored.text),
        "points": stored.points,
        "position": stored.position,
        "version": stored.version,
        "by": stored.by,
        "at": stored.at,
    }


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

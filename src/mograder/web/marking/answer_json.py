"""The JSON of marking, made of what the gradebook and the submission say; pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from mograder.grading.marking.shown_work import WorkCell
from mograder.grading.pages.comment_markup import as_it_is, comment_html
from mograder.grading.results.grading_result import GradingResult
from mograder.store.gradebook.grading_records import MACHINE, MANUAL, QuestionGrade
from mograder.store.gradebook.rubrics import Rubric
from mograder.store.gradebook.rubrics import SavedComment as StoredComment
from mograder.store.marking.annotations import Annotation as StoredAnnotation
from mograder.store.marking.annotations import annotation_text
from mograder.store.marking.question_marking import AnswerMark, GivenMark
from mograder.store.marking.regrade_requests import RegradeRequest as StoredRequest
from mograder.web.marking.models import (
    Annotation,
    Automatic,
    Condition,
    HistoryEntry,
    Label,
    Mark,
    RegradeRequest,
    Saved,
    SavedComment,
    ShownCell,
)

_MOST_MARKDOWN = 100_000


def mark_json(answer: AnswerMark) -> Mark | None:
    """Return the mark that a person gave; None without one."""
    given = answer.given
    if given is None:
        return None
    mark, details = given.mark, given.details
    return Mark(
        points=mark.points,
        adjustment=details.adjustment,
        saved=list(details.saved),
        comment=mark.comment,
        html=comment_html(mark.comment),
        reason=details.reason,
        marker=mark.marker,
        at=mark.at,
        state="" if mark.state == MANUAL else mark.state,
    )


def whole_json(answer: AnswerMark) -> Mark | None:
    """Return the mark for all questions without checks together; None if none counts."""
    whole = answer.whole
    if whole is None:
        return None
    return Mark(
        points=whole.points,
        adjustment=None,
        saved=[],
        comment=answer.comment,
        html=comment_html(answer.comment),
        reason="",
        marker=whole.marker,
        at=whole.at,
        state="" if whole.state == MANUAL else whole.state,
    )


def saved_json(answer: AnswerMark, marker: str, also: int = 0) -> Saved:
    """Return the state after a change."""
    return Saved(
        mark=mark_json(answer),
        version=answer.version,
        total=answer.total,
        look_again=answer.question.look_again,
        open=answer.question.open,
        undo=answer.is_undoable_by(marker),
        also=also,
    )


def automatic_json(question: QuestionGrade, result: GradingResult | None) -> Automatic | None:
    """Return what grading said about a question; None for one that it does not mark."""
    if question.state == MANUAL:
        return None
    found = [
        Label(
            label=label.label,
            earned=label.earned,
            total=label.total,
            passed=label.passed,
            hidden=label.hidden,
            reason=check.reason,
            conditions=[
                Condition(message=each.message, passed=each.passed, reason=each.reason)
                for each in label.conditions
            ],
        )
        for check in (result.checks if result is not None else ())
        for label in check.labels
        if label.key == question.key
    ]
    return Automatic(
        points=question.graded, state=question.state, reason=question.reason, labels=found
    )


def cells_json(cells: Iterable[WorkCell]) -> list[ShownCell]:
    """Return cells of a notebook; texts behind the first 100,000 characters are shown as they are.

    Some texts take a second for 20,000 characters of Markdown, and a student chooses how many.
    """
    shown = tuple(cells)
    before = accumulate((len(each.text) for each in shown), initial=0)
    return [
        ShownCell(
            index=each.index,
            name=each.name,
            code=each.code,
            line=each.line,
            lines=each.code.count("\n") + 1,
            kind="text" if each.text else "code",
            html=comment_html(each.text) if length < _MOST_MARKDOWN else as_it_is(each.text),
            own=each.own,
        )
        for each, length in zip(shown, before, strict=False)
    ]


def annotation_json(stored: StoredAnnotation, rubric: Rubric, work: str) -> Annotation:
    """Return an annotation; ``work`` is the SHA-256 of the submission that is shown."""
    place = stored.place
    return Annotation(
        id=stored.annotation,
        question=place.question,
        cell=place.cell,
        first_line=place.first_line,
        last_line=place.last_line,
        text=stored.text,
        html=comment_html(annotation_text(stored, rubric)),
        saved_comment=stored.saved_comment,
        version=stored.version,
        by=stored.by,
        at=stored.at,
        outdated=stored.submission_sha256 != work,
    )


def comment_json(stored: StoredComment) -> SavedComment:
    """Return a saved comment."""
    return SavedComment(
        id=stored.comment,
        text=stored.text,
        html=comment_html(stored.text),
        points=stored.points,
        position=stored.position,
        version=stored.version,
        by=stored.by,
        at=stored.at,
    )


def request_json(stored: StoredRequest) -> RegradeRequest:
    """Return a student's request with the words that it began with."""
    first = stored.messages[0]
    return RegradeRequest(
        id=stored.number, text=first.text, at=first.at.isoformat(), state=stored.state
    )


def history_json(history: Iterable[GivenMark]) -> list[HistoryEntry]:
    """Return the marks that a question had, newest first."""
    entries = [
        HistoryEntry(
            points=each.mark.points,
            available=each.mark.available,
            state=each.mark.state,
            marker=each.mark.marker,
            comment=each.mark.comment if each.mark.marker != MACHINE else "",
            saved=list(each.details.saved),
            adjustment=each.details.adjustment,
            reason=each.details.reason if each.mark.marker != MACHINE else each.mark.comment,
            at=each.mark.at,
        )
        for each in history
    ]
    return entries[::-1]

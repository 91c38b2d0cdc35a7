"""The JSON API of marking: the saved comments of a question, which are its rubric."""

from __future__ import annotations

import math
from collections.abc import Callable

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName
from mograder.grading.marking.answer_names import question_of, question_title
from mograder.store.gradebook.rubrics import StartsAt
from mograder.store.marking.saved_comments import (
    Author,
    CommentWish,
    SavedCommentChanged,
    SavedComments,
)
from mograder.web.marking.access import Marker
from mograder.web.marking.answer_access import (
    LIMIT,
    answers_of,
    assignment_of,
    demand_question,
    json_answer,
)
from mograder.web.marking.answer_json import comment_json
from mograder.web.marking.context import CurrentMarker, CurrentMarking, MarkingApp
from mograder.web.marking.models import (
    ChangedMark,
    CommentChange,
    CommentChanged,
    CommentConflict,
    CommentPreview,
    Comments,
    NewComment,
    RubricChange,
    RubricChanged,
)
from mograder.web.request_body import read_json


def comments(a: str, question: str, marking: CurrentMarking) -> Response:
    """Return the saved comments of a question, and from where their points count."""
    bank = SavedComments(marking.book()).of(assignment_of(a), question_of(question))
    found = [comment_json(each, bank.uses) for each in bank.comments]
    return json_answer(Comments(starts_at=bank.starts_at.value, comments=found))


async def add(
    a: str, question: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Add a comment to the bank of a question."""
    asked = await read_json(request, NewComment, LIMIT)
    item, key = assignment_of(a), question_of(question)
    wish = CommentWish(asked.text, asked.points, asked.position)

    def write() -> CommentChanged:
        demand_question(marking, item, key)
        made = SavedComments(marking.book()).add(item, key, wish, _author(marking, marker))
        return CommentChanged(comment=comment_json(made, {}), changed=0)

    return await _changing(write, request, marking, "save comment", (item, key), status=201)


async def change(
    a: str,
    question: str,
    comment: str,
    request: Request,
    marking: CurrentMarking,
    marker: CurrentMarker,
) -> Response:
    """Change a saved comment; marks that have it are computed again if its points change."""
    asked = await read_json(request, CommentChange, LIMIT)
    item, key = assignment_of(a), question_of(question)
    wish = CommentWish(asked.text, asked.points, asked.position)

    def write() -> CommentChanged:
        store, author = SavedComments(marking.book()), _author(marking, marker)
        made, changed = store.change(item, key, comment, wish, author, asked.version)
        return CommentChanged(comment=comment_json(made, store.of(item, key).uses), changed=changed)

    return await _changing(write, request, marking, "change comment", (item, key))


async def retire(
    a: str,
    question: str,
    comment: str,
    request: Request,
    marking: CurrentMarking,
    marker: CurrentMarker,
    version: int,
) -> Response:
    """Take a comment out of the bank; marks that have it keep it."""
    item, key = assignment_of(a), question_of(question)

    def write() -> CommentChanged:
        store, author = SavedComments(marking.book()), _author(marking, marker)
        store.retire(item, key, comment, author, version)
        return CommentChanged(comment=None, changed=0)

    return await _changing(write, request, marking, "remove comment", (item, key))


def preview(
    a: str,
    question: str,
    comment: str,
    marking: CurrentMarking,
    marker: CurrentMarker,
    points: float | None = None,
) -> Response:
    """Return the marks that other points for a saved comment would change; none are changed."""
    if points is not None and not math.isfinite(points):
        raise InvalidInput("points: this is no number of marks.")
    answers = answers_of(marking, marker, a)
    store = SavedComments(marking.book())
    item, key = answers.assignment, question_of(question)
    now, changes = store.preview(item, key, comment, points)
    return json_answer(
        CommentPreview(
            comment=comment_json(now, store.of(item, key).uses),
            changes=[
                ChangedMark(
                    id=answers.id_of(each.student),
                    label=answers.labels[each.student],
                    before=each.before,
                    after=each.after,
                )
                for each in changes
            ],
        )
    )


async def start(
    a: str, question: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Set from where the points of saved comments count: from zero, or from full marks."""
    asked = await read_json(request, RubricChange, LIMIT)
    item, key = assignment_of(a), question_of(question)

    def write() -> RubricChanged:
        demand_question(marking, item, key)
        author, starts_at = _author(marking, marker), StartsAt(asked.starts_at)
        changed = SavedComments(marking.book()).start(item, key, starts_at, author)
        return RubricChanged(starts_at=asked.starts_at, changed=changed)

    return await _changing(write, request, marking, "change rubric", (item, key))


async def _changing(
    write: Callable[[], BaseModel],
    request: Request,
    marking: MarkingApp,
    action: str,
    of: tuple[ItemName, str],
    *,
    status: int = 200,
) -> Response:
    """Change the bank of a question and return the answer; ``of`` are the assignment and the key.

    A comment that another person changed meanwhile is returned with status 409.
    """
    item, key = of
    try:
        made = await to_thread.run_sync(write)
    except SavedCommentChanged as error:
        told = CommentConflict(detail=str(error), now=comment_json(error.now, {}))
        return json_answer(told, 409)
    await marking.record(request, action, f"{item}/{question_title(key)}")
    return json_answer(made, status)


def _author(marking: MarkingApp, marker: Marker) -> Author:
    return Author(marker.name, marking.clock.now())

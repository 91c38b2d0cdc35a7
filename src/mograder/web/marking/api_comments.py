"""The JSON API of marking: comments, those saved for a question (its rubric) and annotations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from mograder.auth.credentials import Role
from mograder.core.errors import InvalidInput
from mograder.grading.pages.comment_markup import comment_html
from mograder.store.marking.annotations import (
    Annotation,
    AnnotationChanged,
    Annotations,
    AnnotationWish,
    annotation_text,
)
from mograder.store.marking.annotations import Place as AnnotatedPlace
from mograder.store.marking.question_marking import Rubric, SavedComment, StartsAt
from mograder.store.marking.saved_comments import (
    Author,
    CommentWish,
    SavedCommentChanged,
    SavedComments,
)
from mograder.web.marking.context import CurrentHere, Here, question_title

Json = dict[str, object]

MOST_TEXT = 20_000

Points = Annotated[float, Field(strict=True, ge=-10_000, le=10_000, allow_inf_nan=False)]
MarkersText = Annotated[str, Field(max_length=MOST_TEXT)]
Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")]


class Sent(BaseModel):
    """The body of a page's request: unknown fields are refused, so that none is lost silently."""

    model_config = ConfigDict(extra="forbid")


class NewComment(Sent):
    text: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
    points: Points | None = None
    position: Annotated[int, Field(ge=0, le=10_000)] | None = None


class CommentChange(Sent):
    """A saved comment; ``version`` is that of the one looked at."""

    text: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
    points: Points | None = None
    position: Annotated[int, Field(ge=0, le=10_000)]
    version: int


class RubricChange(Sent):
    starts_at: Literal["zero", "full"]


class AnnotationChange(Sent):
    """An annotation: ``question`` is a key, ``text`` may be empty if a saved comment is named.

    A change names the ``version`` that was looked at, a new one the ``submission``.
    """

    question: Annotated[str, Field(max_length=1000)] = ""
    cell: Annotated[int, Field(ge=0, le=100_000)]
    first_line: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    last_line: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    text: MarkersText = ""
    saved_comment: Identifier | None = None
    version: int | None = None
    submission: Annotated[str, Field(max_length=64)] | None = None


def comments(here: CurrentHere) -> Response:
    """Return the saved comments of a question, and from where their points count.

    Marks may have those ``retired``, which count in them; they are not offered any more.
    """
    bank = SavedComments(here.book).of(here.item, here.question)
    found, retired = ([comment_json(each) for each in of] for of in (bank.comments, bank.retired))
    return JSONResponse({"starts_at": bank.starts_at, "comments": found, "retired": retired})


async def add(here: CurrentHere) -> Response:
    asked = await here.read(NewComment)
    wish = CommentWish(asked.text, asked.points, asked.position)

    def write() -> Json:
        here.demand_question(here.question)
        made = SavedComments(here.book).add(here.item, here.question, wish, _author(here))
        return {"comment": comment_json(made), "changed": 0}

    return await _changing(here, write, "save comment", status=201)


async def change(comment: str, here: CurrentHere) -> Response:
    """Change a saved comment; marks that have it are computed again if its points change."""
    asked = await here.read(CommentChange)
    wish = CommentWish(asked.text, asked.points, asked.position)

    def write() -> Json:
        made, changed = SavedComments(here.book).change(
            here.item, here.question, comment, wish, _author(here), asked.version
        )
        return {"comment": comment_json(made), "changed": changed}

    return await _changing(here, write, "change comment")


async def retire(comment: str, here: CurrentHere, version: int) -> Response:
    def write() -> Json:
        store = SavedComments(here.book)
        store.retire(here.item, here.question, comment, _author(here), version)
        return {"comment": None, "changed": 0}

    return await _changing(here, write, "remove comment")


def preview(comment: str, here: CurrentHere, points: float | None = None) -> Response:
    """Return the marks that other points for a saved comment would change; none are changed."""
    if points is not None and not math.isfinite(points):
        raise InvalidInput("points: this is no number of marks.")
    answers = here.answers()
    now, changes = SavedComments(here.book).preview(here.item, here.question, comment, points)
    marks = [
        {
            "id": answers.id_of(each.student),
            "label": answers.labels[each.student],
            "before": each.before,
            "after": each.after,
        }
        for each in changes
    ]
    return JSONResponse({"comment": comment_json(now), "changes": marks})


async def start(here: CurrentHere) -> Response:
    starts_at = (await here.read(RubricChange)).starts_at

    def write() -> Json:
        here.demand_question(here.question)
        wanted, author = StartsAt(starts_at), _author(here)
        changed = SavedComments(here.book).start(here.item, here.question, wanted, author)
        return {"starts_at": starts_at, "changed": changed}

    return await _changing(here, write, "change rubric")


async def add_annotation(here: CurrentHere) -> Response:
    asked = await here.read(AnnotationChange)

    def write(student: str) -> Annotation:
        wish = _annotation_wish(here, asked)
        here.demand_question(asked.question)
        return Annotations(here.book).add(here.item, student, wish)

    return await _changing_annotations(here, write)


async def change_annotation(annotation: str, here: CurrentHere) -> Response:
    asked = await here.read(AnnotationChange)

    def write(student: str) -> Annotation:
        wish = _annotation_wish(here, asked)
        here.demand_question(asked.question)
        return Annotations(here.book).change(here.item, student, annotation, wish)

    return await _changing_annotations(here, write)


async def remove_annotation(
    annotation: str, here: CurrentHere, version: int | None = None
) -> Response:
    def write(student: str) -> None:
        by, at = here.marker.name, here.marking.clock.now()
        Annotations(here.book).remove(here.item, student, annotation, by=by, at=at, version=version)

    return await _changing_annotations(here, write)


async def _changing(
    here: Here, write: Callable[[], Json], action: str, *, status: int = 200
) -> Response:
    """Change the bank of a question and return the answer; ``changed`` counts computed marks.

    A comment that another person changed meanwhile is returned with status 409.
    """
    try:
        made = await to_thread.run_sync(write)
    except SavedCommentChanged as error:
        return JSONResponse({"detail": str(error), "now": comment_json(error.now)}, 409)
    await here.record(action, f"{here.item}/{question_title(here.question)}")
    return JSONResponse(made, status)


def _author(here: Here) -> Author:
    marker = here.marker
    own = "" if marker.role is Role.INSTRUCTOR else marker.name
    return Author(marker.name, here.marking.clock.now(), own)


async def _changing_annotations(here: Here, write: Callable[[str], Annotation | None]) -> Response:
    def change() -> tuple[str, Json]:
        student = here.markable()
        made = write(student)
        return student, {} if made is None else _json_of(here, made)

    try:
        student, made = await to_thread.run_sync(change)
    except AnnotationChanged as error:
        now = await to_thread.run_sync(_json_of, here, error.now)
        return JSONResponse({"detail": str(error), "now": now}, 409)
    await here.record("annotate", f"{student}/{here.item}")
    return JSONResponse(made)


def _json_of(here: Here, stored: Annotation) -> Json:
    rubric = SavedComments(here.book).rubric(here.item, stored.place.question)
    return annotation_json(stored, rubric, stored.submission_sha256)


def _annotation_wish(here: Here, asked: AnnotationChange) -> AnnotationWish:
    place = AnnotatedPlace(asked.question, asked.cell, asked.first_line, asked.last_line)
    by, at = here.marker.name, here.marking.clock.now()
    return AnnotationWish(
        place, asked.text, asked.saved_comment, by, at, asked.version, asked.submission
    )


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

"""The JSON API of marking: annotations of a submission."""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread
from starlette.responses import JSONResponse, Response

from mograder.store.marking.annotations import (
    Annotation,
    AnnotationChanged,
    Annotations,
    AnnotationWish,
)
from mograder.store.marking.annotations import Place as AnnotatedPlace
from mograder.store.marking.saved_comments import SavedComments
from mograder.web.marking.answer_json import AnnotationChange, Json, annotation_json
from mograder.web.marking.context import CurrentHere, Here


async def add(here: CurrentHere) -> Response:
    """Add an annotation to a submission."""
    asked = await here.read(AnnotationChange)

    def write(student: str) -> Annotation:
        wish = _wish(here, asked)
        here.demand_question(asked.question)
        return Annotations(here.book).add(here.item, student, wish)

    return await _changed(here, write)


async def change(annotation: str, here: CurrentHere) -> Response:
    """Change an annotation; 409 if another person changed it meanwhile."""
    asked = await here.read(AnnotationChange)

    def write(student: str) -> Annotation:
        wish = _wish(here, asked)
        here.demand_question(asked.question)
        return Annotations(here.book).change(here.item, student, annotation, wish)

    return await _changed(here, write)


async def remove(annotation: str, here: CurrentHere, version: int | None = None) -> Response:
    """Take an annotation away; 409 if another person changed it meanwhile."""

    def write(student: str) -> None:
        by, at = here.marker.name, here.marking.clock.now()
        Annotations(here.book).remove(here.item, student, annotation, by=by, at=at, version=version)

    return await _changed(here, write)


async def _changed(here: Here, write: Callable[[str], Annotation | None]) -> Response:
    def change() -> tuple[str, Json]:
        student = here.answers().markable_by(here.marker, here.answer)
        made = write(student)
        return student, {} if made is None else _json(here, made)

    try:
        student, made = await to_thread.run_sync(change)
    except AnnotationChanged as error:
        now = await to_thread.run_sync(_json, here, error.now)
        return JSONResponse({"detail": str(error), "now": now}, 409)
    await here.record("annotate", f"{student}/{here.item}")
    return JSONResponse(made)


def _json(here: Here, stored: Annotation) -> Json:
    rubric = SavedComments(here.book).rubric(here.item, stored.place.question)
    return annotation_json(stored, rubric, stored.submission_sha256)


def _wish(here: Here, asked: AnnotationChange) -> AnnotationWish:
    place = AnnotatedPlace(asked.question, asked.cell, asked.first_line, asked.last_line)
    by, at = here.marker.name, here.marking.clock.now()
    return AnnotationWish(
        place, asked.text, asked.saved_comment, by, at, asked.version, asked.submission
    )

"""The JSON API of marking: annotations of a submission."""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from mograder.core.names import ItemName
from mograder.store.marking.annotations import (
    Annotation,
    AnnotationChanged,
    Annotations,
    AnnotationWish,
)
from mograder.store.marking.annotations import Place as AnnotatedPlace
from mograder.store.marking.saved_comments import SavedComments
from mograder.web.marking.access import Marker
from mograder.web.marking.answer_access import (
    LIMIT,
    answers_of,
    assignment_of,
    demand_question,
    json_answer,
)
from mograder.web.marking.answer_json import annotation_json
from mograder.web.marking.context import CurrentMarker, CurrentMarking, MarkingApp
from mograder.web.marking.models import Annotation as AnnotationJson
from mograder.web.marking.models import AnnotationChange, AnnotationConflict
from mograder.web.request_body import read_json


async def add(
    a: str, answer: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Add an annotation to a submission."""
    asked = await read_json(request, AnnotationChange, LIMIT)

    def write(item: ItemName, student: str) -> Annotation:
        wish = _wish(asked, marking, marker)
        demand_question(marking, item, asked.question)
        return Annotations(marking.book()).add(item, student, wish)

    return await _changed(write, request, marking, marker, (a, answer))


async def change(
    a: str,
    answer: str,
    annotation: str,
    request: Request,
    marking: CurrentMarking,
    marker: CurrentMarker,
) -> Response:
    """Change an annotation; 409 if another person changed it meanwhile."""
    asked = await read_json(request, AnnotationChange, LIMIT)

    def write(item: ItemName, student: str) -> Annotation:
        wish = _wish(asked, marking, marker)
        demand_question(marking, item, asked.question)
        return Annotations(marking.book()).change(item, student, annotation, wish)

    return await _changed(write, request, marking, marker, (a, answer))


async def remove(
    a: str,
    answer: str,
    annotation: str,
    request: Request,
    marking: CurrentMarking,
    marker: CurrentMarker,
    version: int | None = None,
) -> Response:
    """Take an annotation away; 409 if another person changed it meanwhile."""

    def write(item: ItemName, student: str) -> None:
        Annotations(marking.book()).remove(
            item, student, annotation, by=marker.name, at=marking.clock.now(), version=version
        )

    return await _changed(write, request, marking, marker, (a, answer))


class _Nothing(BaseModel):
    """The answer to a removal."""


async def _changed(
    write: Callable[[ItemName, str], Annotation | None],
    request: Request,
    marking: MarkingApp,
    marker: Marker,
    of: tuple[str, str],
) -> Response:
    def change() -> tuple[str, AnnotationJson | None]:
        answers = answers_of(marking, marker, of[0])
        student = answers.markable_by(marker, of[1])
        made = write(answers.assignment, student)
        return student, None if made is None else _json(marking, answers.assignment, made)

    try:
        student, made = await to_thread.run_sync(change)
    except AnnotationChanged as error:
        now = await to_thread.run_sync(_json, marking, assignment_of(of[0]), error.now)
        return json_answer(AnnotationConflict(detail=str(error), now=now), 409)
    await marking.record(request, "annotate", f"{student}/{of[0]}")
    return json_answer(made or _Nothing())


def _json(marking: MarkingApp, item: ItemName, stored: Annotation) -> AnnotationJson:
    rubric = SavedComments(marking.book()).rubric(item, stored.place.question)
    return annotation_json(stored, rubric, stored.submission_sha256)


def _wish(asked: AnnotationChange, marking: MarkingApp, marker: Marker) -> AnnotationWish:
    place = AnnotatedPlace(asked.question, asked.cell, asked.first_line, asked.last_line)
    return AnnotationWish(
        place, asked.text, asked.saved_comment, marker.name, marking.clock.now(), asked.version
    )

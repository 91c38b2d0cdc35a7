"""The JSON API of marking: saved comments, the rubric, annotations and shares."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import JSONResponse, Response

from mograder.core.errors import NotFound
from mograder.web.marking.context import CurrentMarker, CurrentMarking
from mograder.web.marking.models import Comments


async def comments(
    a: str, question: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Return the saved comments of a question."""
    return JSONResponse(Comments(starts_at="zero", comments=[]).model_dump(mode="json"))


async def not_yet(
    a: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    raise NotFound("This is not there yet.")

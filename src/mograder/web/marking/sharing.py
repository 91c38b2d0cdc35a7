"""How an instructor shares out an assignment's answers among markers: by a form, and in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from anyio import to_thread
from fastapi import Request
from starlette.responses import RedirectResponse, Response

from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName, Username
from mograder.store.marking.shares import ALL_QUESTIONS, Shares
from mograder.web.context import request_context
from mograder.web.marking.access import Marker
from mograder.web.marking.answer_access import LIMIT, assignment_of, json_answer
from mograder.web.marking.context import CurrentMarker, CurrentMarking, MarkingApp
from mograder.web.marking.models import ShareChange, Shared
from mograder.web.pages import with_outcome
from mograder.web.request_body import read_form, read_json

_MOST_MARKERS = 200


async def share_form(
    a: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Share out all answers among the users in the field ``markers``, or end their shares."""
    item = assignment_of(a)
    markers = markers_in((await read_form(request)).get("markers", ""))
    await _share_out(request, marking, marker, (item, ALL_QUESTIONS), markers)
    there = f"/marking/{quote(item, safe='')}"
    where = with_outcome(there, "shared", ", ".join(markers))
    return RedirectResponse(f"{request_context(request).prefix}{where}", 303)


async def share_json(
    a: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Share out the answers to a question, or to all, among markers; return their numbers."""
    asked = await read_json(request, ShareChange, LIMIT)
    question = ALL_QUESTIONS if asked.question is None else asked.question
    answers = assignment_of(a), question
    counts = await _share_out(request, marking, marker, answers, asked.markers)
    return json_answer(Shared(counts=dict(counts)))


async def _share_out(
    request: Request,
    marking: MarkingApp,
    marker: Marker,
    answers: tuple[ItemName, str],
    markers: Sequence[str],
) -> Mapping[str, int]:
    """Share out the answers of an assignment to a question; return each marker's number."""
    item, question = answers

    def write() -> Mapping[str, int]:
        at = marking.clock.now()
        return Shares(marking.book()).share_out(item, question, markers, by=marker.name, at=at)

    counts = await to_thread.run_sync(write)
    await marking.record(request, "share out marking", item)
    return counts


def markers_in(text: str) -> tuple[str, ...]:
    """Return the users that a text lists, separated by commas or spaces, each once.

    Raises:
        InvalidInput: One is no username, or there are too many.
    """
    names = dict.fromkeys(Username.parse(name) for name in text.replace(",", " ").split())
    if len(names) > _MOST_MARKERS:
        raise InvalidInput(f"markers: name at most {_MOST_MARKERS} users.")
    return tuple(names)

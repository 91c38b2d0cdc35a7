"""The form by which an instructor shares out an assignment's answers among markers."""

from __future__ import annotations

from urllib.parse import quote

from anyio import to_thread
from fastapi import Request
from starlette.responses import RedirectResponse, Response

from mograder.core.errors import InvalidInput
from mograder.core.names import Username
from mograder.store.shares import ALL_QUESTIONS, Shares
from mograder.web.context import request_context
from mograder.web.marking.answer_access import assignment_of
from mograder.web.marking.context import CurrentMarker, CurrentMarking
from mograder.web.pages import with_outcome
from mograder.web.request_body import read_form

_MOST_MARKERS = 200


async def share_form(
    a: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Share out all answers among the users in the field ``markers``; none: anyone marks all."""
    item = assignment_of(a)
    markers = markers_in((await read_form(request)).get("markers", ""))

    def write() -> None:
        at = marking.clock.now()
        Shares(marking.book()).share_out(item, ALL_QUESTIONS, markers, by=marker.name, at=at)

    await to_thread.run_sync(write)
    await marking.record(request, "share out marking", item)
    there = f"/marking/{quote(item, safe='')}"
    where = with_outcome(there, "shared", ", ".join(markers))
    return RedirectResponse(f"{request_context(request).prefix}{where}", 303)


def markers_in(text: str) -> tuple[str, ...]:
    """Return the users that a text lists, separated by commas or spaces, each once.

    Raises:
        InvalidInput: One is no username, or there are too many.
    """
    names = dict.fromkeys(Username.parse(name) for name in text.replace(",", " ").split())
    if len(names) > _MOST_MARKERS:
        raise InvalidInput(f"markers: name at most {_MOST_MARKERS} users.")
    return tuple(names)

"""Live pages: the stream of server-sent events on which a page reloads its data.

``GET /events`` is one request that stays open: no page polls, and one event loop serves all of
them. The ``notifier`` collects the changes to send.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse

from mograder.auth.credentials import Role
from mograder.auth.identity import Authenticator, Identity
from mograder.core.errors import Forbidden, InvalidInput, MograderError
from mograder.hub.notifier import Notifier, Part
from mograder.store.course.allowlist import Allowlist
from mograder.web.hub.core.access import HELPERS, Caller, identify, part, use
from mograder.web.route import MEMBER, Route

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_SECONDS = 20.0
_PAUSE_SECONDS, _INSTRUCTOR_PAUSE_SECONDS = 1.0, 3.0
"""Minimum time between two events; longer for instructors, who get those of the whole class."""

_RETRY_MS = (3000, 9000)


async def stream(
    request: Request,
    notifier: Annotated[Notifier, use(Notifier)],
    caller: Caller,
    since: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0,
    board: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Send a page the names of its parts that changed, as long as its login is valid.

    Changes from ``since`` on, the page's own Unix time, are told as well if they are of the last
    minute: they may have happened while the page was on its way. ``board`` is the item of a board.

    Raises: Forbidden for a board that the person may not see.
    """
    if board and caller.role not in HELPERS:
        raise Forbidden("Marker access required")
    if EVENT_STREAM not in request.headers.get("accept", ""):
        raise InvalidInput("This address is for pages.", hint=f"Accept {EVENT_STREAM}.")
    notifier.demand_room()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    sent = lines(request, caller, since, board)
    return StreamingResponse(sent, media_type=EVENT_STREAM, headers=headers)


async def lines(
    request: Request, caller: Identity, since: float, board: str = ""
) -> AsyncGenerator[bytes, None]:
    """Yield the stream: changes, and keep-alives, which also detect a disconnected client.

    The login is checked again before each. A board is told to look again instead of being kept
    alive: its students become quiet by time alone.
    """
    everything = caller.role is Role.INSTRUCTOR and not board
    pause = _INSTRUCTOR_PAUSE_SECONDS if everything else _PAUSE_SECONDS
    with part(request, Notifier).listening(caller, since, board) as subscriber:
        # A random delay keeps all pages from reconnecting at the same moment after a restart.
        yield f"retry: {random.randint(*_RETRY_MS)}\n\n".encode()  # noqa: S311 - no secret
        while not subscriber.closed:
            news = await subscriber.news(KEEP_ALIVE_SECONDS)
            if subscriber.closed or not still_admitted(request, caller):
                break
            if not news and board:
                news = frozenset({Part.BOARD})
            if not news:
                yield b": still here\n\n"
                continue
            yield f"event: change\ndata: {json.dumps(sorted(news))}\n\n".encode()
            await asyncio.sleep(pause)
        if subscriber.replaced:  # else it reconnects, to the next hub or to the login page
            yield b"event: end\ndata: -\n\n"


def still_admitted(request: Request, caller: Identity) -> bool:
    """Return whether this request would be admitted now: not if signed out, revoked or expired."""
    try:
        now = identify(request.scope, part(request, Authenticator))
    except MograderError:
        return False
    same = now is not None and (now.username, now.role) == (caller.username, caller.role)
    return same and part(request, Allowlist).allows(caller.username, caller.role)


ROUTES = (Route("GET", "/events", stream, MEMBER),)

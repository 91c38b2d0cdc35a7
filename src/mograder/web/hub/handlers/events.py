"""Live pages: the stream of server-sent events that tells a page when to look again.

``GET /events`` is one request that stays open: no page polls, and the loop waits for all of them
at once. The notifier (``notifier``) knows what there is to tell.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.responses import Response, StreamingResponse

from mograder.auth.identity import Identity
from mograder.auth.roles import Role
from mograder.core.errors import InvalidInput, MograderError
from mograder.web.hub.support.access import Caller
from mograder.web.hub.support.hub_app import CurrentApp, hub_app
from mograder.web.hub.support.identity import identify, restricted

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_SECONDS = 20.0
_PAUSE_SECONDS = {Role.STUDENT: 1.0, Role.INSTRUCTOR: 3.0}
"""At least so long between two news: an instructor hears of the whole class."""

_RETRY_MS = (3000, 9000)


async def stream(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Tell a page what of it has changed, for as long as its login is good."""
    if EVENT_STREAM not in request.headers.get("accept", ""):
        raise InvalidInput("This address is for pages.", hint=f"Accept {EVENT_STREAM}.")
    app.notifier.demand_room()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines(request, caller), media_type=EVENT_STREAM, headers=headers)


async def lines(request: Request, caller: Identity) -> AsyncGenerator[bytes, None]:
    """Yield the stream: news, and now and then a sign of life, which also finds out who left.

    Whether the login still counts is asked before each, as a request of the page would be.
    """
    with hub_app(request).notifier.listening(caller) as subscriber:
        # Whoever is cut off by a restart must not come back in the same moment as all others.
        yield f"retry: {random.randint(*_RETRY_MS)}\n\n".encode()  # noqa: S311 - no secret
        while not subscriber.closed:
            news = await subscriber.news(KEEP_ALIVE_SECONDS)
            if subscriber.closed or not _still(request, caller):
                break
            if not news:
                yield b": still here\n\n"
                continue
            yield f"event: change\ndata: {json.dumps(sorted(news))}\n\n".encode()
            await asyncio.sleep(_PAUSE_SECONDS[caller.role])
        if subscriber.replaced:  # else it comes back, to the next hub or to be told to sign in
            yield b"event: end\ndata: -\n\n"


def _still(request: Request, caller: Identity) -> bool:
    """Whether this request would be let in now: signed out, revoked or expired it is not."""
    services = hub_app(request).services
    try:
        now = identify(request.scope, services)
    except MograderError:
        return False
    same = now is not None and (now.username, now.role) == (caller.username, caller.role)
    return same and not restricted(caller, services)

"""The board of an item, and the messages to its open notebooks.

The page is a table that is sent once; its stream sends the lines that have changed. Unlike
``/events`` it carries content, so it is for one board, and checks the login before each piece.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta

from anyio import to_thread
from fastapi import Request
from markupsafe import Markup
from starlette.responses import Response, StreamingResponse

from mograder.auth.identity import Identity
from mograder.auth.roles import Role
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName
from mograder.sandbox.protocol import Mode
from mograder.store.releases.releases import ItemKind
from mograder.web.context import request_context
from mograder.web.hub.handlers.events import EVENT_STREAM, KEEP_ALIVE_SECONDS, still_admitted
from mograder.web.hub.support.access import Caller
from mograder.web.hub.support.board.board_view import span
from mograder.web.hub.support.board.live_board import LiveBoard, View
from mograder.web.hub.support.board.plain_words import plain_words
from mograder.web.hub.support.hub_app import CurrentApp, HubApp, go_to, hub_app
from mograder.web.pages import outcome, page, with_outcome
from mograder.web.request_body import read_form

MOST_MESSAGE = 500
"""Maximum characters of a message to open notebooks."""

_MOST_MINUTES = 12 * 60
_PAUSE_SECONDS = 0.25
_RETRY_MS = 2000


@dataclass(frozen=True, slots=True)
class BoardLine:
    """One item; ``open`` is the number of notebooks that are open now."""

    name: str
    open: int
    waiting: int


async def boards(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """List the boards, those with requests for help and with open notebooks first."""
    releases = await to_thread.run_sync(app.services.releases.all)
    keys = (live.key for live in app.services.pool.all())
    used = Counter(key.item for key in keys if key.mode is Mode.EDIT)
    waiting = Counter(each.item for each in app.board.desk.requests() if not each.helper)
    names = (str(release.name) for release in releases if release.kind is ItemKind.ASSIGNMENT)
    lines = [BoardLine(each, used[each], waiting[each]) for each in names]
    lines.sort(key=lambda line: (-line.waiting, -line.open))
    titles = await to_thread.run_sync(app.board.checks.titles)
    return page(request, "boards.html", here="board", items=lines, titles=titles)


async def board(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the students of an item and their checks; with ``?names=no`` without any name."""
    item = await _item(app, name)
    live, view = await app.board.boards.look(item), _view(request, caller)
    lines = [Markup(each.html[view]) for each in live.lines()]  # noqa: S704 - made by a template
    done, whose = outcome(request)
    return page(
        request,
        "board.html",
        here="board",
        item=item,
        titles=await to_thread.run_sync(app.board.checks.titles),
        dates=await to_thread.run_sync(app.dates.usual, item),
        at=app.services.clock.now(),
        names=view is not View.NAMELESS,
        seen=_mark(live),
        now=int(app.services.clock.now().timestamp()),
        columns=live.columns,
        heads=Markup(_heads(app, live)),  # noqa: S704 - made by a template, as the next
        lines=lines,
        queue=Markup(_queue(request, app, item, caller)),  # noqa: S704
        longest=MOST_MESSAGE,
        done=done,
        whose=whose,
    )


async def news(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Send an open board what changes, as server-sent events."""
    if EVENT_STREAM not in request.headers.get("accept", ""):
        raise InvalidInput("This address is for pages.", hint=f"Accept {EVENT_STREAM}.")
    item = await _item(app, name)
    app.board.boards.demand_room()
    live = await app.board.boards.look(item)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _lines(request, caller, live), media_type=EVENT_STREAM, headers=headers
    )


async def send(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show a message above all open notebooks of an item."""
    item = await _item(app, name)
    fields = await read_form(request)
    text = plain_words(fields.get("text", ""), MOST_MESSAGE, lines=True)
    if not text:
        raise InvalidInput("The message is empty.")
    minutes = fields.get("minutes", "20")
    if not (minutes.isascii() and minutes.isdigit() and 0 < int(minutes[:6]) <= _MOST_MINUTES):
        raise InvalidInput(f"A message is shown for 1 to {_MOST_MINUTES} minutes.")
    until = app.services.clock.now() + timedelta(minutes=int(minutes[:6]))
    await app.board.desk.send(item, text, caller.username, until)
    await app.audit.record(
        request, caller, "send message", f"{item}: {' '.join(text.split())}"[:300]
    )
    return go_to(request, with_outcome(page_of(item), "message", item))


async def take_back(
    name: str, number: int, request: Request, app: CurrentApp, caller: Caller
) -> Response:
    """End a message before its time."""
    item = await _item(app, name)
    if await app.board.desk.take_back(item, number):
        await app.audit.record(request, caller, "take back message", f"{item} ({number})")
    return go_to(request, page_of(item))


def page_of(item: str) -> str:
    """Return the address of an item's board, below the prefix."""
    return f"/board/{ItemName.parse(item)}"


async def _item(app: HubApp, name: str) -> ItemName:
    """Return the name of a published item. Raises: NotFound."""
    item = ItemName.valid(name)
    release = None
    if item is not None:
        release = await to_thread.run_sync(app.services.releases.get, item)
    if item is None or release is None:
        raise NotFound("There is no such item.")
    return item


def _view(request: Request, caller: Identity) -> View:
    if request.query_params.get("names") == "no":
        return View.NAMELESS
    return View.LINKED if caller.role is Role.INSTRUCTOR else View.NAMED


async def _lines(
    request: Request, caller: Identity, live: LiveBoard
) -> AsyncGenerator[bytes, None]:
    """Yield the stream: changes, and keep-alives, which also detect a disconnected client."""
    boards, view = hub_app(request).board.boards, _view(request, caller)
    asked = request.headers.get("last-event-id") or request.query_params.get("seen", "")
    run, seen = _parsed(asked)
    with boards.watching(live, caller.username) as stream:
        boards.note(live.item)  # it may have changed since the page was made
        yield f"retry: {_RETRY_MS}\n\n".encode()
        while not boards.closed and not stream.replaced and still_admitted(request, caller):
            if run != live.run_id:
                run, seen = live.run_id, 0
            if live.version > seen:
                version = live.version
                data = _changes(request, caller, live, view, seen)
                seen = version
                yield f"id: {run}:{seen}\nevent: board\ndata: {json.dumps(data)}\n\n".encode()
                await asyncio.sleep(_PAUSE_SECONDS)
            elif not await live.news(seen, KEEP_ALIVE_SECONDS):
                yield b": still here\n\n"
        if stream.replaced:  # else it reconnects
            yield b"event: end\ndata: -\n\n"


def _changes(
    request: Request, caller: Identity, live: LiveBoard, view: View, seen: int
) -> dict[str, object]:
    app, changes = hub_app(request), live.since(seen)
    data: dict[str, object] = {
        "all": seen == 0,
        "lines": {each.key: each.html[view] for each in changes.lines},
        "gone": list(changes.gone),
    }
    if changes.heads or changes.gone or seen == 0 or any(each.version for each in changes.lines):
        data["heads"] = _heads(app, live)
    if changes.queue or seen == 0:
        data["queue"] = _queue(request, app, live.item, caller)
    return data


def _heads(app: HubApp, live: LiveBoard) -> str:
    students = len(live.lines())
    return app.pages.render("_board_head.html", "", heads=live.heads, students=students, span=span)


def _queue(request: Request, app: HubApp, item: str, caller: Identity) -> str:
    return app.pages.render(
        "_board_queue.html",
        request_context(request).prefix,
        item=item,
        names=_view(request, caller) is not View.NAMELESS,
        requests=app.board.desk.requests(item),
        messages=app.board.desk.messages(item),
        me=caller.username,
        instructor=caller.role is Role.INSTRUCTOR,
    )


def _mark(live: LiveBoard) -> str:
    return f"{live.run_id}:{live.version}"


def _parsed(text: str) -> tuple[str, int]:
    """Return the board and the version that a page has seen; untrusted text."""
    run, _, version = text[:60].partition(":")
    return run, int(version) if version.isascii() and version.isdigit() else 0

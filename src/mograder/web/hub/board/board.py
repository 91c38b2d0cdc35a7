"""The board of an item, and the messages to its open notebooks.

Its page is like all pages: `/events` tells when it is to ask for itself again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName, Username
from mograder.core.tasks import every
from mograder.sandbox.protocol import Mode
from mograder.store.hub.board import Board
from mograder.web.hub.board.board_tables import BoardTables, View
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.checks import CheckLog
from mograder.web.hub.core.help_desk import plain_words
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, Run
from mograder.web.hub.core.parts import Number
from mograder.web.pages import go_to, page, with_outcome
from mograder.web.request_body import read_form
from mograder.web.route import HELPER, INSTRUCTOR, Route

MOST_MESSAGE = 500
"""Maximum characters of a message to open notebooks."""

_MOST_MINUTES = 12 * 60
_WRITE_SECONDS, _LOOK_SECONDS = 0.2, 60.0


@dataclass(frozen=True, slots=True)
class BoardLine:
    """One item; ``open`` is the number of notebooks that are open now."""

    name: str
    open: int
    waiting: int


async def boards(request: Request, app: CurrentApp) -> Response:
    """List the boards, those with requests for help and with open notebooks first."""
    names = await to_thread.run_sync(app.services.releases.assignments)
    keys = (live.key for live in app.services.pool.all())
    used = Counter(key.item for key in keys if key.mode is Mode.EDIT)
    waiting = Counter(each.item for each in app.desk.requests() if not each.helper)
    lines = [BoardLine(each, used[each], waiting[each]) for each in names]
    lines.sort(key=lambda line: (-line.waiting, -line.open))
    return page(request, "boards.html", here="board", items=lines)


async def board(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the students of an item and their checks; with ``?names=no`` without any name."""
    item, view = await _item(app, name), _view(request, caller)
    table = await app.of(BoardTables).look(item, view)
    return page(
        request,
        "board.html",
        here="board",
        item=item,
        dates=await to_thread.run_sync(app.dates.usual, item),
        at=app.services.clock.now(),
        names=view is not View.NAMELESS,
        table=table,
        requests=app.desk.requests(item),
        messages=[
            each
            for each in app.desk.messages(item)
            if view is not View.NAMELESS or not each.username
        ],
        me=caller.username,
        instructor=caller.role is Role.INSTRUCTOR,
        students=sorted(each.user for each in await app.of(BoardTables).lines(item)),
        longest=MOST_MESSAGE,
    )


async def send(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show a message above all open notebooks of an item, or one student's: the field ``to``."""
    item = await _item(app, name)
    fields = await read_form(request)
    text = plain_words(fields.get("text", ""), MOST_MESSAGE, lines=True)
    if not text:
        raise InvalidInput("The message is empty.")
    minutes = fields.get("minutes", "20")
    if not (minutes.isascii() and minutes.isdigit() and 0 < int(minutes[:6]) <= _MOST_MINUTES):
        raise InvalidInput(f"A message is shown for 1 to {_MOST_MINUTES} minutes.")
    until = app.services.clock.now() + timedelta(minutes=int(minutes[:6]))
    user = Username.of_account(fields["to"]) if fields.get("to") else ""
    await app.desk.send(item, text, caller.username, until, user)
    to = f"{item} of {user}" if user else item
    await app.audit.record(request, "send message", f"{to}: {' '.join(text.split())}"[:300])
    return go_to(request, with_outcome(page_of(item), "message", item))


async def take_back(name: str, number: Number, request: Request, app: CurrentApp) -> Response:
    """End a message before its time."""
    item = await _item(app, name)
    if await app.desk.take_back(item, number):
        await app.audit.record(request, "take back message", f"{item} ({number})")
    return go_to(request, page_of(item))


def page_of(item: str) -> str:
    """Return the address of an item's board, below the prefix."""
    return f"/board/{ItemName.parse(item)}"


async def _item(app: HubApp, name: str) -> ItemName:
    """Return the name of a published item. Raises: NotFound."""
    return (await to_thread.run_sync(app.items.get, name)).name


def _view(request: Request, caller: Identity) -> View:
    if request.query_params.get("names") == "no":
        return View.NAMELESS
    return View.LINKED if caller.role is Role.INSTRUCTOR else View.NAMED


def open_board(hub: HubApp) -> Run:
    """Make the board of a hub, and connect it with its pages and sessions."""
    services, board = hub.services, Board(hub.services.state.engine)
    tables = BoardTables(
        board, hub.checks, hub.desk, services.pool, services.clock, hub.pages, services.secret
    )
    log = CheckLog(board, hub.checks, on_write=hub.notifier.notify_boards)
    hub.notifier.on_board = hub.add(tables).note
    services.pool.checks.listener = hub.add(log).heard
    return partial(_at_work, hub, log)


@asynccontextmanager
async def _at_work(hub: HubApp, log: CheckLog) -> AsyncIterator[None]:
    """Write the reports of checks, and look for items' titles, during the block."""
    await to_thread.run_sync(hub.desk.load)
    look = partial(to_thread.run_sync, hub.checks.look)
    try:
        async with (
            every(_WRITE_SECONDS, "reports of checks", log.write),
            every(_LOOK_SECONDS, "titles of items", look),
        ):
            yield
    finally:
        await log.write()


ROUTES = (
    Route("GET", "/board", boards, HELPER),
    Route("GET", "/board/{name}", board, HELPER),
    Route("POST", "/board/{name}/messages", send, INSTRUCTOR),
    Route("POST", "/board/{name}/messages/{number}", take_back, INSTRUCTOR),
)

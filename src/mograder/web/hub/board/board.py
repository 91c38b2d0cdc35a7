"""The board of an item, the requests for help on it, and the messages to its open notebooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.names import INSTRUCTOR, ItemName, Username, is_rehearsal
from mograder.core.tasks import every
from mograder.hub.checks import CheckLog
from mograder.hub.help_desk import plain_words
from mograder.sandbox.protocol import Mode
from mograder.sessions.connections import share_editing
from mograder.sessions.session import CopyOf
from mograder.store.hub.board import Board, HelpRow
from mograder.web.hub.board.board_tables import BoardTables, View
from mograder.web.hub.core.access import Caller, Number
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, Run
from mograder.web.hub.core.items import KnownCopy
from mograder.web.hub.core.responses import Body
from mograder.web.pages import go_to, page, with_outcome
from mograder.web.request_body import read_form, read_json
from mograder.web.route import HELPER, OWNER, SELF, Access, JsonBody, Route

MOST_MESSAGE = 500

MOST_TEXT = 300

_BODY = 8 * 1024
_MOST_MINUTES = 12 * 60
_WRITE_SECONDS, _LOOK_SECONDS = 0.2, 60.0


@dataclass(frozen=True, slots=True)
class BoardLine:
    name: str
    open: int
    waiting: int


HelpWord = Literal["waiting", "taken", "together"]


class HelpAsked(Body):
    """A student's open request for help: waiting, taken by ``helper``, or in the notebook together.

    ``label`` is the check that it is about, "" for none. ``shared`` is whether the session's pages
    edit the notebook together once they have been loaded again.
    """

    state: HelpWord
    label: str
    helper: str
    shared: bool = False


class HelpState(Body):
    """The request for help with a copy, null without one, and the checks it may be about.

    ``most`` is the number of characters that a student may write with it.
    """

    asked: HelpAsked | None
    labels: list[str]
    most: int


class _Asked(Body):
    label: str = Field(default="", max_length=200)
    text: str = Field(default="", max_length=2000)


async def boards(request: Request, app: CurrentApp) -> Response:
    names = await to_thread.run_sync(app.services.releases.assignments)
    keys = [live.key for live in app.services.pool.all() if not is_rehearsal(live.key.user)]
    used = Counter(key.item for key in keys if key.mode is Mode.EDIT)
    waiting = Counter(each.item for each in app.desk.requests() if not each.helper)
    lines = [BoardLine(each, used[each], waiting[each]) for each in names]
    lines.sort(key=lambda line: (-line.waiting, -line.open))
    return page(request, "boards.html", here="board", items=lines)


async def board(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    item = await _item(app, name)
    view = View.LINKED if caller.role is Role.INSTRUCTOR else View.NAMED
    if request.query_params.get("names") == "no":
        view = View.NAMELESS
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
        running=app.of(BoardTables).running(item),
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
    item = await _item(app, name)
    if await app.desk.take_back(item, number):
        await app.audit.record(request, "take back message", f"{item} ({number})")
    return go_to(request, page_of(item))


def page_of(item: str) -> str:
    return f"/board/{ItemName.parse(item)}"


def state(copy: KnownCopy, app: CurrentApp, caller: Caller) -> HelpState:
    """Return the request of a copy, and the checks that a request may be about."""
    return HelpState(asked=help_of(app, copy), labels=_labels(app, caller, copy), most=MOST_TEXT)


async def ask(
    copy: KnownCopy,
    request: Annotated[Request, JsonBody(_Asked)],
    app: CurrentApp,
    caller: Caller,
) -> HelpState:
    """Ask for help with one's own copy; a request that is open already stays as it is."""
    asked = await read_json(request, _Asked, _BODY)
    labels = await to_thread.run_sync(_labels, app, caller, copy)
    if asked.label and asked.label not in labels:
        raise InvalidInput("There is no such question in this notebook.")
    if app.services.pool.find(copy.key) is None:
        raise NotFound("This notebook is not open.", hint="Open it, then ask.")
    text = plain_words(asked.text, MOST_TEXT)
    row = HelpRow(copy.item, copy.user, asked.label, text, app.services.clock.now())
    if await app.desk.ask(row):
        await app.audit.record(request, "ask for help", str(copy))
    return HelpState(asked=help_of(app, copy), labels=labels, most=MOST_TEXT)


async def withdraw(copy: KnownCopy, request: Request, app: CurrentApp) -> HelpState:
    """End the request for help with one's own copy, and with it the work together."""
    if await app.desk.end(copy.item, copy.user) is not None:
        await app.audit.record(request, "end help", str(copy))
    return HelpState(asked=None, labels=[], most=MOST_TEXT)


async def take(copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller) -> Response:
    await app.desk.take(copy.item, copy.user, caller.username)
    await app.audit.record(request, "take help request", str(copy))
    return go_to(request, page_of(copy.item))


async def close(copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller) -> Response:
    taken = app.desk.took(caller.username, copy.user, copy.item)
    if not taken and caller.role is not Role.INSTRUCTOR:
        raise Conflict("You have not taken this request, or it has ended.")
    if await app.desk.end(copy.item, copy.user) is not None:
        await app.audit.record(request, "close help request", str(copy))
    return go_to(request, page_of(copy.item))


async def together(copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Enter the session of a student whose request one has taken, to type in it together."""
    live = app.services.pool.find(copy.key)
    if live is None:
        raise Conflict(
            f"{copy.user} does not have the notebook open.", hint="Read the copy, or wait."
        )
    await app.desk.join(copy.item, copy.user, caller.username)
    await app.audit.record(request, "work together", str(copy))
    shared = share_editing(live.endpoint, live.base_url, app.services.connections)
    if not await shared:  # its marimo cannot
        return go_to(request, with_outcome(page_of(copy.item), "not-shared", copy.user))
    app.desk.share(copy.user, copy.item, live.id)
    return go_to(request, f"/{live.key.url}")


def help_of(app: HubApp, copy: CopyOf) -> HelpAsked | None:
    row = app.desk.of_copy(copy.user, copy.item)
    if row is None:
        return None
    state: HelpWord = "together" if row.together else "taken" if row.helper else "waiting"
    live = app.services.pool.find(copy.key)
    shared = live is not None and app.desk.is_shared(copy.user, copy.item, live.id)
    return HelpAsked(state=state, label=row.label, helper=shown_name(row.helper), shared=shared)


def shown_name(name: str) -> str:
    return "Your instructor" if name == INSTRUCTOR else name


def open_board(hub: HubApp) -> Run:
    services, board = hub.services, Board(hub.services.state.engine)
    pool, changed = services.pool, hub.notifier.board_changed_at
    tables = BoardTables(
        board, hub.checks, hub.desk, pool, services.clock, hub.pages, services.secret, changed
    )
    log = CheckLog(board, hub.checks, on_write=hub.notifier.notify_boards)
    hub.add(tables)
    pool.checks.listener = hub.add(log).heard
    return partial(_at_work, hub, log)


@asynccontextmanager
async def _at_work(hub: HubApp, log: CheckLog) -> AsyncIterator[None]:
    await to_thread.run_sync(hub.desk.load)
    look = partial(to_thread.run_sync, hub.checks.look)
    try:
        async with (
            every(_WRITE_SECONDS, "reports of checks", log.write),
            every(_LOOK_SECONDS, "titles of items", look),
            every(_LOOK_SECONDS, "requests for help", hub.desk.look, at_once=False),
        ):
            yield
    finally:
        await log.write()


async def _item(app: HubApp, name: str) -> ItemName:
    return (await to_thread.run_sync(app.items.get, name)).name


def _labels(app: HubApp, caller: Identity, copy: CopyOf) -> list[str]:
    if app.items.shown(caller, copy) is None:
        return []
    return [column.label for column in app.checks.of(copy.item)]


ROUTES = (
    Route("GET", "/board", boards, HELPER),
    Route("GET", "/board/{name}", board, HELPER),
    Route("POST", "/board/{name}/messages", send, Access.INSTRUCTOR),
    Route("POST", "/board/{name}/messages/{number}", take_back, Access.INSTRUCTOR),
    Route("POST", "/board/{a}/help/{user}/take", take, HELPER),
    Route("POST", "/board/{a}/help/{user}/close", close, HELPER),
    Route("POST", "/board/{a}/help/{user}/together", together, HELPER),
    Route("GET", "/help/{user}/{a}", state, OWNER, "Help"),
    Route("POST", "/help/{user}/{a}", ask, SELF, "Help"),
    Route("DELETE", "/help/{user}/{a}", withdraw, SELF, "Help"),
)

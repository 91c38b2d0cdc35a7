"""Requests for help: asked and withdrawn by students, taken and closed by helpers."""

from __future__ import annotations

from typing import Annotated, Literal

from anyio import to_thread
from fastapi import Request
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.names import INSTRUCTOR
from mograder.sessions.connections import share_editing
from mograder.sessions.session import CopyOf
from mograder.store.hub.board import HelpRow
from mograder.web.hub.board.board import page_of
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.help_desk import plain_words
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy
from mograder.web.hub.core.responses import Body
from mograder.web.pages import go_to, with_outcome
from mograder.web.request_body import read_json
from mograder.web.route import HELPER, OWNER, SELF, JsonBody, Route

MOST_TEXT = 300
"""Maximum characters that a student writes with a request."""

_BODY = 8 * 1024


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


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: str = Field(default="", max_length=200)
    text: str = Field(default="", max_length=2000)


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
    """Take a student's request."""
    await app.desk.take(copy.item, copy.user, caller.username)
    await app.audit.record(request, "take help request", str(copy))
    return go_to(request, page_of(copy.item))


async def close(copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Close a request: one's own, or as an instructor any."""
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


def _labels(app: HubApp, caller: Identity, copy: CopyOf) -> list[str]:
    if app.items.shown(caller, copy) is None:
        return []
    return [column.label for column in app.checks.of(copy.item)]


def help_of(app: HubApp, copy: CopyOf) -> HelpAsked | None:
    """Return the open request of a copy, for its owner and for the helper."""
    row = app.desk.of_copy(copy.user, copy.item)
    if row is None:
        return None
    state: HelpWord = "together" if row.together else "taken" if row.helper else "waiting"
    live = app.services.pool.find(copy.key)
    shared = live is not None and app.desk.is_shared(copy.user, copy.item, live.id)
    return HelpAsked(state=state, label=row.label, helper=shown_name(row.helper), shared=shared)


def shown_name(name: str) -> str:
    """Return the name of a helper or sender as students read it."""
    return "Your instructor" if name == INSTRUCTOR else name


ROUTES = (
    Route("POST", "/board/{a}/help/{user}/take", take, HELPER),
    Route("POST", "/board/{a}/help/{user}/close", close, HELPER),
    Route("POST", "/board/{a}/help/{user}/together", together, HELPER),
    Route("GET", "/help/{user}/{a}", state, OWNER, "Help"),
    Route("POST", "/help/{user}/{a}", ask, SELF, "Help"),
    Route("DELETE", "/help/{user}/{a}", withdraw, SELF, "Help"),
)

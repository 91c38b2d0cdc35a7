"""Records instructors' actions on other people's data (security.md, "Who is asking")."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from mograder.auth.identity import Identity
from mograder.web.context import request_context
from mograder.web.hub.support.audit import Event
from mograder.web.hub.support.hub_app import hub_app


@dataclass(frozen=True, slots=True)
class Action:
    """An action and its object."""

    action: str
    what: str


async def record_action(request: Request, caller: Identity, done: Action) -> None:
    """Record an action of the caller."""
    where = request_context(request).client or ""
    event = Event(caller.username, done.action, done.what, where)
    await hub_app(request).audit.granted(event)


async def record_foreign(request: Request, caller: Identity, owner: str, done: Action) -> None:
    """Record an action on another person's data; actions on one's own are not recorded."""
    if owner != caller.username:
        await record_action(request, caller, done)

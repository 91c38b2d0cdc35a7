"""What an instructor does to somebody else's things is recorded (security.md, "Identity")."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from mograder.auth.identity import Identity
from mograder.web.context import request_context
from mograder.web.hub.audit import Event
from mograder.web.hub.desk import desk_of


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done, and to what."""

    action: str
    what: str


async def note(request: Request, caller: Identity, deed: Deed) -> None:
    """Record what somebody did."""
    where = request_context(request).client or ""
    event = Event(caller.username, deed.action, deed.what, where)
    await desk_of(request).audit.granted(event)


async def note_foreign(request: Request, caller: Identity, owner: str, deed: Deed) -> None:
    """Record what was done to another person's things; one's own are nobody's business."""
    if owner != caller.username:
        await note(request, caller, deed)

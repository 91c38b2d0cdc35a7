"""What every handler of the hub finds on its desk, and how it answers with a page.

One frozen object is put into the request's scope by the gate; handlers get it by
:func:`desk_of`, never from globals (style.md, "Wiring").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import Depends, Request
from starlette.responses import RedirectResponse

from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.sessions.copies import Copies
from mograder.store.copy_facts import CopyListing
from mograder.store.submissions import Submissions
from mograder.store.visibility import VisibilityRules
from mograder.web.background import Work
from mograder.web.context import request_context
from mograder.web.hub.attempts import Attempts
from mograder.web.hub.audit import AuditTrail
from mograder.web.hub.bell import Bell
from mograder.web.hub.census import Census
from mograder.web.hub.meter import Meter
from mograder.web.hub.results import Results
from mograder.web.hub.services import Services
from mograder.web.pages import APP, Viewer
from mograder.web.templating import Pages

IDENTITY = "mograder.identity"


@dataclass(frozen=True, slots=True)
class Desk:
    """The hub's services, and what only its own pages need."""

    services: Services
    pages: Pages
    work: Work
    audit: AuditTrail
    attempts: Attempts
    visibility: VisibilityRules
    meter: Meter
    copies: Copies
    submissions: Submissions
    listing: CopyListing
    results: Results
    bell: Bell
    census: Census
    program: ClassVar[str] = "hub"
    packs: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """The course's title, for the head of every page."""
        return self.services.loaded.settings.title or "Course notebooks"

    def page_values(self, request: Request) -> dict[str, object]:
        """The person who is signed in, for every page."""
        who = identity_of(request)
        return {"viewer": None if who is None else _viewer(who)}


def _viewer(who: Identity) -> Viewer:
    return Viewer(
        who.username,
        instructor=who.role is Role.INSTRUCTOR,
        can_sign_out=bool(who.login_id),
        by_front=who.method is Method.HEADER,
    )


def copies_of(services: Services) -> Copies:
    """What changes students' copies, with the settings' bound on the disk."""
    reserve = services.loaded.settings.limits.disk_reserve
    return Copies(services.pool, services.workspaces, services.clock, reserve=reserve)


def desk_of(request: Request) -> Desk:
    """The desk that the gate put into the request."""
    desk: Desk = request.scope[APP]
    return desk


def identity_of(request: Request) -> Identity | None:
    """Who asks, as the gate found out; none when nobody is signed in."""
    identity: Identity | None = request.scope.get(IDENTITY)
    return identity


async def _the_desk(request: Request) -> Desk:
    # Not desk_of itself: FastAPI has a thread do whatever is not async.
    return desk_of(request)


TheDesk = Annotated[Desk, Depends(_the_desk)]
"""A handler's parameter that is the desk."""


def go_to(request: Request, path: str) -> RedirectResponse:
    """Send the browser on with a GET to a path below the hub's prefix."""
    return RedirectResponse(f"{request_context(request).prefix}{path}", 303)

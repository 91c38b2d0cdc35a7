"""What every handler of the hub works with.

The middleware puts one frozen object into the request's scope; handlers get it as an argument or by
:func:`hub_app`, never from globals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from fastapi import Depends, Request
from starlette.responses import RedirectResponse

from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.sessions.student_copies import Copies
from mograder.store.copy_facts import CopyListing
from mograder.store.submissions import Submissions
from mograder.store.visibility import VisibilityRules
from mograder.web.background import Work
from mograder.web.context import request_context
from mograder.web.hub.support.audit import AuditTrail
from mograder.web.hub.support.copy_counts import CopyCounts
from mograder.web.hub.support.login_throttle import LoginThrottle
from mograder.web.hub.support.metrics import Metrics
from mograder.web.hub.support.notifier import Notifier
from mograder.web.hub.support.services import Services
from mograder.web.hub.support.validation_results import ValidationResults
from mograder.web.pages import APP, Viewer
from mograder.web.templating import Pages

IDENTITY = "mograder.identity"


@dataclass(frozen=True, slots=True)
class HubApp:
    """The hub's services, and what only its own pages need."""

    services: Services
    pages: Pages
    work: Work
    audit: AuditTrail
    login_throttle: LoginThrottle
    visibility: VisibilityRules
    metrics: Metrics
    copies: Copies
    submissions: Submissions
    listing: CopyListing
    results: ValidationResults
    notifier: Notifier
    copy_counts: CopyCounts
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


def hub_app(request: Request) -> HubApp:
    """The object that the middleware put into the request."""
    app: HubApp = request.scope[APP]
    return app


def identity_of(request: Request) -> Identity | None:
    """Who asks, as ``access.admit`` found out; None when nobody is signed in."""
    identity: Identity | None = request.scope.get(IDENTITY)
    return identity


async def _current_app(request: Request) -> HubApp:
    # Not desk_of itself: FastAPI has a thread do whatever is not async.
    return hub_app(request)


CurrentApp = Annotated[HubApp, Depends(_current_app)]
"""A handler's parameter that is the hub's object."""


def go_to(request: Request, path: str) -> RedirectResponse:
    """Send the browser on with a GET to a path below the hub's prefix."""
    return RedirectResponse(f"{request_context(request).prefix}{path}", 303)

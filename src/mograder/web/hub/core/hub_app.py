"""The object that every handler of the hub works with.

The middleware puts one frozen object into the request's scope; handlers get it as an argument or by
:func:`hub_app`, never from globals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from fastapi import Depends, Request
from starlette.responses import RedirectResponse

from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.grading.late.course_dates import CourseDates
from mograder.sessions.copy_timeline import CopyTimelines
from mograder.sessions.student_copies import Copies
from mograder.store.client_wheel import ClientWheels
from mograder.store.copies.copy_facts import CopyListing
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.releases.visibility import VisibilityRules
from mograder.store.submissions.submissions import Submissions
from mograder.web.background import Work
from mograder.web.context import request_context
from mograder.web.hub.core.audit import AuditTrail
from mograder.web.hub.core.copy_counts import CopyCounts
from mograder.web.hub.core.course_numbers import CourseNumbers
from mograder.web.hub.core.login_throttle import LoginThrottle
from mograder.web.hub.core.metrics import Metrics
from mograder.web.hub.core.notifier import Notifier
from mograder.web.hub.core.services import Services
from mograder.web.hub.core.validation_results import ValidationResults
from mograder.web.hub.support.board.class_board import ClassBoard
from mograder.web.hub.support.hub_updates import HubUpdates
from mograder.web.hub.support.rehearsals import Rehearsals
from mograder.web.hub.support.warming import Warming
from mograder.web.marking.context import MarkingApp
from mograder.web.pages import APP, Viewer
from mograder.web.templating import Pages

if TYPE_CHECKING:
    # Imported by hubs only that have them configured (`web.hub.external_systems`).
    from mograder.web.hub.support.lti import LtiService
    from mograder.web.hub.support.machine_watch import MachineWatch
    from mograder.web.hub.support.oidc import OidcSignIn
    from mograder.web.hub.support.post import Post

IDENTITY = "mograder.identity"


@dataclass(frozen=True, slots=True)
class HubApp:
    """The hub's services, and the objects that only its own pages need."""

    services: Services
    pages: Pages
    work: Work
    audit: AuditTrail
    login_throttle: LoginThrottle
    visibility: VisibilityRules
    metrics: Metrics
    copies: Copies
    timelines: CopyTimelines
    submissions: Submissions
    listing: CopyListing
    results: ValidationResults
    notifier: Notifier
    copy_counts: CopyCounts
    numbers: CourseNumbers
    marking: MarkingApp
    board: ClassBoard
    client_wheels: ClientWheels
    updates: HubUpdates
    rehearsals: Rehearsals
    warming: Warming
    oidc: OidcSignIn | None = None
    """None: the hub has no OpenID Connect provider."""
    lti: LtiService | None = None
    """None: the hub has no learning platform."""
    post: Post | None = None
    """None: the hub sends no letters by e-mail."""
    machines: MachineWatch | None = None
    """None: all sessions run on the hub's own machine."""
    program: ClassVar[str] = "hub"
    packs: ClassVar[bool] = True

    @property
    def dates(self) -> CourseDates:
        """The dates of the course's items."""
        return self.marking.dates

    def book(self) -> Gradebook | None:
        """Return the gradebook, None while the course has none; blocks."""
        there = self.services.loaded.gradebook_path.is_file()
        return self.marking.book() if there else None

    @property
    def title(self) -> str:
        """The course's title, for the header of every page."""
        return self.services.loaded.settings.title or "Course notebooks"

    def page_values(self, request: Request) -> dict[str, object]:
        """Return the values for every page: the person who is signed in, and items' titles."""
        who = identity_of(request)
        viewer = None if who is None else _viewer(who, machines=self.machines is not None)
        waiting = 0
        if viewer is not None and viewer.marks:
            waiting = sum(not each.helper for each in self.board.desk.requests())
        numbers = self.numbers.last if viewer is not None and viewer.instructor else None
        titles = self.board.checks.title
        return {"viewer": viewer, "waiting": waiting, "numbers": numbers, "item_title": titles}


def _viewer(who: Identity, *, machines: bool) -> Viewer:
    return Viewer(
        who.username,
        instructor=who.role is Role.INSTRUCTOR,
        marks=who.role is not Role.STUDENT,
        can_sign_out=bool(who.login_id),
        by_front=who.method is Method.HEADER,
        machines=machines,
    )


def hub_app(request: Request) -> HubApp:
    """Return the object that the middleware put into the request."""
    app: HubApp = request.scope[APP]
    return app


def lti_of(app: HubApp) -> LtiService:
    """Return the objects of LTI 1.3; the routes that use them exist only where there are some."""
    assert app.lti is not None
    return app.lti


def oidc_of(app: HubApp) -> OidcSignIn:
    """Return the objects of OpenID Connect; the routes that use them exist only with a provider."""
    assert app.oidc is not None
    return app.oidc


def machines_of(app: HubApp) -> MachineWatch:
    """Return the machines; the routes that use them exist only on hubs with nodes."""
    assert app.machines is not None
    return app.machines


def identity_of(request: Request) -> Identity | None:
    """Return the identity found by ``access.admit``; None for a request without a login."""
    identity: Identity | None = request.scope.get(IDENTITY)
    return identity


async def _current_app(request: Request) -> HubApp:
    # Not hub_app itself: FastAPI runs every dependency that is not async in a thread.
    return hub_app(request)


CurrentApp = Annotated[HubApp, Depends(_current_app)]
"""A handler's parameter: the hub's object."""


def go_to(request: Request, path: str) -> RedirectResponse:
    """Return a redirect to a path below the hub's prefix, which the browser follows with GET."""
    return RedirectResponse(f"{request_context(request).prefix}{path}", 303)

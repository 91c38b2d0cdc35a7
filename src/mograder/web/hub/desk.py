"""What every handler of the hub finds on its desk, and how it answers with a page.

One frozen object is put into the request's scope by the gate; handlers get it by
:func:`desk_of`, never from globals (style.md, "Wiring").
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse

from mograder.auth.identity import Identity
from mograder.sessions.copies import Copies
from mograder.store.copy_facts import CopyListing
from mograder.store.submissions import Submissions
from mograder.store.visibility import VisibilityRules
from mograder.web.context import RequestContext, context_of
from mograder.web.hub.attempts import Attempts
from mograder.web.hub.audit import AuditTrail
from mograder.web.hub.bell import Bell
from mograder.web.hub.census import Census
from mograder.web.hub.meter import Meter
from mograder.web.hub.progress import Work
from mograder.web.hub.results import Results
from mograder.web.hub.services import Services
from mograder.web.problems import Wants, wants
from mograder.web.templating import Pages

_WORTH_PACKING = 1400
_LEVEL = 5

DESK = "mograder.desk"
IDENTITY = "mograder.identity"
HEAD = "mograder.head"
"""In the scope of a request that was a HEAD: whoever asks takes nothing along."""


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

    @property
    def course(self) -> str:
        """The course's title, for the head of every page."""
        return self.services.loaded.settings.title or "Course notebooks"


def copies_of(services: Services) -> Copies:
    """What changes students' copies, with the settings' bound on the disk."""
    reserve = services.loaded.settings.limits.disk_reserve
    return Copies(services.pool, services.workspaces, services.clock, reserve=reserve)


def desk_of(request: Request) -> Desk:
    """The desk that the gate put into the request."""
    desk: Desk = request.scope[DESK]
    return desk


def identity_of(request: Request) -> Identity | None:
    """Who asks, as the gate found out; none when nobody is signed in."""
    identity: Identity | None = request.scope.get(IDENTITY)
    return identity


def context(request: Request) -> RequestContext:
    """Where the request came in: prefix, scheme, host, client."""
    return context_of(request.scope)


def wanted(request: Request) -> Wants:
    """What this client takes for an answer."""
    return wants(request.headers.get("accept", ""))


async def _the_desk(request: Request) -> Desk:
    # Not desk_of itself: FastAPI has a thread do whatever is not async.
    return desk_of(request)


TheDesk = Annotated[Desk, Depends(_the_desk)]
"""A handler's parameter that is the desk."""


def page(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """Answer with a page that knows the course and who is looking at it."""
    desk = desk_of(request)
    where = context(request)
    html = desk.pages.render(
        template,
        where.prefix,
        course=desk.course,
        viewer=identity_of(request),
        request_id=where.request_id,
        **values,
    )
    return _packed(request, HTMLResponse(html, status))


def _packed(request: Request, answer: HTMLResponse) -> HTMLResponse:
    """The answer gzipped where that helps: lists repeat themselves, and phones pay by the byte.

    No page of ours holds a secret that a stranger's text beside it could guess by the length.
    """
    answer.headers["Vary"] = "Accept-Encoding"
    body = bytes(answer.body)
    if takes_gzip(request) and len(body) > _WORTH_PACKING:
        answer.body = gzip.compress(body, _LEVEL)
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Content-Length"] = str(len(answer.body))
    return answer


def takes_gzip(request: Request) -> bool:
    """Whether this client reads gzip."""
    offers = request.headers.get("accept-encoding", "").split(",")
    return any(offer.strip() in ("gzip", "x-gzip") for offer in offers)


def go_to(request: Request, path: str) -> RedirectResponse:
    """Send the browser on with a GET to a path below the hub's prefix."""
    return RedirectResponse(f"{context(request).prefix}{path}", 303)

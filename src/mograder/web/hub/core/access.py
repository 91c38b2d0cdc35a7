"""Identity and access: the caller of a request, and the guards that the route table names.

Every entry of the table names a guard, so no new route is without a check. A guard raises
NotAuthenticated, NotEnrolled (B38, B39) or else Forbidden. The addresses of sessions are not in the
table: ``web/hub/proxy/session_proxy.py`` guards those.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response
from starlette.types import Scope

from mograder.auth.credentials import (
    LIFETIME,
    Login,
    Role,
    cookie_name,
    make_cookie,
    set_cookie_header,
)
from mograder.auth.csrf import check_unsafe, loaded_by_other_site
from mograder.auth.identity import Authenticator, AuthPolicy, Identity, Method
from mograder.core.errors import Forbidden, MograderError, NotAuthenticated
from mograder.core.names import nfc
from mograder.core.settings import LoadedSettings
from mograder.hub.counts import CourseNumbers
from mograder.hub.help_desk import HelpDesk
from mograder.store.course.allowlist import Allowlist
from mograder.web.app import SAFE_METHODS, Header
from mograder.web.context import RequestContext, context_of, request_context
from mograder.web.error_responses import Wants, wanted
from mograder.web.hub.core.audit import BY_FRONT, AuditTrail, Event
from mograder.web.hub.core.parts import IDENTITY, identity_of, part
from mograder.web.hub.core.responses import NotEnrolled, answer_problem
from mograder.web.marking.context import check_marker, enter_marking
from mograder.web.route import Access

HELPERS = frozenset({Role.INSTRUCTOR, Role.MARKER})

_POSTS_OF_OTHERS = frozenset({b"/lti/login", b"/lti/launch", b"/auth/oidc/backchannel-logout"})
"""The routes that platforms' pages and providers post to; what they send is signed."""


def identify(scope: Scope, authenticator: Authenticator) -> Identity | None:
    """Return the caller's identity, None without a login. Raises: InvalidInput."""
    context = context_of(scope)
    name = cookie_name(secure=context.secure, prefix=context.prefix)
    return authenticator.identify(
        scope["headers"], context.client, cookie=name, host_known=context.known_host
    )


def login_headers(
    identity: Identity | None, context: RequestContext, secret: str
) -> list[tuple[bytes, bytes]]:
    """Return the Set-Cookie of a login that is new; bearer clients never get one.

    It belongs on the response whatever its status (compatibility-0.3.16.md 2.1).
    """
    if identity is None or identity.fresh is None:
        return []
    return [(b"set-cookie", login_cookie(identity.fresh, context, secret).encode("latin-1"))]


def login_cookie(login: Login, context: RequestContext, secret: str) -> str:
    """Return the Set-Cookie of a login, valid for a day (compatibility-0.3.16.md 2.1)."""
    return set_cookie_header(
        cookie_name(secure=context.secure, prefix=context.prefix),
        make_cookie(secret, login),
        path=context.prefix or "/",
        secure=context.secure,
        max_age=LIFETIME,
    )


async def admit(request: Request, headers: list[Header]) -> Response | None:
    """Identify the caller; refuse a changing request that another site made a browser send.

    What another site's page loads has no identity but a bearer's: a front that signs people in adds
    theirs to all that their browser sends, and a hostile notebook could end their live pages, have
    work done or write into the audit log in their name.

    The cookie of a login that is new with this request is added to ``headers``. The posts that
    other systems send have no identity, so there is nothing that another site could misuse.
    """
    context = request_context(request)
    if request.method not in SAFE_METHODS and context.raw_path in _POSTS_OF_OTHERS:
        return None
    try:
        identity = identify(request.scope, part(request, Authenticator))
        bearer = identity is not None and identity.method is Method.BEARER
        if not bearer and loaded_by_other_site(request.scope["headers"]):
            identity = None
        request.scope[IDENTITY] = identity
        headers += login_headers(identity, context, part(request, AuthPolicy).secret)
        shows_page = request.method == "GET" and wanted(request) is Wants.PAGE
        if shows_page and identity is not None and identity.role is Role.INSTRUCTOR:
            await part(request, CourseNumbers).look()
        if request.method not in SAFE_METHODS:
            check_unsafe(identity, request.scope["headers"], context.own_origins)
        if identity is not None and identity.front and identity.fresh is not None:
            event = Event(identity.username, "sign in", BY_FRONT, context.address)
            await part(request, AuditTrail).signed_in(event)
    except MograderError as error:
        return await answer_problem(request, error)
    return None


async def anyone(request: Request) -> Identity | None:
    return identity_of(request)


async def member(request: Request) -> Identity:
    identity = identity_of(request)
    if identity is None:
        raise NotAuthenticated("Nobody is signed in.")
    if not part(request, Allowlist).allows(identity.username, identity.role):
        raise NotEnrolled("You are not on the access list of this course.")
    return identity


async def guest(request: Request) -> Identity | None:
    return None if identity_of(request) is None else await member(request)


def may_open_work(username: str, role: Role, owner: str) -> bool:
    """Return whether a user may open the work of ``owner``, for guards and the proxy."""
    return username == owner or role is Role.INSTRUCTOR


async def owner(request: Request, identity: Annotated[Identity, Depends(member)]) -> Identity:
    """Admit the user named in the path, and instructors (compatibility-0.3.16.md 2.2)."""
    named = nfc(request.path_params["user"])
    if not may_open_work(identity.username, identity.role, named):
        raise Forbidden("Cannot access another user's resources")
    return identity


async def oneself(request: Request, identity: Annotated[Identity, Depends(member)]) -> Identity:
    if identity.username != nfc(request.path_params["user"]):
        raise Forbidden("Cannot access another user's resources")
    return identity


async def marker(request: Request, identity: Annotated[Identity, Depends(member)]) -> Identity:
    """Admit instructors, and markers to the assignments that are open for marking."""
    await check_marker(request, identity.role, part(request, LoadedSettings).course_dir)
    enter_marking(request, identity.username, identity.role)
    return identity


async def instructor(request: Request, identity: Annotated[Identity, Depends(member)]) -> Identity:
    """Admit instructors (compatibility-0.3.16.md 2.2)."""
    if identity.role is not Role.INSTRUCTOR:
        raise Forbidden("Instructor access required")
    enter_marking(request, identity.username, identity.role)
    return identity


async def helper(identity: Annotated[Identity, Depends(member)]) -> Identity:
    if identity.role not in HELPERS:
        raise Forbidden("Marker access required")
    return identity


async def visitor(request: Request, identity: Annotated[Identity, Depends(member)]) -> Identity:
    """Admit whom :func:`owner` admits, and the helper who took the owner's request for help."""
    named, item = request.path_params["user"], request.path_params["a"]
    if identity.role is not Role.MARKER or identity.username == nfc(named):
        return await owner(request, identity)
    if not part(request, HelpDesk).took(identity.username, nfc(named), nfc(item)):
        raise Forbidden("You do not help there.", hint="Take the request on the board first.")
    return identity


async def helped(request: Request, identity: Annotated[Identity, Depends(member)]) -> Identity:
    """Admit whom :func:`visitor` admits, and a marker whose page is a helper's.

    Such a page asks with ``together=yes``, and is told only that the help has ended if it has.
    """
    if identity.role is Role.MARKER and request.query_params.get("together") == "yes":
        return identity
    return await visitor(request, identity)


async def metrics_reader(request: Request) -> Identity | None:
    """Admit a metrics token, which is valid for nothing else, and instructors."""
    if part(request, Authenticator).reads_metrics(request.scope["headers"]):
        return None
    return await instructor(request, await member(request))


GUARDS: Mapping[Access, Callable[..., Awaitable[Identity | None]]] = MappingProxyType(
    {
        Access.ANYONE: anyone,
        Access.GUEST: guest,
        Access.MEMBER: member,
        Access.OWNER: owner,
        Access.SELF: oneself,
        Access.MARKER: marker,
        Access.INSTRUCTOR: instructor,
        Access.HELPER: helper,
        Access.VISITOR: visitor,
        Access.HELPED: helped,
        Access.METRICS: metrics_reader,
    }
)

Visitor = Annotated[Identity | None, Depends(anyone)]

Caller = Annotated[Identity, Depends(member)]

"""What a handler knows of the hub: its parts, the person who asks, and what that person may do.

The middleware puts one object into the request's scope, of which a handler takes a part
(:func:`use`), never from globals. Every entry of the route table names a guard, so no new route is
without a check. A guard raises NotAuthenticated, NotEnrolled (B38, B39) or else Forbidden. The
addresses of sessions are not in the table: ``web/hub/proxy/session_proxy.py`` guards those.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Path, Request
from starlette.types import Scope

from mograder.auth.credentials import (
    LIFETIME,
    Login,
    Role,
    cookie_name,
    make_cookie,
    set_cookie_header,
)
from mograder.auth.identity import Authenticator, Identity
from mograder.core.errors import Forbidden, NotAuthenticated
from mograder.core.names import nfc
from mograder.core.settings import LoadedSettings
from mograder.hub.help_desk import HelpDesk
from mograder.store.course.allowlist import Allowlist
from mograder.web.context import RequestContext, context_of
from mograder.web.marking.context import check_marker, enter_marking
from mograder.web.pages import APP
from mograder.web.route import Access

T = TypeVar("T")
Number = Annotated[int, Path(ge=1, lt=2**31)]
"""A handler's parameter: a number in the path that a table of the database may hold."""
IDENTITY = "mograder.identity"

TURN = "mograder.turn"
"""Scope key of the ``ExitStack`` whose closing ends the turn of a student's request."""

HELPERS = frozenset({Role.INSTRUCTOR, Role.MARKER})


class NotEnrolled(Forbidden):
    """Raised for a signed-in person who is not on the course's access list (B38, B39)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a hub, and the state of each feature while it runs, by their types."""

    _by_type: dict[type, object] = field(default_factory=dict, init=False, repr=False)

    def add(self, part: T) -> T:
        self._by_type[type(part)] = part
        return part

    def of(self, kind: type[T]) -> T:
        return cast(T, self._by_type[kind])

    def find(self, kind: type[T]) -> T | None:
        return cast("T | None", self._by_type.get(kind))


def part(request: Request, kind: type[T]) -> T:
    parts: Parts = request.scope[APP]
    return parts.of(kind)


def use(kind: type[T]) -> Any:
    """Return the dependency of a handler's parameter: ``Annotated[Kind, use(Kind)]``."""

    # Not part itself: FastAPI runs every dependency that is not async in a thread.
    async def found(request: Request) -> T:
        return part(request, kind)

    return Depends(found)


def identity_of(request: Request) -> Identity | None:
    """Return the identity found by ``app.admit``; None for a request without a login."""
    identity: Identity | None = request.scope.get(IDENTITY)
    return identity


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

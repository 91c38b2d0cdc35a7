"""Who is asking: the one way from an ASGI scope to an identity, for the proxy and the routes.

The rules live in ``auth.identity`` (pure); here they meet the request's context, the roster and the
response (B37-B44, security.md, "Who is asking").
"""

from __future__ import annotations

from importlib.resources import files
from typing import Protocol

from starlette.types import Scope

from mograder.auth.cookies import cookie_name, make_cookie, set_cookie_header
from mograder.auth.identity import Authenticator, Identity
from mograder.auth.roles import Role
from mograder.web.context import RequestContext, context_of

COOKIE_SECONDS = 86400
"""A login's life: a day from when it was issued (compatibility-0.3.16.md 2.1)."""

RESTRICTED_PAGE = files("mograder.web.hub").joinpath("static/restricted.html").read_bytes()
"""What a signed-in person who is not on the roster sees, with status 403.

See compatibility-0.3.16.md 2.1.
"""


class Allowlist(Protocol):
    """The list of who is enrolled; instructors always are."""

    def allows(self, username: str, role: Role) -> bool: ...


class IdentityServices(Protocol):
    """The part of the hub's services that this module uses."""

    @property
    def authenticator(self) -> Authenticator: ...

    @property
    def roster(self) -> Allowlist: ...

    @property
    def secret(self) -> str: ...


def identify(scope: Scope, services: IdentityServices) -> Identity | None:
    """Tell who is asking; None is nobody.

    Raises: :class:`~mograder.core.errors.InvalidInput` for repeated or malformed credentials.
    """
    context = context_of(scope)
    name = cookie_name(secure=context.secure, prefix=context.prefix)
    return services.authenticator.identify(scope["headers"], context.client, cookie=name)


def restricted(identity: Identity, services: IdentityServices) -> bool:
    """Tell whether the allowlist keeps this person out (B41-B44)."""
    return not services.roster.allows(identity.username, identity.role)


def login_headers(
    identity: Identity | None, context: RequestContext, secret: str
) -> list[tuple[bytes, bytes]]:
    """Return the Set-Cookie of a login that is new with this request, or nothing.

    It belongs on the response whatever its status (compatibility-0.3.16.md 2.1); bearer clients
    never get one.
    """
    if identity is None or identity.fresh is None:
        return []
    value = set_cookie_header(
        cookie_name(secure=context.secure, prefix=context.prefix),
        make_cookie(secret, identity.fresh),
        path=context.prefix or "/",
        secure=context.secure,
        max_age=COOKIE_SECONDS,
    )
    return [(b"set-cookie", value.encode("latin-1"))]

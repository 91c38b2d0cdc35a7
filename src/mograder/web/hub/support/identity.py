"""From an ASGI scope to an identity, for the proxy and the routes.

The rules are in ``auth.identity`` (pure); this module applies them to the request's context, the
roster and the response (B37-B44, security.md, "Who is asking").
"""

from __future__ import annotations

from importlib.resources import files

from starlette.types import Scope

from mograder.auth.cookies import cookie_name, make_cookie, set_cookie_header
from mograder.auth.identity import Identity
from mograder.web.context import RequestContext, context_of
from mograder.web.hub.support.services import Services

COOKIE_SECONDS = 86400
"""The lifetime of a login: a day from its issue (compatibility-0.3.16.md 2.1)."""

RESTRICTED_PAGE = files("mograder.web.hub").joinpath("static/restricted.html").read_bytes()
"""The page for a signed-in person who is not on the roster, sent with status 403.

See compatibility-0.3.16.md 2.1.
"""


def identify(scope: Scope, services: Services) -> Identity | None:
    """Return the caller's identity, None without a login.

    Raises: :class:`~mograder.core.errors.InvalidInput` for repeated or malformed credentials.
    """
    context = context_of(scope)
    name = cookie_name(secure=context.secure, prefix=context.prefix)
    return services.authenticator.identify(scope["headers"], context.client, cookie=name)


def restricted(identity: Identity, services: Services) -> bool:
    """Return whether the roster excludes this person (B41-B44)."""
    return not services.roster.allows(identity.username, identity.role)


def login_headers(
    identity: Identity | None, context: RequestContext, secret: str
) -> list[tuple[bytes, bytes]]:
    """Return the Set-Cookie of a login that is new with this request, or an empty list.

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

"""Beginning and ending a login in a browser, for every way of signing in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from mograder.auth.cookies import LIFETIME, Login, new_login_id
from mograder.auth.roles import Role
from mograder.web.context import request_context
from mograder.web.hub.core.access import login_cookie
from mograder.web.hub.core.hub_app import HubApp


@dataclass(frozen=True, slots=True)
class ProviderLink:
    """The sign-in page's words about the provider of OpenID Connect, where the hub has one.

    ``sign_out`` returns where a person signs out there, "" if that is not known.
    """

    name: str
    sign_out: Callable[[], str]


def new_login(app: HubApp, username: str, role: Role, lifetime: int = LIFETIME) -> Login:
    """Return a new login, which lasts ``lifetime`` seconds, at most a day."""
    now = int(app.services.clock.now().timestamp())
    return Login(
        username=username,
        role=role,
        login_id=new_login_id(),
        # Logins end a day after they were issued: a shorter one is dated back.
        issued=now - max(LIFETIME - lifetime, 0),
        epoch=app.services.revocations.epoch(username),
    )


def signed_in(request: Request, app: HubApp, login: Login, target: str) -> Response:
    """Return the redirect to a page of this hub that sets the login's cookie."""
    response = RedirectResponse(target, 303)
    cookie = login_cookie(login, request_context(request), app.services.secret)
    response.headers.append("set-cookie", cookie)
    return response


def end_login(app: HubApp, login_id: str) -> None:
    """End a login: its cookie, its capabilities and its open pages (writes)."""
    until = app.services.clock.now() + timedelta(seconds=LIFETIME)
    app.services.revocations.revoke_login(login_id, until)
    app.services.capabilities.revoke_login(login_id)


def safe_next(text: str, prefix: str) -> str:
    """Return where to go after signing in, if it is a path of this hub; else "".

    ``//host``, a backslash, which browsers read as a slash, and control characters, which they
    drop, would lead to another site.
    """
    if len(text) > 2000 or not text.startswith(f"{prefix}/"):
        return ""
    if text.startswith("//") or "\\" in text or any(ord(character) < 33 for character in text):
        return ""
    return text

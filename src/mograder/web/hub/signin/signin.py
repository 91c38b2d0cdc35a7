"""Signing in without SSO, and signing out (security.md, "Who is asking").

A token or a one-time link is exchanged for the login cookie. No response reveals whether a name
exists: every invalid token gets the same message. Following a link only shows a button, since mail
scanners follow links too. Every way of signing in begins and ends a login by the functions here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from anyio import to_thread
from fastapi import Request
from starlette.responses import RedirectResponse, Response

from mograder.auth.credentials import (
    LIFETIME,
    Claims,
    Login,
    Role,
    clear_cookie_header,
    cookie_name,
    hash_code,
    new_login_id,
    verify_token,
)
from mograder.auth.csrf import from_other_site
from mograder.auth.external_signin import Refusal
from mograder.auth.identity import Identity
from mograder.hub.capabilities import Capability
from mograder.store.external.external_people import ProviderLogins
from mograder.web.context import request_context
from mograder.web.hub.core.access import Visitor, login_cookie
from mograder.web.hub.core.audit import Event, LoginThrottle
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.responses import Done, tell
from mograder.web.pages import page
from mograder.web.request_body import read_form
from mograder.web.route import ANYONE, Route

_CODE = re.compile(r"[A-Za-z0-9_-]{16,200}")


async def login_page(request: Request, app: CurrentApp, visitor: Visitor) -> Response:
    """Show the page with the form for a token.

    After a sign-out it removes unsaved work from the browser, but not if another site's page leads
    here: a link would do that, too. Back from a provider's sign-out, it was done before.
    """
    target = safe_next(request.query_params.get("next", ""), request_context(request).prefix)
    return page(
        request,
        "login.html",
        next=target,
        message="",
        signed_out="bye" in request.query_params,
        forgets=not from_other_site(request.scope["headers"]),
        provider=app.find(ProviderLink),
    )


async def login(request: Request, app: CurrentApp, visitor: Visitor) -> Response:
    """Exchange a pasted token for the login cookie; it would not count against a front's name."""
    form = await read_form(request)
    where = request_context(request)
    target = safe_next(form.get("next", ""), where.prefix)
    secret, epoch = app.services.secret, app.services.revocations.epoch
    token = form.get("token", "").strip()
    claims = await to_thread.run_sync(verify_token, secret, token, epoch)
    if claims is None:
        return await _turned_away(request, app, "login.html", next=target, signed_out=False)
    if visitor is not None and visitor.front and claims.username != visitor.username:
        what = f"login: {Refusal.FRONT_DISAGREES}"
        await app.audit.refused(Event(claims.username, "sign in", what, where.address))
        return page(
            request,
            "login.html",
            403,
            next=target,
            message="front",
            signed_out=False,
            provider=app.find(ProviderLink),
        )
    return await _signed_in(request, app, visitor, claims, target)


async def link_page(request: Request, app: CurrentApp, visitor: Visitor) -> Response:
    code = request.query_params.get("code", "")
    return page(request, "link.html", code=code if _CODE.fullmatch(code) else "", message="")


async def use_link(request: Request, app: CurrentApp, visitor: Visitor) -> Response:
    """Use up a one-time link and set the login cookie, as :func:`login`."""
    front = visitor.username if visitor is not None and visitor.front else ""
    form = await read_form(request)
    code = form.get("code", "") or request.query_params.get("code", "")
    row, use = None, app.services.state.use_link
    if _CODE.fullmatch(code):
        now = app.services.clock.now()
        row = await to_thread.run_sync(use, hash_code(code), now, front)
    if row is None:
        return await _turned_away(request, app, "link.html", code="")
    return await _signed_in(request, app, visitor, Claims(row.username, row.role), "")


async def logout(request: Request, app: CurrentApp, visitor: Visitor) -> Response:
    where = request_context(request)
    if visitor is not None and visitor.login_id:
        await to_thread.run_sync(end_login, app, visitor.login_id)
        await app.audit.granted(Event(visitor.username, "sign out", "", where.address))
    response = tell(request, Done(), "/login?bye=1")
    name = cookie_name(secure=where.secure, prefix=where.prefix)
    gone = clear_cookie_header(name, path=where.prefix or "/", secure=where.secure)
    response.headers.append("set-cookie", gone)
    return response


async def _signed_in(
    request: Request, app: HubApp, visitor: Identity | None, claims: Claims, target: str
) -> Response:
    login = new_login(app, claims.username, claims.role)
    if visitor is not None and visitor.login_id and visitor.fresh is None:
        await to_thread.run_sync(replace_login, app, visitor.login_id, login)
    response = signed_in(request, app, login, target)
    where = request_context(request)
    await app.audit.granted(Event(claims.username, "sign in", "", where.address))
    return response


async def _turned_away(request: Request, app: HubApp, template: str, **values: object) -> Response:
    """Return the same page again, with the same message for every kind of failure."""
    client = request_context(request).address
    values = {"provider": app.find(ProviderLink), **values}
    if not app.of(LoginThrottle).failed(client):
        response = page(request, template, 429, message="too many", **values)
        response.headers["Retry-After"] = "60"
        return response
    await app.audit.refused(Event("", "sign in", template.partition(".")[0], client))
    return page(request, template, 403, message="wrong", **values)


@dataclass(frozen=True, slots=True)
class ProviderLink:
    """The sign-in page's words about the provider; ``sign_out`` returns where, "" if not known."""

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
    """Return the redirect that sets the login's cookie; without a ``target`` to the first page."""
    where = request_context(request)
    role = app.services.policy.role_of(login.username, login.role)
    first = "/course/today" if role is Role.INSTRUCTOR else "/"
    response = RedirectResponse(target or f"{where.prefix}{first}", 303)
    cookie = login_cookie(login, where, app.services.secret)
    response.headers.append("set-cookie", cookie)
    return response


def replace_login(app: HubApp, old: str, login: Login) -> None:
    """End a login that ``login`` follows in the same browser (writes).

    Open notebooks of the same person go on by the new one: their pages must not end while people
    type. Others' end, since two people may share a computer, and so do those of other people's
    work that the new login's role may not open.
    """
    services = app.services
    role_of, revoked = services.policy.role_of, services.revocations.login_revoked
    role = role_of(login.username, login.role)
    own = {live.id for live in services.pool.all() if live.key.user == login.username}

    def goes_on(each: Capability) -> bool:
        admits = each.session_id in own or role_of(each.username, each.role) is role
        return each.username == login.username and admits

    try:
        if not revoked(old) and services.capabilities.pass_on(old, login, goes_on):
            ProviderLogins(services.state.engine).pass_on(old, login.login_id)
            if revoked(old) or revoked(login.login_id):
                # Signed out meanwhile, here or at the provider: what it had open ends, too.
                services.capabilities.revoke_login(login.login_id)
        end_login(app, old)
    except BaseException:
        # No browser gets the new login, so that no sign-out could end what has passed on to it.
        services.capabilities.revoke_login(login.login_id)
        raise


def end_login(app: HubApp, login_id: str) -> None:
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


def open_signin(hub: HubApp) -> None:
    hub.add(LoginThrottle(hub.services.clock))


ROUTES = (
    Route("GET", "/login", login_page, ANYONE),
    Route("POST", "/login", login, ANYONE),
    Route("GET", "/login/link", link_page, ANYONE),
    Route("POST", "/login/link", use_link, ANYONE),
    Route("POST", "/logout", logout, ANYONE),
)

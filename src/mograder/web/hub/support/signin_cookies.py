"""The cookies of sign-ins under way, on requests and responses."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from mograder.auth import signin_state
from mograder.auth.signin_state import Flow, SignInState
from mograder.web.context import request_context
from mograder.web.hub.support.hub_app import HubApp


def keep(request: Request, app: HubApp, response: Response, begun: SignInState) -> None:
    """Set the cookie of a sign-in that begins; the oldest of too many are cleared."""
    where = request_context(request)
    # Sign-ins that were given up leave a cookie each; too many would break every request.
    for old in list(signin_state.cookies_of(request.scope["headers"]))[: -(signin_state.MOST - 1)]:
        _append(response, _cleared(old, begun.flow, where.prefix, secure=where.secure))
    name = signin_state.cookie_name(begun.state, secure=where.secure, prefix=where.prefix)
    value = signin_state.make(app.services.secret, begun)
    path = where.prefix or "/"
    made = signin_state.set_cookie_header(
        name, value, flow=begun.flow, path=path, secure=where.secure
    )
    _append(response, made)


def under_way(request: Request, app: HubApp, flow: Flow, state: str) -> SignInState | None:
    """Return the sign-in of this state that this browser began, None if it did not."""
    if not signin_state.is_state(state):
        return None
    where = request_context(request)
    name = signin_state.cookie_name(state, secure=where.secure, prefix=where.prefix)
    value = signin_state.cookies_of(request.scope["headers"]).get(name, "")
    now = app.services.clock.now()
    return signin_state.read(app.services.secret, value, flow=flow, state=state, now=now)


def forget(request: Request, response: Response, begun: SignInState) -> None:
    """Clear the cookie of a sign-in that has ended."""
    where = request_context(request)
    name = signin_state.cookie_name(begun.state, secure=where.secure, prefix=where.prefix)
    _append(response, _cleared(name, begun.flow, where.prefix, secure=where.secure))


def _cleared(name: str, flow: Flow, prefix: str, *, secure: bool) -> str:
    return signin_state.clear_cookie_header(name, flow=flow, path=prefix or "/", secure=secure)


def _append(response: Response, cookie: str) -> None:
    response.headers.append("set-cookie", cookie)

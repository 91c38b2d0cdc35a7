"""Signing in by the OpenID Connect provider, and its message that a person signed out there.

What the provider and the browser send is never shown and never logged: errors are told in our
words. A sign-in counts once, in the browser that began it, and leaves no row before its token was
found good.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from anyio import to_thread
from fastapi import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from mograder.auth.cookies import LIFETIME
from mograder.auth.external_names import ProvenPerson
from mograder.auth.jose import OLDEST, SKEW, InvalidToken, text_claim
from mograder.auth.oidc import Logout, display_name, missing_claim, session_id, user_name
from mograder.auth.signin_state import SignInState, new_state
from mograder.core.errors import InvalidInput, RemoteFailed
from mograder.core.sections.external_settings import OidcSettings
from mograder.store.external.external_people import ProviderLogins
from mograder.web.context import request_context
from mograder.web.hub.core.access import Visitor
from mograder.web.hub.core.audit import Event
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.signin.external_signin import (
    complete,
    forget_state,
    keep_state,
    refuse,
    state_under_way,
)
from mograder.web.hub.signin.logins import end_login, safe_next
from mograder.web.hub.signin.oidc import OidcSignIn
from mograder.web.request_body import read_form, single_fields

_FLOW: Final = "oidc"
_LONGEST_CODE = 4096
_LONGEST_FORM = 128 * 1024
_DENIED = {
    "access_denied": "access was denied",
    "login_required": "you are not signed in there",
    "consent_required": "you did not agree there",
    "interaction_required": "it could not ask you",
    "temporarily_unavailable": "it is not available at present",
    "server_error": "it had an error",
    "invalid_scope": "it does not know a scope that this hub asks for",
    "unauthorized_client": "it does not let this hub sign people in",
    "invalid_request": "it does not understand this hub's request",
}
"""The errors of an authorization answer; others, and all descriptions, are not shown."""


async def start(request: Request, app: CurrentApp, visitor: Visitor) -> Response:
    """Send the browser to the provider, with the cookie that its answer must fit."""
    oidc, where = app.of(OidcSignIn), request_context(request)
    begun = new_state(
        _FLOW,
        issuer=oidc.settings.issuer,
        client_id=oidc.settings.client_id,
        target=safe_next(request.query_params.get("next", ""), where.prefix),
        now=app.services.clock.now(),
        login_id=visitor.login_id if visitor is not None else "",
    )
    try:
        address = await oidc.begin(begun)
    except RemoteFailed as error:
        return await refuse(
            request, app, "unreachable", issuer=begun.issuer, detail=error.message, status=502
        )
    response = RedirectResponse(address, 303)
    keep_state(request, app, response, begun)
    return response


async def back(request: Request, app: CurrentApp, visitor: Visitor) -> Response:
    """Complete a sign-in that this browser began, with the code that the provider gave it."""
    fields = single_fields(request.query_params.multi_items())
    begun = state_under_way(request, app, _FLOW, fields.get("state", ""))
    if begun is None:
        return await refuse(request, app, "no cookie", issuer=app.of(OidcSignIn).settings.issuer)
    response = await _completed(request, app, begun, fields)
    forget_state(request, response, begun)
    return response


async def backchannel_logout(request: Request, app: CurrentApp) -> Response:
    """End the logins of a person who signed out at the provider, which sends this itself."""
    oidc = app.of(OidcSignIn)
    try:
        form = await read_form(request, _LONGEST_FORM, once=True)
        logout = await oidc.logout(form.get("logout_token", ""))
        ended = await to_thread.run_sync(_end_logins, app, logout)
    except (InvalidInput, RemoteFailed) as error:
        where = request_context(request).address
        await app.audit.refused(Event("", "sign out by the provider", error.message, where))
        return JSONResponse({"error": "invalid_request"}, 400)
    if ended is None:
        return JSONResponse({"error": "invalid_request"}, 400)
    await app.audit.granted(
        Event("", "sign out by the provider", f"{oidc.settings.issuer}: {ended} logins")
    )
    return Response(status_code=200)


async def _completed(
    request: Request, app: HubApp, begun: SignInState, fields: dict[str, str]
) -> Response:
    oidc, issuer = app.of(OidcSignIn), begun.issuer
    settings: OidcSettings = oidc.settings
    try:
        if not await _is_of_provider(oidc, fields):
            return await refuse(request, app, "invalid", issuer=issuer, detail="another provider")
        if "error" in fields:
            detail = _DENIED.get(fields["error"], "")
            return await refuse(request, app, "denied", issuer=issuer, detail=detail)
        claims = await oidc.claims(begun, _code(fields))
        lacking = missing_claim(claims, settings.require)
        if lacking:
            return await refuse(request, app, "not entitled", issuer=issuer, detail=lacking)
        person = ProvenPerson(
            method=_FLOW,
            issuer=issuer,
            subject=text_claim(claims, "sub"),
            name=user_name(claims, settings.username_claim, settings.strip_domain),
            same_names=True,
            lifetime=LIFETIME,
            display_name=display_name(claims),
            session=session_id(claims),
        )
    except RemoteFailed as error:
        return await refuse(
            request, app, "unreachable", issuer=issuer, detail=str(error), status=502
        )
    except InvalidToken as error:
        return await refuse(request, app, "invalid", issuer=issuer, detail=error.message)
    until = app.services.clock.now() + timedelta(seconds=OLDEST + SKEW)
    if not await to_thread.run_sync(oidc.used.use, f"{_FLOW} state {begun.state}", until):
        return await refuse(request, app, "used", issuer=issuer)
    return await complete(request, app, person, begun.target, old_login=begun.login_id)


async def _is_of_provider(oidc: OidcSignIn, fields: dict[str, str]) -> bool:
    """Return whether an answer is not of another provider (RFC 9207)."""
    if "iss" in fields:
        return fields["iss"] == oidc.settings.issuer
    return not await oidc.names_itself()


def _code(fields: dict[str, str]) -> str:
    code = fields.get("code", "")
    if not code or len(code) > _LONGEST_CODE or not code.isprintable():
        raise InvalidToken("It has no code.")
    return code


def _end_logins(app: HubApp, logout: Logout) -> int | None:
    """End the logins that a logout token names; return their number, None for a replayed token."""
    oidc = app.of(OidcSignIn)
    until = app.services.clock.now() + timedelta(seconds=OLDEST + SKEW)
    if not oidc.used.use(f"{_FLOW} logout {oidc.settings.issuer} {logout.token_id}", until):
        return None
    logins = ProviderLogins(app.services.state.engine)
    ended = logins.logins(oidc.settings.issuer, sid=logout.sid, subject=logout.subject)
    for login_id in ended:
        end_login(app, login_id)
    return len(ended)

"""Signing in by the OpenID Connect provider, and its message that a person signed out there.

What the provider and the browser send is never shown and never logged: errors are told in our
words. A sign-in counts once, in the browser that began it, and leaves no row before its token was
found good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from mograder.auth.credentials import LIFETIME
from mograder.auth.external_signin import ProvenPerson, SignInState, new_state
from mograder.auth.jose import OLDEST, SKEW, InvalidToken, text_claim
from mograder.auth.oidc import (
    Logout,
    Provider,
    authorization_url,
    check_id_token,
    check_logout_token,
    display_name,
    end_session_url,
    missing_claim,
    session_id,
    user_name,
    with_userinfo,
)
from mograder.clients.key_sets import CachedKeySet
from mograder.clients.oidc_provider import OidcProvider
from mograder.core.clock import Clock
from mograder.core.errors import InvalidInput, RemoteFailed
from mograder.core.log import register_secret
from mograder.core.sections.settings_model import OidcSettings
from mograder.operations.sign_in_settings import check_oidc, client_secret, own_url
from mograder.store.external.external_people import ProviderLogins, UsedStates
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
from mograder.web.hub.signin.signin import ProviderLink, end_login, safe_next
from mograder.web.request_body import read_form, single_fields
from mograder.web.route import ANYONE, Route

T = TypeVar("T")

_THREADS = 8
"""Requests to the provider at a time; a slow provider must not occupy the threads of others."""

_LOGOUT_TYPES = ("logout+jwt", "JWT", "")
"""Older providers do not mark logout tokens; their ``events`` and the lack of a nonce do."""
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


@dataclass(frozen=True, slots=True)
class OidcSignIn:
    """OpenID Connect of this hub: its provider, asked in threads of its own."""

    settings: OidcSettings
    hub_url: str
    """The hub's own address with its path prefix, without a slash at the end."""
    client: OidcProvider
    keys: CachedKeySet
    used: UsedStates
    clock: Clock
    limiter: CapacityLimiter

    @property
    def redirect_uri(self) -> str:
        return f"{self.hub_url}/auth/oidc/back"

    @property
    def end_session_url(self) -> str:
        """Where a person signs out at the provider, "" if it has no page for that or is unread."""
        provider = self.client.known
        if provider is None:
            return ""
        return end_session_url(provider, self.settings.client_id, f"{self.hub_url}/login?bye=1")

    async def begin(self, begun: SignInState) -> str:
        provider = await self._describe()
        return authorization_url(provider, begun, self.settings.scopes, self.redirect_uri)

    async def names_itself(self) -> bool:
        return (await self._describe()).names_itself

    async def claims(self, begun: SignInState, code: str) -> Mapping[str, object]:
        """Return the checked claims of a person. Raises: RemoteFailed, InvalidToken."""
        provider = await self._describe()
        tokens = await self._run(
            lambda: self.client.exchange(code, begun.verifier, self.redirect_uri)
        )
        claims: Mapping[str, object] = await self.keys.verify(
            tokens.id_token, algorithms=provider.algorithms, kid_required=False
        )
        check_id_token(claims, begun, self.clock.now())
        wanted = {self.settings.username_claim, *self.settings.require}
        if wanted <= claims.keys():
            return claims
        more = await self._run(lambda: self.client.userinfo(tokens.access))
        return with_userinfo(claims, more) if more else claims

    async def logout(self, token: str) -> Logout:
        """Return what a token ends, used before or not. Raises: InvalidToken, RemoteFailed."""
        provider = await self._describe()
        claims = await self.keys.verify(
            token, algorithms=provider.algorithms, types=_LOGOUT_TYPES, kid_required=False
        )
        issuer, client_id = self.settings.issuer, self.settings.client_id
        return check_logout_token(claims, issuer, client_id, self.clock.now())

    async def _describe(self) -> Provider:
        return await self._run(self.client.describe)

    async def _run(self, ask: Callable[[], T]) -> T:
        return await to_thread.run_sync(ask, limiter=self.limiter)


def open_oidc(hub: HubApp) -> None:
    """Raise InvalidInput for settings that cannot work; the provider is not asked yet."""
    services, loaded, clock = hub.services, hub.services.loaded, hub.services.clock
    settings = loaded.settings.oidc
    check_oidc(loaded)
    secret = services.oidc_secret or client_secret(loaded)
    if secret:
        register_secret(secret)
    client, limiter = OidcProvider(settings, secret, clock), CapacityLimiter(_THREADS)
    oidc = OidcSignIn(
        settings=settings,
        hub_url=own_url(loaded),
        client=client,
        keys=CachedKeySet(client.key_set, clock, limiter=limiter),
        used=UsedStates(services.state.engine, clock),
        clock=clock,
        limiter=limiter,
    )
    hub.add(oidc)
    hub.add(ProviderLink(settings.name, lambda: oidc.end_session_url))


async def start(request: Request, app: CurrentApp, visitor: Visitor) -> Response:
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
        named = fields.get("iss")  # RFC 9207
        if named != settings.issuer and (named is not None or await oidc.names_itself()):
            return await refuse(request, app, "invalid", issuer=issuer, detail="another provider")
        if "error" in fields:
            detail = _DENIED.get(fields["error"], "")
            return await refuse(request, app, "denied", issuer=issuer, detail=detail)
        code = fields.get("code", "")
        if not code or len(code) > _LONGEST_CODE or not code.isprintable():
            raise InvalidToken("It has no code.")
        claims = await oidc.claims(begun, code)
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


def _end_logins(app: HubApp, logout: Logout) -> int | None:
    """End the logins of a logout token; return their number, None for a replayed one.

    The token is used up last: the provider sends it again if the hub failed in between.
    """
    oidc = app.of(OidcSignIn)
    token = f"{_FLOW} logout {oidc.settings.issuer} {logout.token_id}"
    if oidc.used.is_used(token):
        return None
    logins = ProviderLogins(app.services.state.engine)
    ended = logins.logins(oidc.settings.issuer, sid=logout.sid, subject=logout.subject)
    for login_id in ended:
        end_login(app, login_id)
    oidc.used.use(token, app.services.clock.now() + timedelta(seconds=OLDEST + SKEW))
    return len(ended)


ROUTES = (
    Route("GET", "/auth/oidc/start", start, ANYONE),
    Route("GET", "/auth/oidc/back", back, ANYONE),
    Route("POST", "/auth/oidc/backchannel-logout", backchannel_logout, ANYONE),
)

"""The objects that the handlers of OpenID Connect use, made once when the hub starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from mograder.auth.oidc import (
    Logout,
    Provider,
    authorization_url,
    check_id_token,
    check_logout_token,
    end_session_url,
    with_userinfo,
)
from mograder.auth.signin_state import SignInState
from mograder.clients.key_sets import CachedKeySet
from mograder.clients.oidc_provider import OidcProvider
from mograder.core.clock import Clock
from mograder.core.log import register_secret
from mograder.core.sections.external_settings import OidcSettings
from mograder.operations.sign_in_settings import check_oidc, client_secret, own_url
from mograder.store.external.external_people import UsedStates
from mograder.web.hub.core.feature import NOTHING, Run
from mograder.web.hub.core.hub_app import HubApp
from mograder.web.hub.core.services import Services
from mograder.web.hub.signin.logins import ProviderLink

T = TypeVar("T")

_THREADS = 8
"""Requests to the provider at a time; a slow provider must not occupy the threads of others."""

_LOGOUT_TYPES = ("logout+jwt", "JWT", "")
"""Older providers do not mark logout tokens; their ``events`` and the lack of a nonce do."""


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
    limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_THREADS))

    @property
    def redirect_uri(self) -> str:
        """The address that the provider sends browsers back to."""
        return f"{self.hub_url}/auth/oidc/back"

    @property
    def end_session_url(self) -> str:
        """Where a person signs out at the provider, "" if it has no page for that or is unread."""
        provider = self.client.known
        if provider is None:
            return ""
        return end_session_url(provider, self.settings.client_id, f"{self.hub_url}/login?bye=1")

    async def begin(self, begun: SignInState) -> str:
        """Return where the browser is sent to sign in.

        Raises: RemoteFailed if the provider cannot be asked for its addresses.
        """
        provider = await self._describe()
        return authorization_url(provider, begun, self.settings.scopes, self.redirect_uri)

    async def names_itself(self) -> bool:
        """Return whether the provider promises to name itself when it sends a browser back."""
        return (await self._describe()).names_itself

    async def claims(self, begun: SignInState, code: str) -> Mapping[str, object]:
        """Return the checked claims of a person, for the code that the provider gave.

        Raises: RemoteFailed if the provider fails or refuses, InvalidToken for a bad answer.
        """
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
        """Return what a logout token ends, after all its checks but whether it was used before.

        Raises: InvalidToken, RemoteFailed if the provider's keys cannot be read.
        """
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


def open_oidc(hub: HubApp) -> Run:
    """Make the sign-in by the provider of the settings. Raises: as `make_oidc`."""
    oidc = hub.add(make_oidc(hub.services))
    hub.add(ProviderLink(oidc.settings.name, lambda: oidc.end_session_url))
    return NOTHING


def make_oidc(services: Services) -> OidcSignIn:
    """Return the sign-in by the provider of the settings; the provider is not asked yet.

    Raises: InvalidInput for settings that cannot work.
    """
    loaded, clock = services.loaded, services.clock
    settings = loaded.settings.oidc
    check_oidc(loaded)
    secret = services.oidc_secret or client_secret(loaded)
    if secret:
        register_secret(secret)
    client, limiter = OidcProvider(settings, secret, clock), CapacityLimiter(_THREADS)
    return OidcSignIn(
        settings=settings,
        hub_url=own_url(loaded),
        client=client,
        keys=CachedKeySet(client.key_set, clock, limiter=limiter),
        used=UsedStates(services.state.engine, clock),
        clock=clock,
        limiter=limiter,
    )

"""The services of each learning platform, made once, so that their access tokens are kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import httpx

from mograder.auth.lti_addresses import addresses_of
from mograder.clients.guarded_http import GuardedHttp
from mograder.clients.lti_services import LtiServices
from mograder.clients.lti_tokens import AccessTokens
from mograder.core.clock import Clock
from mograder.core.sections.external_settings import LtiPlatform


class PlatformServices:
    """The services by platform; thread-safe. ``sign`` signs claims with the hub's key.

    Mutable state: ``_made``, the services of each platform's settings.
    """

    def __init__(
        self,
        sign: Callable[[Mapping[str, object]], str],
        clock: Clock,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._sign = sign
        self._clock = clock
        self._transport = transport
        self._lock = threading.Lock()
        self._made: dict[str, LtiServices] = {}

    def of(self, platform: LtiPlatform) -> LtiServices:
        """Return the services of a platform.

        Raises: InvalidInput, which names the setting, if an address of it cannot be used.
        """
        settings = platform.model_dump_json()
        with self._lock:
            if settings not in self._made:
                self._made[settings] = self._make(platform)
            return self._made[settings]

    def _make(self, platform: LtiPlatform) -> LtiServices:
        addresses = addresses_of(platform)
        http = GuardedHttp(
            addresses.services,
            private_network=platform.private_network,
            name="the platform",
            transport=self._transport,
        )
        tokens = AccessTokens(http, addresses.token, platform.client_id, self._sign, self._clock)
        return LtiServices(http, tokens)

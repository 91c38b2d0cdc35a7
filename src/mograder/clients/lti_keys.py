"""Fetching the public keys of a learning platform."""

from __future__ import annotations

from typing import Final

from mograder.auth.lti_addresses import addresses_of
from mograder.clients.guarded_http import GuardedHttp
from mograder.core.errors import RemoteFailed
from mograder.core.external_settings import LtiPlatform
from mograder.core.web_origin import origin_of

_ACCEPT: Final = (("Accept", "application/json"),)


class KeyRequest:
    """The request for a platform's key set."""

    def __init__(self, platform: LtiPlatform) -> None:
        self._url = addresses_of(platform).keys
        self._http = GuardedHttp(
            {origin_of(self._url)},
            private_network=platform.private_network,
            name=f"the learning platform {platform.issuer}",
        )

    def __call__(self) -> object:
        """Return the parsed key set. Raises: RemoteFailed."""
        answer = self._http.send("GET", self._url, headers=_ACCEPT)
        if not answer.good:
            raise RemoteFailed(f"The learning platform answered {answer.status} for its keys.")
        return answer.json()

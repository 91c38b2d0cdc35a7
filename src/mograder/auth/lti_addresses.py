"""The addresses of a learning platform, and the origins that count as the platform's.

An address in a token is used only if its origin is one of these, so that no token makes the hub
send its own credentials to another server.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.web_origin import origin_of

_LONGEST = 1000
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a platform is.

    ``services`` are the origins that get the hub's requests with its credentials, ``frames`` those
    whose pages may show the hub's pages for platforms in a frame.
    """

    auth: str
    token: str
    keys: str
    services: frozenset[str]
    frames: frozenset[str]


def addresses_of(platform: LtiPlatform) -> Addresses:
    """Return a platform's addresses; those that are not set are Moodle's, below the issuer.

    Raises: InvalidInput, which names the setting, for an address that cannot be used.
    """
    base = platform.issuer.rstrip("/")
    auth = _checked("auth_url", platform.auth_url or f"{base}/mod/lti/auth.php")
    token = _checked("token_url", platform.token_url or f"{base}/mod/lti/token.php")
    keys = _checked("jwks_url", platform.jwks_url or f"{base}/mod/lti/certs.php")
    services = frozenset({platform_origin(auth), platform_origin(token)})
    frames = frozenset({platform_origin(platform.issuer), platform_origin(auth)})
    return Addresses(auth, token, keys, services, frames)


def platform_origin(url: str) -> str:
    """Return the origin of an address as browsers write it, "" for an address that is not usable.

    Usable are https addresses, and plain http on this machine, of at most 1000 characters.
    """
    try:
        origin = origin_of(url)
    except InvalidInput:
        return ""
    local = urlsplit(url).hostname in _LOOPBACK
    return origin if len(url) <= _LONGEST and (origin.startswith("https:") or local) else ""


def _checked(setting: str, url: str) -> str:
    if not platform_origin(url):
        raise InvalidInput(
            f"{setting} of a learning platform is not a usable address: {url[:200]!r}.",
            hint=f"Set {setting} in [[lti.platform]] to an address that begins with https://.",
        )
    return url

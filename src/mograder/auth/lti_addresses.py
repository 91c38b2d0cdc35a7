"""The addresses of a learning platform, and the hub's own, as it registers itself there.

An address in a token is used only if its origin is one of the platform's, so that no token makes
the hub send its own credentials to another server. Platforms call a program such as the hub a tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.web_origin import origin_of

_LONGEST = 1000
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

CONFIGURATION: Final = "https://purl.imsglobal.org/spec/lti-tool-configuration"
"""The member with the tool's own part, in a registration and in its answer."""

_AGS = "https://purl.imsglobal.org/spec/lti-ags/scope/"
SCORE: Final = f"{_AGS}score"
RESULT: Final = f"{_AGS}result.readonly"
LINE_ITEMS: Final = f"{_AGS}lineitem.readonly"
SCORE_SCOPES: Final = (SCORE, RESULT, LINE_ITEMS)
"""What sending marks needs: to send them, to read them back, and to find the column."""

ROSTER_SCOPE: Final = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
"""What reading the members of a course needs."""

DATES: Final = {
    "opens": "$ResourceLink.available.startDateTime",
    "due": "$ResourceLink.submission.endDateTime",
    "closes": "$ResourceLink.available.endDateTime",
}
"""The custom values by which a platform tells an item's dates, in the order of ``ItemDates``.

The variables are those of the LTI core specification. Canvas fills in "available from", "due" and
"until"; Moodle 5.1 knows none of them and sends their names.
"""


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
    """Return a platform's addresses, by default Moodle's; raises InvalidInput for a setting."""
    base = platform.issuer.rstrip("/")
    auth = _checked("auth_url", platform.auth_url or f"{base}/mod/lti/auth.php")
    token = _checked("token_url", platform.token_url or f"{base}/mod/lti/token.php")
    keys = _checked("jwks_url", platform.jwks_url or f"{base}/mod/lti/certs.php")
    more = frozenset(platform_origin(_checked("services", each)) for each in platform.services)
    services = more | {platform_origin(auth), platform_origin(token)}
    frames = more | {platform_origin(platform.issuer), platform_origin(auth)}
    return Addresses(auth, token, keys, services, frames)


def platform_origin(url: str) -> str:
    """Return the origin of an address, "" unless it is https or on this machine, and short."""
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


@dataclass(frozen=True, slots=True)
class ToolAddresses:
    """The hub's addresses for a platform, below ``root``: scheme, host and path prefix."""

    root: str

    @property
    def login(self) -> str:
        return f"{self.root}/lti/login"

    @property
    def launch(self) -> str:
        return f"{self.root}/lti/launch"

    @property
    def pick(self) -> str:
        return f"{self.root}/lti/pick"

    @property
    def keys(self) -> str:
        return f"{self.root}/lti/keys"

    @property
    def icon(self) -> str:
        """The hub's icon; any version in its path will do."""
        return f"{self.root}/static/icon/icon.svg"

    def named(self) -> tuple[tuple[str, str], ...]:
        """Return the addresses to paste into a platform by hand, with Moodle's names of them."""
        return (
            ("Tool URL and redirection URI", self.launch),
            ("Initiate login URL", self.login),
            ("Public keyset URL", self.keys),
            ("Content selection URL", self.pick),
        )

    def registration(self, code: str) -> str:
        return f"{self.root}/lti/register/{code}"


def scopes_of(platform: LtiPlatform) -> tuple[str, ...]:
    """Return the scopes that a platform's settings need, and no others."""
    scores = SCORE_SCOPES if platform.scores != "off" else ()
    return (*scores, ROSTER_SCOPE) if platform.roster != "off" else scores


def registration_document(
    addresses: ToolAddresses, title: str, platform: LtiPlatform
) -> Mapping[str, object]:
    """Return the registration of this hub, as OpenID Connect's dynamic registration wants it.

    It asks for people's names, and for email addresses only where the settings take user names
    from them; for a custom value with the user name only where they take it from there. The
    custom values with the dates of activities are always asked for.
    """
    claims = ["iss", "sub", "name", "given_name", "family_name"]
    messages = [
        {"type": "LtiResourceLinkRequest", "target_link_uri": addresses.launch},
        {"type": "LtiDeepLinkingRequest", "target_link_uri": addresses.pick},
    ]
    by_custom = platform.username == "custom.username"
    return {
        "application_type": "web",
        "response_types": ["id_token"],
        "grant_types": ["implicit", "client_credentials"],
        "initiate_login_uri": addresses.login,
        "redirect_uris": [addresses.launch],
        "client_name": title,
        "jwks_uri": addresses.keys,
        "logo_uri": addresses.icon,
        "token_endpoint_auth_method": "private_key_jwt",
        "scope": " ".join(scopes_of(platform)),
        CONFIGURATION: {
            "domain": urlsplit(addresses.root).netloc,
            "description": "Notebooks of the course, each student's own.",
            "target_link_uri": addresses.launch,
            "custom_parameters": {"username": "$User.username", **DATES} if by_custom else DATES,
            "claims": [*claims, "email"] if platform.username == "email" else claims,
            "messages": messages,
        },
    }

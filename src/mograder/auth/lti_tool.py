"""How a hub describes itself to learning platforms: its addresses, and what it asks for.

Platforms call a program such as the hub a tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mograder.core.sections.settings_model import LtiPlatform

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
class ToolAddresses:
    """The hub's addresses for a platform, below ``root``: scheme, host and path prefix."""

    root: str

    @property
    def login(self) -> str:
        """Where the platform begins a launch ("Initiate login URL")."""
        return f"{self.root}/lti/login"

    @property
    def launch(self) -> str:
        """Where the platform sends its token ("Tool URL", "Redirection URI")."""
        return f"{self.root}/lti/launch"

    @property
    def pick(self) -> str:
        """The target of deep linking ("Content selection URL")."""
        return f"{self.root}/lti/pick"

    @property
    def keys(self) -> str:
        """The hub's public keys ("Public keyset URL")."""
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
        """Return the one-time address of a code."""
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

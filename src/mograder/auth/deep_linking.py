"""A platform's request for links (LTI deep linking): the page of picking, and the answer.

The page is in a frame of the platform, where the hub knows no login. Its handle says what the
platform's signed request allowed, and counts once, with the cookie of that request only.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mograder.auth.lti_claims import VERSION
from mograder.auth.signing import derived_key, read_signed_record, signed_record

_LTI = "https://purl.imsglobal.org/spec/lti/claim/"
_DEEP_LINKING = "https://purl.imsglobal.org/spec/lti-dl/claim/"
_PURPOSE = "lti-pick"
_LIFE = 300
_BEHIND = 30
"""Seconds: Moodle refuses a token whose time is ahead of its own clock."""

_LONGEST = 128 * 1024
"""Characters of a handle, as many as its form may have: it holds the platform's own data."""


@dataclass(frozen=True, slots=True)
class PickedItem:
    """An item that was picked; ``maximum`` is the highest mark, None for an item without marks."""

    name: str
    maximum: float | None


def answer_claims(
    handle: PickHandle, items: Sequence[PickedItem], now: datetime
) -> dict[str, object]:
    """Return the claims of the answer to a request for links, with these items.

    No item has an address: Moodle would look for a tool by it, and lose the connection to this one.
    """
    moment = int(now.timestamp())
    claims: dict[str, object] = {
        "iss": handle.client_id,
        "aud": handle.issuer,
        "iat": moment - _BEHIND,
        "exp": moment + _LIFE,
        "nonce": secrets.token_urlsafe(16),
        f"{_LTI}deployment_id": handle.deployment,
        f"{_LTI}message_type": "LtiDeepLinkingResponse",
        f"{_LTI}version": VERSION,
        f"{_DEEP_LINKING}content_items": [_content_item(each) for each in items],
    }
    if handle.data is not None:
        claims[f"{_DEEP_LINKING}data"] = handle.data
    return claims


def _content_item(item: PickedItem) -> dict[str, object]:
    found: dict[str, object] = {
        "type": "ltiResourceLink",
        "title": item.name,
        "custom": {"item": item.name},
    }
    if item.maximum:  # a platform can scale nothing to 0
        found["lineItem"] = {
            "label": item.name,
            "scoreMaximum": item.maximum,
            "resourceId": item.name,
            "tag": "grade",
        }
    return found


@dataclass(frozen=True, slots=True)
class PickHandle:
    """One page of picking; ``state`` is the sign-in's, which its cookie is named after.

    ``data`` is the platform's own, None if it sent none.
    """

    state: str
    issuer: str
    client_id: str
    deployment: str
    subject: str
    return_url: str
    data: str | None
    multiple: bool


def make_handle(secret: str, handle: PickHandle) -> str:
    """Return the handle as text for a form."""
    return signed_record(derived_key(secret, _PURPOSE), handle)


def read_handle(secret: str, text: str) -> PickHandle | None:
    """Return a handle of this hub, None for another text; its cookie says whether it is fresh."""
    return read_signed_record(derived_key(secret, _PURPOSE), text, PickHandle, _LONGEST)

"""The handle of a page where a teacher picks items for a platform.

The page is in a frame of the platform, where the hub knows no login. The handle says what the
platform's signed request allowed, and counts once, with the cookie of that request only.
"""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import asdict, dataclass, fields

from mograder.auth.signing import derived_key

_PURPOSE = "lti-pick"


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
    payload = urlsafe_b64encode(json.dumps(asdict(handle)).encode()).decode()
    return f"{payload}.{_mac(secret, payload)}"


def read_handle(secret: str, text: str) -> PickHandle | None:
    """Return a handle of this hub, None for another text; its cookie says whether it is fresh."""
    payload, _, mac = text.partition(".")
    if not text.isascii() or not hmac.compare_digest(_mac(secret, payload), mac):
        return None
    try:
        found = json.loads(urlsafe_b64decode(payload))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(found, dict) or found.keys() != {each.name for each in fields(PickHandle)}:
        return None  # of another version of this program
    return PickHandle(**found)


def _mac(secret: str, payload: str) -> str:
    return hmac.digest(derived_key(secret, _PURPOSE), payload.encode(), "sha256").hex()

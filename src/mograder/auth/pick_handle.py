"""The handle of a page where a teacher picks items for a platform.

The page is in a frame of the platform, where the hub knows no login. The handle says what the
platform's signed request allowed, and counts once, with the cookie of that request only.
"""

from __future__ import annotations

from dataclasses import dataclass

from mograder.auth.signing import derived_key, read_signed_record, signed_record

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
    return signed_record(derived_key(secret, _PURPOSE), handle)


def read_handle(secret: str, text: str) -> PickHandle | None:
    """Return a handle of this hub, None for another text; its cookie says whether it is fresh."""
    return read_signed_record(derived_key(secret, _PURPOSE), text, PickHandle)

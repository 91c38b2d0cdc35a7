"""The clock, the platform and the hub that the made-up id_tokens belong to."""

from __future__ import annotations

from datetime import UTC, datetime

from mograder.auth.jose import KeySet
from mograder.core.sections.external_settings import LtiPlatform
from tests.support.lti.tokens import RECORDED_HUB, RECORDED_PLATFORM, keys

NOW = datetime.fromtimestamp(1795300000, UTC)
NONCE = "nonce-for-tests"
HUB = RECORDED_HUB
PLATFORM = LtiPlatform(
    issuer=RECORDED_PLATFORM,
    client_id="client-full",
    deployments=("1",),
    courses=("4",),
)
OTHER = PLATFORM.model_copy(update={"issuer": "https://other.example.org"})


def key_set(name: str) -> KeySet:
    """Return the public keys of a file of keys, such as "platform"."""
    return KeySet.parse(keys(name))

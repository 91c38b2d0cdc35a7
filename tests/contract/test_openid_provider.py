"""The OpenID provider of the tests is the real one, and does what other tests rely on."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.oidc_provider import SECRET, OpenIdProvider

pytestmark = pytest.mark.full

HUB = "http://127.0.0.1:9"
VERIFIER = "v" * 50


def tokens(provider: OpenIdProvider, client_id: str = "hub") -> dict[str, Any]:
    """Go through the code flow by hand and return the token endpoint's answer."""
    challenge = hashlib.sha256(VERIFIER.encode()).digest()
    asked = {
        "client_id": client_id,
        "response_type": "code",
        "scope": "openid profile",
        "redirect_uri": f"{HUB}/auth/oidc/back",
        "state": "a-state",
        "nonce": "a-nonce",
        "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    with httpx.Client(trust_env=False, timeout=60) as browser:
        start = str(httpx.URL(f"{provider.issuer}/auth", params=asked))
        back = httpx.URL(provider.sign_in(browser, start))
    assert str(back).startswith(f"{HUB}/auth/oidc/back?")
    assert (back.params["state"], back.params["iss"]) == ("a-state", provider.issuer)
    form = {
        "grant_type": "authorization_code",
        "code": back.params["code"],
        "redirect_uri": asked["redirect_uri"],
        "code_verifier": VERIFIER,
    }
    answer = httpx.post(
        f"{provider.issuer}/token", data=form, auth=(client_id, SECRET), trust_env=False, timeout=60
    )
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


def part(token: str, number: int) -> dict[str, Any]:
    """Return the header (0) or the claims (1) of a token, unchecked."""
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[number] + "==="))
    return found


@pytest.mark.parametrize("conform", [True, False])
def test_a_strict_provider_puts_only_the_subject_into_the_token(
    start_openid_provider: Callable[..., OpenIdProvider], conform: bool
) -> None:
    provider = start_openid_provider(conform=conform)
    provider.serve(HUB)
    claims = part(tokens(provider)["id_token"], 1)
    assert (claims["sub"], claims["nonce"]) == ("alice", "a-nonce")
    assert ("preferred_username" in claims) is not conform


def test_its_client_chooses_the_algorithm_and_its_keys_change_at_a_restart(
    start_openid_provider: Callable[..., OpenIdProvider],
) -> None:
    provider = start_openid_provider()
    provider.serve(HUB)
    first = part(tokens(provider, "hub--ES256")["id_token"], 0)
    provider.restart_with_new_keys()
    second = part(tokens(provider, "hub--ES256")["id_token"], 0)
    assert first["alg"] == second["alg"] == "ES256"
    assert first["kid"] != second["kid"]

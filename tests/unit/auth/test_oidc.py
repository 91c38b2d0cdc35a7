"""auth.oidc: requests to a provider, and the checks of its answers."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from mograder.auth.external_signin import Refusal, new_state
from mograder.auth.jose import InvalidToken
from mograder.auth.oidc import (
    Logout,
    Provider,
    authorization_url,
    challenge,
    check_id_token,
    check_logout_token,
    display_name,
    end_session_url,
    missing_claim,
    session_id,
    user_name,
    with_userinfo,
)
from mograder.core.errors import RemoteFailed
from tests.support.clock import ManualClock

NOW = ManualClock().now()
AT = int(NOW.timestamp())
ISSUER = "https://login.test"
DOCUMENT: dict[str, object] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth?tenant=1",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": "https://keys.test/jwks",
    "userinfo_endpoint": "https://graph.test:8443/me",
    "end_session_endpoint": f"{ISSUER}/end",
    "id_token_signing_alg_values_supported": ["none", "HS256", "RS256", "ES256", "RS512"],
    "authorization_response_iss_parameter_supported": True,
}
PROVIDER = Provider.parse(DOCUMENT, ISSUER)
BEGUN = new_state("oidc", issuer=ISSUER, client_id="hub", target="", now=NOW)
CLAIMS: dict[str, object] = {
    "iss": ISSUER,
    "aud": "hub",
    "sub": "13",
    "nonce": BEGUN.nonce,
    "iat": AT,
    "exp": AT + 60,
}
LOGOUT_EVENT: dict[str, object] = {"http://schemas.openid.net/event/backchannel-logout": {}}
LOGOUT: dict[str, object] = {
    "iss": ISSUER,
    "aud": "hub",
    "iat": AT,
    "exp": AT + 120,
    "jti": "j1",
    "sid": "s1",
    "sub": "13",
    "events": LOGOUT_EVENT,
}


def test_a_description_is_read() -> None:
    assert PROVIDER.algorithms == {"RS256", "ES256"}
    assert PROVIDER.origins == {ISSUER, "https://keys.test", "https://graph.test:8443"}
    assert PROVIDER.names_itself
    assert PROVIDER.client_auth("secret") == "client_secret_basic"
    bare = {name: DOCUMENT[name] for name in list(DOCUMENT)[:4]}
    least = Provider.parse(bare, ISSUER)
    assert (least.userinfo_url, least.end_session_url, least.names_itself) == ("", "", False)
    assert least.algorithms == {"RS256"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"issuer": f"{ISSUER}/"}, "not one of"),
        ({"issuer": "https://evil.test"}, "not one of"),
        ({"token_endpoint": None}, "token_endpoint"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri"),
        ({"userinfo_endpoint": 1}, "userinfo_endpoint"),
        ({"end_session_endpoint": "https://x@evil.test"}, "end_session_endpoint"),
    ],
)
def test_descriptions_that_are_refused(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(RemoteFailed, match=fault):
        Provider.parse({**DOCUMENT, **changes}, ISSUER)
    with pytest.raises(RemoteFailed):
        Provider.parse([], ISSUER)


@pytest.mark.parametrize(
    ("methods", "secret", "used"),
    [
        (["client_secret_post"], "s", "client_secret_post"),
        (["client_secret_post", "client_secret_basic"], "s", "client_secret_basic"),
        (["private_key_jwt"], "", "none"),
        (["private_key_jwt"], "s", None),
    ],
)
def test_the_client_proves_itself_as_the_provider_takes_it(
    methods: list[str], secret: str, used: str | None
) -> None:
    provider = Provider.parse(
        {**DOCUMENT, "token_endpoint_auth_methods_supported": methods}, ISSUER
    )
    if used:
        assert provider.client_auth(secret) == used
        return
    with pytest.raises(RemoteFailed, match="does not take a client's secret"):
        provider.client_auth(secret)


def test_the_request_has_a_challenge_a_state_and_a_nonce() -> None:
    address = urlsplit(authorization_url(PROVIDER, BEGUN, ("openid", "profile"), "https://h/b"))
    query = parse_qs(address.query)
    assert (address.netloc, address.path) == ("login.test", "/auth")
    assert query["tenant"] == ["1"]
    assert query["scope"] == ["openid profile"]
    assert (query["state"], query["nonce"]) == ([BEGUN.state], [BEGUN.nonce])
    assert query["code_challenge"] == [challenge(BEGUN.verifier)]
    assert BEGUN.verifier not in address.query
    # The example of RFC 7636, appendix B.
    example = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge(example) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_page_for_signing_out() -> None:
    address = end_session_url(PROVIDER, "hub", "https://hub.test/login?bye=1")
    assert address.startswith(f"{ISSUER}/end?client_id=hub&post_logout_redirect_uri=https%3A")
    assert end_session_url(replace(PROVIDER, end_session_url=""), "hub", "x") == ""


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"aud": ["hub"]}, ""),
        ({"aud": ["hub", "other"], "azp": "hub"}, ""),
        ({"iss": f"{ISSUER}/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "another program"),
        ({"aud": ["hub", "other"]}, "another program"),
        ({"aud": {"hub": 1}}, "another program"),
        ({"azp": "other"}, "another program"),
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"sub": ""}, "sub"),
        ({"sub": 13}, "sub"),
        ({"exp": AT - 61}, "expired"),
        ({"iat": AT - 700, "exp": AT + 9000}, "too long ago"),
    ],
)
def test_id_tokens(changes: dict[str, object], fault: str) -> None:
    if not fault:
        assert check_id_token({**CLAIMS, **changes}, BEGUN, NOW) == "13"
        return
    with pytest.raises(InvalidToken, match=fault):
        check_id_token({**CLAIMS, **changes}, BEGUN, NOW)


def test_a_logout_token_names_what_it_ends() -> None:
    assert check_logout_token(LOGOUT, ISSUER, "hub", NOW) == Logout("s1", "13", "j1")
    older = {name: value for name, value in LOGOUT.items() if name != "exp"}
    assert check_logout_token(older, ISSUER, "hub", NOW) == Logout("s1", "13", "j1")
    bare = {name: value for name, value in LOGOUT.items() if name != "sid"}
    assert check_logout_token(bare, ISSUER, "hub", NOW) == Logout("", "13", "j1")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"nonce": "n"}, "no nonce"),
        ({"events": {}}, "no logout token"),
        ({"events": [*LOGOUT_EVENT]}, "no logout token"),
        ({"events": dict.fromkeys(LOGOUT_EVENT)}, "no logout token"),
        ({"iss": "https://evil.test"}, "another issuer"),
        ({"aud": "other"}, "another program"),
        ({"iat": AT - 181}, "too long ago"),
        ({"jti": ""}, "jti"),
        ({"sid": 1}, "sid"),
        ({"sub": ""}, "sub"),
        ({"sid": ..., "sub": ...}, "neither"),
    ],
)
def test_logout_tokens_that_are_refused(changes: dict[str, object], fault: str) -> None:
    """An ellipsis stands for a claim that is missing."""
    claims = {name: each for name, each in {**LOGOUT, **changes}.items() if each is not ...}
    with pytest.raises(InvalidToken, match=fault):
        check_logout_token(claims, ISSUER, "hub", NOW)


def test_an_id_token_is_no_logout_token_and_the_reverse() -> None:
    with pytest.raises(InvalidToken):
        check_logout_token({**CLAIMS, "jti": "j"}, ISSUER, "hub", NOW)
    with pytest.raises(InvalidToken, match="another sign-in"):
        check_id_token(LOGOUT, BEGUN, NOW)


def test_userinfo_adds_claims_and_changes_none() -> None:
    more = {"sub": "13", "uid": "alice", "iss": "https://evil.test"}
    assert with_userinfo(CLAIMS, more) == {**CLAIMS, "uid": "alice"}
    for other in ({"sub": "14"}, {"uid": "alice"}, {"sub": ["13"]}):
        with pytest.raises(InvalidToken, match="another person"):
            with_userinfo(CLAIMS, other)


@pytest.mark.parametrize(
    ("groups", "lacking"),
    [
        (["numerics", "x"], ""),
        ("numerics", ""),
        (["numeric"], "groups"),
        ("numerics2", "groups"),
        ([["numerics"]], "groups"),
        (None, "groups"),
    ],
)
def test_required_claims(groups: object, lacking: str) -> None:
    assert missing_claim({"groups": groups}, {"groups": "numerics"}) == lacking
    assert missing_claim({}, {}) == ""


@pytest.mark.parametrize(
    ("value", "domain", "expected"),
    [
        ("alice", "", "alice"),
        (["alice"], "", "alice"),
        (["alice", "bob"], "", ""),
        (None, "", ""),
        (7, "", ""),
        ("alice@example.edu", "", "alice@example.edu"),
        ("alice@example.edu", "example.edu", "alice"),
        ("alice@example.edu", "@example.edu", "alice"),
        ("alice@evil.test", "example.edu", Refusal.OTHER_DOMAIN),
        ("alice", "example.edu", Refusal.OTHER_DOMAIN),
        ("alice@example.edu.evil.test", "example.edu", Refusal.OTHER_DOMAIN),
        ("alice@EXAMPLE.edu", "example.edu", "alice"),
        ("Alice@example.edu", "Example.EDU", "Alice"),
        ("alice@stra\u00dfe.test", "strasse.test", Refusal.OTHER_DOMAIN),
        ("a@evil.test@example.edu", "example.edu", "a@evil.test"),
    ],
)
def test_user_names(value: object, domain: str, expected: object) -> None:
    assert user_name({"uid": value}, "uid", domain) == expected


def test_what_is_kept_besides_the_name() -> None:
    assert display_name({"name": "A" * 300}) == "A" * 199 + "…"
    assert display_name({"name": " Ada\x1b[2J\nLovelace\u202e "}) == "Ada [2J Lovelace"
    assert display_name({"name": ["A"]}) == ""
    assert session_id({"sid": "s1"}) == "s1"
    assert session_id({}) == ""
    with pytest.raises(InvalidToken):
        session_id({"sid": "s" * 300})

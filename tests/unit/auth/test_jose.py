"""auth.jose: key sets, signatures and times of tokens, own keys."""

from __future__ import annotations

import base64
import json
from base64 import urlsafe_b64encode
from contextlib import nullcontext
from datetime import timedelta

import pytest
from joserfc import jwk, jws

from mograder.auth.jose import (
    InvalidToken,
    KeySet,
    PrivateKey,
    UnknownKey,
    check_times,
    text_claim,
    verify,
)
from mograder.core.errors import InvalidInput
from tests.support.clock import ManualClock

NOW = ManualClock().now()
AT = int(NOW.timestamp())
KEY, STRANGER = PrivateKey.new(), PrivateKey.new()
KEYS = KeySet.parse({"keys": [KEY.public()]})
EC = jwk.generate_key("EC", "P-256", auto_kid=True)
ED = jwk.generate_key("OKP", "Ed25519", auto_kid=True)
RS256 = ("RS256",)


def encoded(content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def forged(header: dict[str, object], payload: object = None) -> str:
    """A token with this header, and the signature of a good one."""
    signature = KEY.sign({"sub": "13"}).rpartition(".")[2]
    return f"{encoded(header)}.{encoded(payload or {'sub': '13'})}.{signature}"


def _wide() -> jws.JWSRegistry:
    registry = jws.JWSRegistry(algorithms=["RS256"])
    registry.max_header_length = 4096
    return registry


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")],
)
def test_other_algorithms_are_verified_where_they_are_allowed(key: jwk.Key, algorithm: str) -> None:
    header = {"alg": algorithm, "kid": key.kid}
    registry = jws.JWSRegistry(algorithms=[algorithm])
    with pytest.warns() if algorithm == "EdDSA" else nullcontext():
        token = jws.serialize_compact(header, '{"sub":"13"}', key, registry=registry)
    keys = KeySet.parse({"keys": [KEY.public(), key.as_dict(private=False)]})
    assert verify(token, keys, algorithms=[algorithm]) == {"sub": "13"}
    with pytest.raises(InvalidToken, match="accepted algorithm"):
        verify(token, keys, algorithms=RS256)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": ["RS256"]},
        {"alg": "RS256", "crit": ["exp"]},
        {"alg": "RS256", "b64": False},
        {"alg": "RS256", "typ": "logout+jwt"},
        {"alg": "RS256", "typ": 1},
        {"alg": "RS256", "kid": 1},
        {"alg": "RS256"},
    ],
)
def test_headers_that_are_refused(header: dict[str, object]) -> None:
    named = header if header == {"alg": "RS256"} else {"kid": KEY.kid, **header}
    with pytest.raises(InvalidToken) as refused:
        verify(forged(named), KEYS, algorithms=RS256)
    assert not isinstance(refused.value, UnknownKey)


def test_a_key_in_the_token_is_never_used() -> None:
    stranger = jwk.generate_key("RSA", 2048, auto_kid=True)
    for more in ({}, {"jwk": stranger.as_dict(private=False)}, {"jku": "https://evil.test/jwks"}):
        header = {"alg": "RS256", "kid": stranger.kid, **more}
        token = jws.serialize_compact(header, '{"sub":"13"}', stranger, registry=_wide())
        with pytest.raises(UnknownKey):
            verify(token, KEYS, algorithms=RS256)


def test_another_keys_signature_under_our_key_id_is_refused() -> None:
    _, payload, signature = STRANGER.sign({"sub": "13"}).split(".")
    head = encoded({"alg": "RS256", "kid": KEY.kid})
    with pytest.raises(InvalidToken, match="signature"):
        verify(f"{head}.{payload}.{signature}", KEYS, algorithms=RS256)


@pytest.mark.parametrize(
    "payload", ['{"sub":"13","sub":"14"}', "[]", "sub", '{"exp":NaN}', "[" * 20_000]
)
def test_payloads_that_are_refused(payload: str) -> None:
    with pytest.raises(InvalidToken, match="cannot be read"):
        verify(forged({"alg": "RS256", "kid": KEY.kid}, payload), KEYS, algorithms=RS256)


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d", "é.b.c", "%.%.%", "x" * 70_000])
def test_texts_that_are_no_token(token: str) -> None:
    with pytest.raises(InvalidToken):
        verify(token, KEYS, algorithms=RS256)


def test_without_a_key_id_the_only_fitting_key_counts_if_that_is_allowed() -> None:
    other = jwk.generate_key("EC", "P-256", auto_kid=True).as_dict(private=False)
    key = jwk.generate_key("RSA", 2048)
    token = jws.serialize_compact({"alg": "RS256"}, '{"sub":"13"}', key)
    mine = {name: value for name, value in key.as_dict(private=False).items() if name != "kid"}
    keys = KeySet.parse({"keys": [mine, other]})
    assert verify(token, keys, algorithms=RS256, kid_required=False) == {"sub": "13"}
    with pytest.raises(InvalidToken, match="does not name the key"):
        verify(token, keys, algorithms=RS256)
    two = KeySet.parse({"keys": [mine, KEY.public()]})
    with pytest.raises(InvalidToken, match="which of its issuer's keys"):
        verify(token, two, algorithms=RS256, kid_required=False)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "no list"),
        ({"keys": {}}, "no list"),
        ({"keys": ["x"]}, "no key"),
        ({"keys": [KEY.public(), {**STRANGER.public(), "kid": KEY.kid}]}, "one id"),
        ({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}, "not public"),
        ({"keys": [{**KEY.public(), "d": "AQAB"}]}, "not public"),
        ({"keys": [{**KEY.public(), "kid": 1}]}, "no text"),
        ({"keys": [{**KEY.public(), "n": "!" * 400}]}, "cannot be read"),
        ({"keys": [{**KEY.public(), "kid": str(each)} for each in range(65)]}, "more than 64"),
    ],
)
def test_key_sets_that_are_refused(document: object, reason: str) -> None:
    with pytest.raises(InvalidToken, match=reason):
        KeySet.parse(document)


def test_keys_of_other_uses_and_kinds_are_left_out() -> None:
    entries = [
        {**KEY.public(), "use": "enc"},
        {"kty": "AKP", "kid": "new", "pub": "x"},
        {"kty": "RSA", "kid": "short", "n": "AQAB" * 40, "e": "AQAB"},
        {"kty": "EC", "crv": "P-521", "kid": "long", "x": "x", "y": "y"},
        {"kty": ["RSA"], "kid": "odd"},
    ]
    assert KeySet.parse({"keys": entries}).keys == ()


@pytest.mark.parametrize(
    ("iat", "exp", "fault"),
    [
        (0, 60, ""),
        (-90, -30, ""),
        (30, 90, ""),
        (-200, -61, "expired"),
        (90, 150, "future"),
        (-700, 1000, "too long ago"),
        (None, 60, "iat"),
        (0, None, "exp"),
        (0, True, "exp"),
        (0, "60", "exp"),
    ],
)
def test_times(iat: int | None, exp: object, fault: str) -> None:
    claims: dict[str, object] = {}
    if iat is not None:
        claims["iat"] = AT + iat
    if exp is not None:
        claims["exp"] = AT + exp if type(exp) is int else exp
    if not fault:
        check_times(claims, NOW)
        return
    with pytest.raises(InvalidToken, match=fault):
        check_times(claims, NOW)


def test_a_token_that_is_not_yet_valid() -> None:
    with pytest.raises(InvalidToken, match="future"):
        check_times({"iat": AT, "exp": AT + 60, "nbf": AT + 61}, NOW)
    check_times({"iat": AT, "exp": AT + 60, "nbf": AT + 59}, NOW)


def test_oldest_limits_the_age_whatever_the_token_says() -> None:
    claims: dict[str, object] = {"iat": AT, "exp": AT + 10**8}
    check_times(claims, NOW + timedelta(seconds=179), oldest=120)
    with pytest.raises(InvalidToken, match="too long ago"):
        check_times(claims, NOW + timedelta(seconds=180), oldest=120)


@pytest.mark.parametrize("value", [None, "", 13, ["x"], "x" * 256, "a\0b", "a\nb"])
def test_texts_of_claims(value: object) -> None:
    assert text_claim({"sub": "x" * 255}, "sub") == "x" * 255
    with pytest.raises(InvalidToken, match="sub"):
        text_claim({} if value is None else {"sub": value}, "sub")


def test_a_sealed_key_opens_with_its_secret_only() -> None:
    sealed = KEY.sealed("the hub's secret")
    assert PrivateKey.unsealed(sealed, "the hub's secret").kid == KEY.kid
    parts = [base64.urlsafe_b64decode(part + "==") for part in sealed.split(".")]
    assert not any(b'"kty"' in part for part in parts), "as the key's JSON has it"
    for text, secret in ((sealed, "another"), (sealed[:-2], "the hub's secret"), ("", "x")):
        with pytest.raises(InvalidInput, match="cannot be decrypted"):
            PrivateKey.unsealed(text, secret)


@pytest.mark.parametrize(
    "text", ["[" * 2900, '"alg"', '["alg"]', '"alg b64"', "null", '{"alg":"RS256"', "{}"]
)
def test_a_header_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        verify(f"{encoded(text)}.e30.AAAA", KEYS, algorithms=["RS256"])

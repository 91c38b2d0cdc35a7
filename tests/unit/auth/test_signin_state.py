"""auth.external_signin: the cookie of a sign-in under way."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest

from mograder.auth.external_signin import (
    LIFETIME,
    Flow,
    clear_cookie_header,
    cookie_name,
    cookies_of,
    is_state,
    make,
    new_state,
    read,
    set_cookie_header,
)
from tests.support.clock import ManualClock

NOW = ManualClock().now()
SECRET = "secret of the tests"
BEGUN = new_state(
    "oidc", issuer="https://login.test", client_id="hub", target="/edit/A1", now=NOW, login_id="x"
)


def test_a_sign_in_is_read_back() -> None:
    assert read(SECRET, make(SECRET, BEGUN), flow="oidc", state=BEGUN.state, now=NOW) == BEGUN
    assert is_state(BEGUN.state)
    assert len({BEGUN.state, BEGUN.nonce, BEGUN.verifier}) == 3


def test_a_sign_in_of_another_state_flow_or_secret_is_none() -> None:
    value = make(SECRET, BEGUN)
    assert read(SECRET, value, flow="lti", state=BEGUN.state, now=NOW) is None
    assert read(SECRET, value, flow="oidc", state=BEGUN.nonce, now=NOW) is None
    assert read(SECRET, value, flow="oidc", state="é", now=NOW) is None
    assert read("another", value, flow="oidc", state=BEGUN.state, now=NOW) is None


@pytest.mark.parametrize("seconds", [-120, LIFETIME, LIFETIME + 1])
def test_a_sign_in_of_another_time_is_none(seconds: int) -> None:
    value, now = make(SECRET, BEGUN), NOW + timedelta(seconds=seconds)
    assert read(SECRET, value, flow="oidc", state=BEGUN.state, now=now) is None


@pytest.mark.parametrize("value", ["", ".", "x", "é.é", "x." + "0" * 64, "x" * 9000])
def test_damaged_values_are_none(value: str) -> None:
    assert read(SECRET, value, flow="oidc", state=BEGUN.state, now=NOW) is None


def test_a_changed_payload_is_none() -> None:
    other = make(SECRET, replace(BEGUN, target="https://evil.test"))
    mac = make(SECRET, BEGUN).partition(".")[2]
    value = f"{other.partition('.')[0]}.{mac}"
    assert read(SECRET, value, flow="oidc", state=BEGUN.state, now=NOW) is None


@pytest.mark.parametrize(
    ("secure", "prefix", "start"),
    [(False, "", "mograder_"), (True, "", "__Host-mograder_"), (True, "/a", "__Secure-mograder_")],
)
def test_names_have_the_prefixes_of_the_login(secure: bool, prefix: str, start: str) -> None:
    name = cookie_name(BEGUN.state, secure=secure, prefix=prefix)
    assert name.startswith(f"{start}signin_")
    assert BEGUN.state[:8] not in name
    assert name != cookie_name(BEGUN.nonce, secure=secure, prefix=prefix)


def test_attributes_let_the_answer_of_each_flow_bring_the_cookie() -> None:
    ends = {
        flow: set_cookie_header("n", "v", flow=flow, path="/", secure=True).partition("=600; ")[2]
        for flow in get_args(Flow)
    }
    assert ends == {"oidc": "SameSite=Lax; Secure", "lti": "SameSite=None; Secure; Partitioned"}
    plain = set_cookie_header("n", "v", flow="lti", path="/", secure=False)
    assert plain.endswith("SameSite=None; Secure; Partitioned")  # for trials on one machine
    gone = clear_cookie_header("n", flow="lti", path="/", secure=True)
    assert gone == "n=; Path=/; HttpOnly; Max-Age=0; SameSite=None; Secure; Partitioned"


def test_cookies_of_a_request() -> None:
    headers = [
        (b"cookie", b"a=1; mograder_signin_aa=x.y; mograder_signin_bb=1; mograder_signin_bb=2"),
        (b"cookie", b"__Host-mograder_signin_cc=z"),
        (b"x-cookie", b"mograder_signin_dd=z"),
    ]
    assert cookies_of(headers) == {"mograder_signin_aa": "x.y", "__Host-mograder_signin_cc": "z"}


def test_a_request_with_very_many_cookies_takes_no_time() -> None:
    """Anybody may send them, and they are read on the event loop."""
    many = "; ".join(f"mograder_signin_{number}=" for number in range(20_000)).encode()
    began = time.process_time()
    assert len(cookies_of([(b"cookie", many)])) == 20_000
    assert time.process_time() - began < 1

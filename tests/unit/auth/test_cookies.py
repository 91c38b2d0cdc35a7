"""The login cookie: B131, compatibility-0.3.16.md 2.1, security.md, "Who is asking"."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.auth.credentials import (
    LIFETIME,
    Login,
    Role,
    clear_cookie_header,
    cookie_name,
    cookies_in,
    make_cookie,
    make_token,
    new_login_id,
    read_cookie,
    set_cookie_header,
    verify_token,
)
from mograder.core.errors import InvalidInput
from mograder.core.names import INSTRUCTOR

SECRET = "a secret of the hub"
NOW = datetime(2026, 9, 1, 9, 0, tzinfo=UTC)
ALICE = Login("alice", Role.STUDENT, "login-id-of-alice", int(NOW.timestamp()), 0)


def test_a_cookie_gives_back_the_login_that_it_was_made_for() -> None:
    for login in (ALICE, replace(ALICE, username=INSTRUCTOR, role=Role.INSTRUCTOR, epoch=4)):
        assert read_cookie(SECRET, make_cookie(SECRET, login), NOW) == login


@pytest.mark.parametrize(
    ("age", "good"), [(0, True), (LIFETIME - 1, True), (LIFETIME, False), (-59, True), (-61, False)]
)
def test_a_cookie_lasts_a_day_and_never_comes_from_the_future(age: int, good: bool) -> None:
    value = make_cookie(SECRET, ALICE)
    assert (read_cookie(SECRET, value, NOW + timedelta(seconds=age)) is not None) is good


def test_a_cookie_of_an_earlier_hub_still_counts_after_an_upgrade() -> None:
    value = (
        "YWxpY2UAc3R1ZGVudAAxMDAwAGFiY2RlZmdoaWprbG1ub3AAMg."
        "cdd7d4331593a33aaca2f824a27e19cab5f72bec808a6ab387f564fe99e233b1"
    )
    login = Login("alice", Role.STUDENT, "abcdefghijklmnop", 1000, 2)
    assert read_cookie("s" * 32, value, datetime.fromtimestamp(1000, UTC)) == login
    assert make_cookie("s" * 32, login) == value


def test_a_cookie_of_another_secret_or_of_0_3_16_proves_nothing() -> None:
    assert read_cookie("another secret", make_cookie(SECRET, ALICE), NOW) is None
    old = urlsafe_b64encode(f"alice:{ALICE.issued}:{'0' * 64}".encode()).decode()
    assert read_cookie(SECRET, old, NOW) is None


def test_a_token_is_never_a_cookie_and_a_cookie_never_a_token() -> None:
    token = make_token(SECRET, "alice")
    payload, _, mac = make_cookie(SECRET, ALICE).partition(".")
    assert read_cookie(SECRET, token, NOW) is None
    assert read_cookie(SECRET, f"{payload}.{token.partition(':')[2]}", NOW) is None
    assert verify_token(SECRET, f"{payload}:{mac}", lambda _: 0) is None


@given(position=st.integers(0, 400), character=st.characters(codec="ascii"))
def test_a_changed_cookie_proves_nothing(position: int, character: str) -> None:
    value = make_cookie(SECRET, ALICE)
    position %= len(value)
    changed = value[:position] + character + value[position + 1 :]
    if changed != value:
        assert read_cookie(SECRET, changed, NOW) is None


@given(st.text(max_size=200))
def test_no_text_breaks_reading(text: str) -> None:
    assert read_cookie(SECRET, text, NOW) is None


def test_names_and_ids_outside_their_grammar_get_no_cookie() -> None:
    for wrong in (
        replace(ALICE, username="alice\0instructor"),
        replace(ALICE, username="__admin__"),
        replace(ALICE, login_id="short"),
        replace(ALICE, login_id="a-login-id; Path=/"),
    ):
        with pytest.raises(InvalidInput):
            make_cookie(SECRET, wrong)
    with pytest.raises(InvalidInput):
        make_cookie("", ALICE)


def test_login_ids_differ_and_fit_a_cookie() -> None:
    ids = {new_login_id() for _ in range(100)}
    assert len(ids) == 100
    assert make_cookie(SECRET, replace(ALICE, login_id=ids.pop()))


def test_the_cookies_name_is_as_strict_as_the_place_allows() -> None:
    assert cookie_name(secure=True, prefix="") == "__Host-mograder_session"
    assert cookie_name(secure=True, prefix="/live/hub") == "__Secure-mograder_session"
    assert cookie_name(secure=False, prefix="") == "mograder_session"
    assert cookie_name(secure=False, prefix="/live/hub") == "mograder_session"


def test_a_name_that_another_host_could_set_is_another_name() -> None:
    """Browsers guard the prefix ``__Host-`` only where the name begins with it."""
    names = [space + b"__Host-mograder_session=x" for space in (b"\xa0", b"\x85", b"\x1c", b"\x0b")]
    found = dict(cookies_in([(b"cookie", b"; ".join([*names, b"other = 1\t"]))]))
    assert "__Host-mograder_session" not in found
    assert found["other"] == "1"


def test_b131_the_set_cookie_header_is_the_documented_one() -> None:
    plain = set_cookie_header("mograder_session", "V", path="/", secure=False, max_age=86400)
    assert plain == "mograder_session=V; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400"
    secure = set_cookie_header("__Host-x", "V", path="/", secure=True, max_age=1)
    assert secure.endswith("; Secure")
    assert "Max-Age=0" in clear_cookie_header("mograder_session", path="/hub", secure=True)

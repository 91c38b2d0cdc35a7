"""Who is asking: B130, B131, B134, compatibility-0.3.16.md 2.1, security.md, "Who is asking"."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mograder.auth.credentials import COOKIE, Login, Role, make_cookie, make_token
from mograder.auth.identity import (
    Authenticator,
    AuthPolicy,
    Identity,
    Method,
    parse_networks,
    trusted_peers,
)
from mograder.core.errors import InvalidInput
from mograder.core.names import INSTRUCTOR
from tests.support.clock import ManualClock

SECRET = "a secret of the hub"
PROXY = "10.0.0.1"
STRANGER = "192.0.2.7"
POLICY = AuthPolicy(
    secret=SECRET,
    trusted_header="X-Remote-User",
    trusted=parse_networks(["10.0.0.0/24", "::1"]),
    dev=False,
    instructors=frozenset({"prof"}),
)
CLOCK = ManualClock()


@dataclass
class Taken:
    """Revocations, in memory."""

    epochs: dict[str, int] = field(default_factory=dict)
    logins: set[str] = field(default_factory=set)

    def epoch(self, username: str) -> int:
        return self.epochs.get(username, 0)

    def login_revoked(self, login_id: str) -> bool:
        return login_id in self.logins


def ask(
    *headers: tuple[str, str],
    client: str | None = STRANGER,
    policy: AuthPolicy = POLICY,
    taken: Taken | None = None,
    host_known: bool = True,
) -> Identity | None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    authenticator = Authenticator(policy, taken or Taken(), CLOCK)
    return authenticator.identify(raw, client, cookie=COOKIE, host_known=host_known)


def known(*headers: tuple[str, str], **more: Any) -> Identity:
    """Return whose request it is, which somebody's has to be."""
    found = ask(*headers, **more)
    assert found is not None
    return found


def kept(found: Identity) -> tuple[str, str]:
    """Return the cookie that an identity brings."""
    assert found.fresh is not None
    return ("cookie", f"{COOKIE}={make_cookie(SECRET, found.fresh)}")


def login(username: str = "alice", role: Role = Role.STUDENT, epoch: int = 0) -> Login:
    return Login(username, role, f"login-id-of-{username}", int(CLOCK.now().timestamp()), epoch)


def cookie(username: str = "alice", role: Role = Role.STUDENT, epoch: int = 0) -> tuple[str, str]:
    value = make_cookie(SECRET, login(username, role, epoch))
    return ("cookie", f"theme=dark; {COOKIE}={value}; other=1")


def remote(name: str) -> tuple[str, str]:
    return ("x-remote-user", name)


def bearer(username: str, role: Role = Role.STUDENT) -> tuple[str, str]:
    return ("authorization", f"Bearer {make_token(SECRET, username, role)}")


def test_b130_a_request_without_credentials_is_nobodys() -> None:
    assert ask() is None
    assert ask(("cookie", "theme=dark")) is None


def test_b130_each_credential_alone_identifies() -> None:
    assert ask(cookie()) == Identity(
        "alice", Role.STUDENT, Method.COOKIE, "login-id-of-alice", None
    )
    assert ask(bearer("alice")) == Identity("alice", Role.STUDENT, Method.BEARER, "", None)
    found = known(remote("alice"), client=PROXY)
    assert (found.username, found.role, found.method) == ("alice", Role.STUDENT, Method.HEADER)


def test_b130_the_cookie_wins_over_an_agreeing_header_and_keeps_its_login() -> None:
    found = known(cookie(), remote("alice"), client=PROXY)
    assert found.method is Method.COOKIE
    assert found.fresh is None


def test_the_header_and_dev_mode_count_under_no_name_that_another_site_may_have() -> None:
    dev = replace(POLICY, dev=True)
    for policy, client in ((POLICY, PROXY), (dev, PROXY), (dev, STRANGER)):
        with pytest.raises(InvalidInput, match="at its own name"):
            ask(remote("prof"), client=client, policy=policy, host_known=False)
    with pytest.raises(InvalidInput, match="lets everybody in"):
        ask(policy=dev, host_known=False)
    # These no page of another site has.
    assert ask(cookie(), host_known=False) is not None
    assert ask(bearer("alice"), host_known=False) is not None
    assert ask(remote(""), client=PROXY, host_known=False) is None
    assert ask(remote("prof"), client=STRANGER, host_known=False) is None


def test_a_cookie_that_contradicts_the_trusted_header_is_stale() -> None:
    found = known(cookie("alice", Role.INSTRUCTOR), remote("bob"), client=PROXY)
    assert (found.username, found.role, found.method) == ("bob", Role.STUDENT, Method.HEADER)
    assert found.fresh is not None


def test_an_untrusted_header_neither_identifies_nor_contradicts() -> None:
    assert ask(remote("bob")) is None
    found = known(cookie(), remote("bob"))
    assert found.username == "alice"


def test_b130_the_header_wins_over_a_bearer_token() -> None:
    found = known(remote("alice"), bearer(INSTRUCTOR, Role.INSTRUCTOR), client=PROXY)
    assert (found.username, found.method) == ("alice", Method.HEADER)


def test_b131_the_first_header_login_brings_a_cookie_that_then_identifies() -> None:
    found = known(remote("alice"), client=PROXY)
    assert known(kept(found)) == replace(found, method=Method.COOKIE, fresh=None)


def test_a_bearer_request_never_counts_its_cookies() -> None:
    found = known(cookie("prof", Role.INSTRUCTOR), bearer("alice"))
    assert (found.username, found.role, found.method) == ("alice", Role.STUDENT, Method.BEARER)
    assert ask(cookie(), ("authorization", "Bearer alice:nonsense")) is None
    assert ask(cookie(), ("authorization", "Bearer")) is None
    assert ask(cookie(), ("authorization", "bearer ")) is None


def test_a_foreign_bearer_token_does_not_disturb_a_trusted_front() -> None:
    """Fronts that pass their own OIDC token on; the login continues, its role does not count."""
    foreign = ("authorization", "Bearer eyJhbGciOi.J9.x")
    found = ask(cookie("alice", Role.INSTRUCTOR), remote("alice"), foreign, client=PROXY)
    assert found == Identity("alice", Role.STUDENT, Method.HEADER, "login-id-of-alice", None)


def test_a_fronts_basic_login_is_not_a_bearer_token() -> None:
    found = known(cookie(), ("authorization", "Basic YWxpY2U6cHc="))
    assert found.method is Method.COOKIE


def test_b134_listed_instructors_are_instructors_however_they_come() -> None:
    for headers in ([cookie("prof")], [bearer("prof")], [remote("prof")]):
        found = known(*headers, client=PROXY)
        assert found.role is Role.INSTRUCTOR


def test_a_listed_instructor_loses_the_role_when_taken_off_the_list() -> None:
    found = known(remote("prof"), client=PROXY)
    later = known(kept(found), policy=replace(POLICY, instructors=frozenset()))
    assert later.role is Role.STUDENT


def test_the_role_of_an_instructors_token_lives_on_in_the_cookie() -> None:
    found = known(cookie("carol", Role.INSTRUCTOR), policy=replace(POLICY, instructors=frozenset()))
    assert found.role is Role.INSTRUCTOR


def test_revoked_logins_and_old_epochs_prove_nothing() -> None:
    assert ask(cookie(), taken=Taken(logins={"login-id-of-alice"})) is None
    assert ask(cookie(), taken=Taken(epochs={"alice": 1})) is None
    assert ask(bearer("alice"), taken=Taken(epochs={"alice": 1})) is None
    assert ask(cookie(epoch=1), taken=Taken(epochs={"alice": 1})) is not None
    again = Taken(epochs={"alice": 2})
    found = known(remote("alice"), client=PROXY, taken=again)
    assert known(kept(found), taken=again).username == "alice"


@pytest.mark.parametrize(
    "name", [INSTRUCTOR, "__admin__", "alice, bob", "../alice", "a/b", "(null)", "a" * 300, "a b"]
)
def test_reserved_and_malformed_names_in_the_header_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        ask(remote(name), client=PROXY)


def test_a_name_that_is_not_utf_8_is_refused() -> None:
    authenticator = Authenticator(POLICY, Taken(), CLOCK)
    with pytest.raises(InvalidInput):
        authenticator.identify([(b"x-remote-user", b"\xff")], PROXY, cookie=COOKIE, host_known=True)


def test_repeated_credentials_are_refused() -> None:
    for headers in (
        [remote("alice"), remote("alice")],
        [cookie(), cookie()],
        [bearer("alice"), bearer("alice")],
    ):
        with pytest.raises(InvalidInput):
            ask(*headers, client=PROXY)


@pytest.mark.parametrize("own_first", [True, False])
def test_the_login_cookie_of_another_hub_of_this_host_does_not_count(*, own_first: bool) -> None:
    """Browsers send both to a hub at /stats, if the other is at /."""
    other = ("cookie", f"{COOKIE}={make_cookie(SECRET[::-1], login('mallory'))}")
    found = ask(*([cookie(), other] if own_first else [other, cookie()]))
    assert found is not None
    assert found.username == "alice"
    assert ask(other, other) is None
    with pytest.raises(InvalidInput, match="two login cookies"):
        ask(cookie(), other, cookie("carol"))


def test_a_name_that_unicode_turns_into_another_is_refused() -> None:
    found = known(remote("j\u00fcrgen"), client=PROXY)
    assert found.username == "j\u00fcrgen"
    for name in ("ju\u0308rgen", "\u212aate"):
        with pytest.raises(InvalidInput, match="another way to write"):
            ask(remote(name), client=PROXY)


def test_only_the_cookie_name_in_force_counts() -> None:
    value = make_cookie(SECRET, login())
    assert ask(("cookie", f"__Host-{COOKIE}={value}; x{COOKIE}={value}")) is None


def test_b130_dev_mode_believes_the_header_from_anywhere_and_else_makes_a_guest() -> None:
    dev = replace(POLICY, dev=True)
    named = known(remote("alice"), policy=dev)
    assert (named.username, named.method) == ("alice", Method.DEV)
    guest = known(policy=dev)
    assert re.fullmatch(r"guest-[0-9a-f]{4}", guest.username)
    assert known(kept(guest), policy=dev).username == guest.username
    assert ask(("authorization", "Bearer alice:nonsense"), policy=dev) is None


def test_a_login_given_away_in_dev_mode_is_worth_nothing_to_a_real_hub() -> None:
    assert ask(kept(known(remote("prof"), policy=replace(POLICY, dev=True)))) is None


@pytest.mark.parametrize(
    ("client", "trusted"),
    [
        ("10.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("::1", True),
        ("10.0.1.1", False),
        ("127.0.0.1", False),
        ("testclient", False),
        ("", False),
        (None, False),
    ],
)
def test_trust_follows_the_peers_address(client: str | None, trusted: bool) -> None:
    assert POLICY.trusts(client) is trusted


def test_by_default_loopback_is_trusted_while_sessions_are_sandboxed_and_nobody_otherwise() -> None:
    policy = replace(POLICY, trusted=trusted_peers(None, sandboxed=True))
    assert policy.trusts("127.0.0.1")
    assert policy.trusts("::1")
    assert not policy.trusts(STRANGER)
    assert trusted_peers(None, sandboxed=False) == ()
    assert trusted_peers(["10.0.0.0/8"], sandboxed=False) == parse_networks(["10.0.0.0/8"])
    for name in ("nowhere", "unix"):
        with pytest.raises(InvalidInput, match=name):
            parse_networks([name])


def test_an_empty_trusted_header_matches_no_header() -> None:
    policy = replace(POLICY, trusted_header="")
    assert ask(remote("alice"), client=PROXY, policy=policy) is None


def test_what_clients_send_themselves_never_names_the_user() -> None:
    policy = replace(POLICY, trusted_header="Authorization")
    assert ask(("authorization", "alice"), client=PROXY, policy=policy) is None


def test_a_policy_without_a_secret_cannot_be_made_nor_shows_it() -> None:
    with pytest.raises(InvalidInput):
        replace(POLICY, secret="")
    assert SECRET not in repr(POLICY)


@pytest.mark.parametrize("header", ["token", "proxy"])
def test_a_marker_is_named_by_the_policy_whatever_the_credential(header: str) -> None:
    policy = replace(POLICY, markers=frozenset({"marta", "prof"}))
    for user, role in [
        ("marta", Role.MARKER),
        ("prof", Role.INSTRUCTOR),
        ("alice", Role.STUDENT),
    ]:
        if header == "token":
            found = known(bearer(user), policy=policy)
        else:
            found = known(remote(user), client=PROXY, policy=policy)
        assert found.role is role
        assert found.fresh is None or found.fresh.role is Role.STUDENT  # no cookie proves more


def test_an_instructors_token_stays_one_for_a_listed_marker() -> None:
    policy = replace(POLICY, markers=frozenset({"marta"}))
    found = known(bearer("marta", Role.INSTRUCTOR), policy=policy)
    assert found.role is Role.INSTRUCTOR

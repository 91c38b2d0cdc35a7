"""Tokens: B105, B130, compatibility-0.3.16.md 1, security.md, "Who is asking"."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.auth.credentials import CREDENTIAL_ROLES, Claims, Role, make_token, verify_token
from mograder.core.errors import InvalidInput
from mograder.core.names import INSTRUCTOR

SECRET = "5e" * 32
USERNAMES = st.from_regex(r"[a-z0-9äß][a-z0-9_äß+-]{0,20}", fullmatch=True)


def never_revoked(_: str) -> int:
    return 0


def old_token(username: str, secret: str = SECRET) -> str:
    """Make a token as 0.3.16 does."""
    mac = hmac.new(secret.encode(), username.encode(), hashlib.sha256).hexdigest()
    return f"{username}:{mac}"


def test_b105_a_students_token_is_the_one_that_0_3_16_makes() -> None:
    assert make_token(SECRET, "alice") == old_token("alice")
    # The key is the secret's text, not the bytes that its hex digits stand for.
    assert make_token("ff", "alice") == old_token("alice", "ff")


def test_b130_tokens_of_0_3_16_verify_the_shared_instructors_included() -> None:
    assert verify_token(SECRET, old_token("alice"), never_revoked) == Claims("alice", Role.STUDENT)
    assert verify_token(SECRET, old_token(INSTRUCTOR), never_revoked) == Claims(
        INSTRUCTOR, Role.INSTRUCTOR
    )
    assert make_token(SECRET, INSTRUCTOR, Role.INSTRUCTOR) == old_token(INSTRUCTOR)


def test_b105_a_named_instructors_token_carries_name_and_role() -> None:
    token = make_token(SECRET, "admin", Role.INSTRUCTOR)
    assert token.startswith("admin:")
    assert verify_token(SECRET, token, never_revoked) == Claims("admin", Role.INSTRUCTOR)


def test_a_raised_epoch_revokes_old_tokens_of_this_user_only() -> None:
    epochs = {"alice": 3, INSTRUCTOR: 1}

    def epoch_of(username: str) -> int:
        return epochs.get(username, 0)

    for role in CREDENTIAL_ROLES:
        assert verify_token(SECRET, make_token(SECRET, "alice", role), epoch_of) is None
        assert verify_token(SECRET, make_token(SECRET, "alice", role, 2), epoch_of) is None
        fresh = make_token(SECRET, "alice", role, 3)
        assert verify_token(SECRET, fresh, epoch_of) == Claims("alice", role)
    assert verify_token(SECRET, old_token(INSTRUCTOR), epoch_of) is None
    assert verify_token(SECRET, old_token("bob"), epoch_of) == Claims("bob", Role.STUDENT)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ":",
        "alice",
        "alice:",
        "alice:nonsense",
        ":" + old_token("").partition(":")[2],
        old_token("alice").replace("alice", "bob"),
        old_token("alice").upper().replace("ALICE", "alice"),
        old_token("alice") + "0",
        old_token("alice") + "\n",
        old_token("alice", "another secret"),
        old_token("__admin__"),
        old_token("a/b"),
        old_token("\u212aate"),
        old_token("Kate").replace("K", "\u212a"),
        old_token("../alice"),
        old_token("alice:bob"),
        "alice:" + "ä" * 64,
        "alice:\udcff",
        "a" * 100_000 + ":" + "0" * 64,
    ],
)
def test_what_is_not_a_token_proves_nothing(token: str) -> None:
    assert verify_token(SECRET, token, never_revoked) is None


def test_the_mac_of_one_message_is_never_good_for_another() -> None:
    """Token confusion: renaming the holder of a token gains neither a role nor an epoch."""
    macs = {
        make_token(SECRET, name, role, epoch).partition(":")[2]
        for name in ("alice", "student", "instructor", "1", "0")
        for role in CREDENTIAL_ROLES
        for epoch in (0, 1, 10)
    }
    assert len(macs) == 5 * 2 * 3
    student = make_token(SECRET, "alice").partition(":")[2]
    assert verify_token(SECRET, f"{INSTRUCTOR}:{student}", never_revoked) is None


@pytest.mark.parametrize(
    "message",
    ["\0mograder-token\0instructor\x000\0alice", "instructor\0alice", "alice\0instructor"],
)
def test_a_username_cannot_spell_another_kind_of_message(message: str) -> None:
    with pytest.raises(InvalidInput):
        make_token(SECRET, message)
    assert verify_token(SECRET, old_token(message), never_revoked) is None


def test_reserved_names_get_no_tokens_but_the_shared_instructors() -> None:
    for name, role in [("__admin__", Role.INSTRUCTOR), (INSTRUCTOR, Role.STUDENT)]:
        with pytest.raises(InvalidInput):
            make_token(SECRET, name, role)


def test_an_empty_secret_makes_and_verifies_nothing() -> None:
    with pytest.raises(InvalidInput):
        make_token("", "alice")
    with pytest.raises(InvalidInput):
        verify_token("", old_token("alice", ""), never_revoked)


@given(username=USERNAMES, role=st.sampled_from(CREDENTIAL_ROLES), epoch=st.integers(0, 10**9))
def test_every_token_says_what_it_was_made_for_and_nothing_else(
    username: str, role: Role, epoch: int
) -> None:
    token = make_token(SECRET, username, role, epoch)
    assert verify_token(SECRET, token, lambda _: epoch) == Claims(token.partition(":")[0], role)
    assert verify_token(SECRET, token, lambda _: epoch + 1) is None
    assert verify_token(SECRET + "x", token, lambda _: epoch) is None


@given(st.text(max_size=300))
def test_no_text_breaks_verification(text: str) -> None:
    assert verify_token(SECRET, text, never_revoked) is None


def test_there_is_no_token_for_a_marker() -> None:
    """Markers are named in settings, not by credentials."""
    with pytest.raises(InvalidInput, match="no token for the role marker"):
        make_token(SECRET, "marta", Role.MARKER)

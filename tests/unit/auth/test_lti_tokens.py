"""Every made-up id_token of ``tests/data/lti/tokens.jsonl`` has its outcome."""

from __future__ import annotations

import pytest

from mograder.auth.jose import UnknownKey, verify
from mograder.auth.lti_claims import Launch, launch_of, role_on_hub
from mograder.auth.roles import Role
from mograder.core.errors import MograderError
from mograder.core.external_settings import LtiPlatform
from mograder.core.names import Username
from tests.support.lti_tokens import (
    HUB,
    NOW,
    OTHER,
    PLATFORM,
    TOKENS,
    MadeUp,
    key_set,
)

NAMES = [each for each in TOKENS if each.name.startswith("user name ")]
ROLES = [each for each in TOKENS if each.accepted and each.name.startswith("roles: ")]


def opened(token: MadeUp, platform: LtiPlatform) -> Launch:
    """The launch of a token, as the hub finds it: with the keys fetched a second time."""
    first = "other-platform" if platform is OTHER else "platform"
    try:
        claims = verify(token.token, key_set(first), algorithms={"RS256"})
    except UnknownKey:
        second = "other-platform" if platform is OTHER else "platform.rotated"
        claims = verify(token.token, key_set(second), algorithms={"RS256"})
    return launch_of(claims, platform, nonce="nonce-for-tests", now=NOW, own_url=HUB)


def platform_for(token: MadeUp) -> LtiPlatform:
    """The platform at which the launch began."""
    return OTHER if token.name.startswith("other platform") else PLATFORM


def refused_by_name(token: MadeUp) -> bool:
    """Whether only the name is refused, which is not the token's own fault."""
    return token in NAMES or token.name == "another sub, the name alice"


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token.name[:60])
def test_each_made_up_token_has_its_outcome(token: MadeUp) -> None:
    if token.accepted or refused_by_name(token):
        assert opened(token, platform_for(token)).subject
        return
    with pytest.raises(MograderError):
        opened(token, platform_for(token))


def test_the_made_up_tokens_are_all_there() -> None:
    assert len(TOKENS) == 86
    assert len(NAMES) == 9
    assert len(ROLES) == 11


@pytest.mark.parametrize("token", NAMES, ids=lambda token: token.name)
def test_names_are_told_unchanged_to_the_one_grammar(token: MadeUp) -> None:
    told = opened(token, PLATFORM).username
    assert told == token.changed["https://purl.imsglobal.org/spec/lti/claim/ext"]["user_username"]
    assert (Username.valid(told) is not None) == token.accepted


@pytest.mark.parametrize("token", ROLES, ids=lambda token: token.name)
def test_only_roles_in_the_course_count(token: MadeUp) -> None:
    outcomes = {
        "instructor": Role.INSTRUCTOR,
        "student": Role.STUDENT,
        "by [lti] assistants": Role.MARKER,
        "": Role.STUDENT,
    }
    assert opened(token, PLATFORM).role is outcomes[token.name.partition(" → ")[2]]


def test_roles_become_the_hubs_only_by_its_settings() -> None:
    teachers = PLATFORM.model_copy(update={"teachers": True})
    assistants = PLATFORM.model_copy(update={"assistants": True})
    assert role_on_hub(Role.INSTRUCTOR, PLATFORM) is Role.STUDENT
    assert role_on_hub(Role.INSTRUCTOR, teachers) is Role.INSTRUCTOR
    assert role_on_hub(Role.INSTRUCTOR, assistants) is Role.STUDENT
    assert role_on_hub(Role.MARKER, teachers) is Role.STUDENT
    assert role_on_hub(Role.MARKER, assistants) is Role.MARKER
    assert role_on_hub(Role.STUDENT, teachers) is Role.STUDENT

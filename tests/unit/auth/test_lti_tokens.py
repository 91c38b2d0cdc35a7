"""Every made-up id_token of ``tests/data/lti/tokens.jsonl`` has its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mograder.auth.credentials import Role
from mograder.auth.jose import InvalidToken, KeySet, UnknownKey, verify
from mograder.auth.lti_addresses import addresses_of
from mograder.auth.lti_claims import (
    Launch,
    Message,
    PickedItem,
    PickHandle,
    answer_claims,
    is_own_address,
    launch_of,
    role_on_hub,
)
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.item_dates import NO_DATES, ItemDates
from mograder.core.names import Username
from mograder.core.sections.settings_model import LtiPlatform
from tests.support.lti.tokens import (
    AGS,
    DEEP_LINKING,
    LTI,
    NONCE,
    NOW,
    OTHER,
    PLATFORM,
    Made,
    keys,
    made_tokens,
    recording,
)
from tests.support.lti.tokens import RECORDED_HUB as HUB

TOKENS = made_tokens()
BY_NAME = {each.name: each for each in TOKENS}
NAMES = [each for each in TOKENS if each.name.startswith("user name ")]
ROLES = [each for each in TOKENS if each.accept and each.name.startswith("roles: ")]


def key_set(name: str) -> KeySet:
    """Return the public keys of a file of keys, such as "platform"."""
    return KeySet.parse(keys(name))


def opened(token: Made, platform: LtiPlatform) -> Launch:
    """The launch of a token, as the hub finds it: with the keys fetched a second time."""
    first = "other-platform" if platform is OTHER else "platform"
    try:
        claims = verify(token.token, key_set(first), algorithms={"RS256"})
    except UnknownKey:
        second = "other-platform" if platform is OTHER else "platform.rotated"
        claims = verify(token.token, key_set(second), algorithms={"RS256"})
    return launched(claims, platform)


def launched(claims: Mapping[str, object], platform: LtiPlatform = PLATFORM) -> Launch:
    return launch_of(claims, platform, nonce=NONCE, now=NOW, own_url=HUB)


def platform_for(token: Made) -> LtiPlatform:
    """The platform at which the launch began."""
    return OTHER if token.name.startswith("other platform") else PLATFORM


def refused_by_name(token: Made) -> bool:
    """Whether only the name is refused, which is not the token's own fault."""
    return token in NAMES or token.name == "another sub, the name alice"


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token.name[:60])
def test_each_made_up_token_has_its_outcome(token: Made) -> None:
    if token.accept or refused_by_name(token):
        assert opened(token, platform_for(token)).subject
        return
    with pytest.raises(MograderError):
        opened(token, platform_for(token))


def test_the_made_up_tokens_are_all_there() -> None:
    assert len(TOKENS) == 86
    assert len(NAMES) == 9
    assert len(ROLES) == 11


@pytest.mark.parametrize("token", NAMES, ids=lambda token: token.name)
def test_names_are_told_unchanged_to_the_one_grammar(token: Made) -> None:
    told = opened(token, PLATFORM).username
    assert told == token.changed[f"{LTI}ext"]["user_username"]
    assert (Username.valid(told) is not None) == token.accept


@pytest.mark.parametrize("token", ROLES, ids=lambda token: token.name)
def test_only_roles_in_the_course_count(token: Made) -> None:
    outcomes = {
        "instructor": Role.INSTRUCTOR,
        "student": Role.STUDENT,
        "by [lti] assistants": Role.MARKER,
        "": Role.STUDENT,
    }
    assert opened(token, PLATFORM).role is outcomes[token.name.partition(" → ")[2]]


@pytest.mark.parametrize("strange", [{}, [], 1, None])
def test_a_role_that_is_no_text_is_none(strange: object) -> None:
    claims = verify(ROLES[0].token, key_set("platform"), algorithms={"RS256"})
    found = launched(claims).role
    listed = claims[f"{LTI}roles"]
    assert isinstance(listed, list)
    changed = {**claims, f"{LTI}roles": [strange, *listed]}
    assert launched(changed).role is found


def test_roles_become_the_hubs_only_by_its_settings() -> None:
    teachers = PLATFORM.model_copy(update={"teachers": "all"})
    assistants = PLATFORM.model_copy(update={"assistants": True})
    assert role_on_hub(Role.INSTRUCTOR, PLATFORM) is Role.STUDENT
    assert role_on_hub(Role.INSTRUCTOR, teachers) is Role.INSTRUCTOR
    assert role_on_hub(Role.INSTRUCTOR, assistants) is Role.STUDENT
    assert role_on_hub(Role.MARKER, teachers) is Role.STUDENT
    assert role_on_hub(Role.MARKER, assistants) is Role.MARKER
    assert role_on_hub(Role.STUDENT, teachers) is Role.STUDENT


def test_service_addresses_of_other_servers_are_not_used() -> None:
    strange = opened(BY_NAME["service address of another host"], PLATFORM).services
    assert (strange.lineitem, strange.lineitems) == ("", "")
    assert strange.memberships.startswith("https://moodle.example.org/")
    assert strange.foreign == {"https://evil.example.org"}
    usual = opened(BY_NAME["good"], PLATFORM).services
    assert usual.foreign == frozenset()
    assert (
        usual.lineitems == "https://moodle.example.org/mod/lti/services.php/4/lineitems?type_id=1"
    )


def test_services_may_be_at_further_servers_that_the_settings_name() -> None:
    """Blackboard and a hosted Canvas sign people in at one host, and have courses at another."""
    school = "https://learn.uni.example"
    column = f"{school}/learn/api/v1/lti/courses/4/lineItems/1"
    told = {"lineitem": column, "lineitems": "https://evil.example.org/lineItems"}
    claims = claims_with(**{f"{AGS}claim/endpoint": told})
    found = launched(claims).services
    assert found.lineitem == ""
    assert found.foreign == {school, "https://evil.example.org"}
    more = PLATFORM.model_copy(update={"services": (f"{school}/",)})
    found = launched(claims, more).services
    assert (found.lineitem, found.lineitems) == (column, "")
    back = picking_with(deep_link_return_url=f"{school}/return")
    assert launched(back, more).picking is not None
    assert school in addresses_of(more).services
    assert school in addresses_of(more).frames
    assert school not in addresses_of(PLATFORM).frames


def test_a_further_server_must_have_a_usable_address() -> None:
    more = PLATFORM.model_copy(update={"services": ("http://learn.uni.example",)})
    with pytest.raises(InvalidInput, match="services of a learning platform"):
        addresses_of(more)


def test_what_a_teacher_writes_into_custom_values_is_a_wish_at_most() -> None:
    found = opened(BY_NAME["custom says role=Instructor"], PLATFORM)
    assert (found.role, found.username, found.item) == (Role.STUDENT, "alice", "A1")
    named = PLATFORM.model_copy(update={"username": "custom.username"})
    assert opened(BY_NAME["custom says role=Instructor"], named).username == "admin"


@pytest.mark.parametrize(
    ("custom", "dates"),
    [
        ({}, None),
        (
            {"due": "2026-12-01T18:00:00+01:00", "closes": "2026-12-08T12:00:00Z"},
            ItemDates(
                None,
                datetime(2026, 12, 1, 17, tzinfo=UTC),
                datetime(2026, 12, 8, 12, tzinfo=UTC),
            ),
        ),
        ({"opens": "$ResourceLink.available.startDateTime", "due": None, "closes": ""}, NO_DATES),
        ({"due": "2026-12-01T18:00:00", "closes": "soon", "opens": 5}, NO_DATES),
        ({"due": "0001-01-01T00:00:00+14:00", "closes": "9" * 5000}, NO_DATES),
    ],
)
def test_dates_are_read_where_the_platform_fills_them_in(
    custom: dict[str, object], dates: ItemDates | None
) -> None:
    assert launched(claims_with(**{f"{LTI}custom": custom})).dates == dates


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("ext.user_username", "alice"),
        ("lis.person_sourcedid", "ID597"),
        ("custom.username", "alice"),
        ("email", "alice@example.edu"),
        ("identities", ""),
    ],
)
def test_the_settings_say_which_claim_has_the_name(setting: str, name: str) -> None:
    platform = PLATFORM.model_copy(update={"username": setting})
    assert opened(TOKENS[0], platform).username == name


def claims_with(**changed: object) -> dict[str, object]:
    """The claims of the good token with changes; None takes a claim away."""
    good = verify(TOKENS[0].token, key_set("platform"), algorithms={"RS256"})
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


@pytest.mark.parametrize("missing", [None, "", "$User.username", 7, ["alice"]])
def test_a_missing_name_is_spelt_in_several_ways(missing: object) -> None:
    assert launched(claims_with(**{f"{LTI}ext": {"user_username": missing}})).username == ""


@pytest.mark.parametrize(
    "target",
    [
        "https://hub.example.org.evil.example.org/lti/launch",
        "https://hub.example.org@evil.example.org/lti/launch",
        "https:\\\\evil.example.org/lti/launch",
        "https://hub.example.org:444/lti/launch",
        "http://hub.example.org/lti/launch",
        "//hub.example.org/lti/launch",
        "/lti/launch",
        "https://hub.example.org\\@evil.example.org/",
        "https://user@hub.example.org/lti/launch",
        "javascript:alert(1)",
        "https://hub.example.org/lti/launch?" + "x" * 1000,
    ],
)
def test_a_link_leads_to_this_hub_only(target: str) -> None:
    with pytest.raises(InvalidToken):
        launched(claims_with(**{f"{LTI}target_link_uri": target}))


def test_a_hub_below_a_path_takes_links_below_that_path_only() -> None:
    assert is_own_address(f"{HUB}/live/lti/launch", f"{HUB}/live")
    assert is_own_address(f"{HUB}/live", f"{HUB}/live")
    assert not is_own_address(f"{HUB}/lively/lti/launch", f"{HUB}/live")
    assert not is_own_address(f"{HUB}/lti/launch", f"{HUB}/live")


@pytest.mark.parametrize(
    ("query", "item"), [("A2", "A2"), ("Übung 1", "Übung 1"), ("%C3%9Cbung%201", "Übung 1")]
)
def test_the_address_of_a_link_names_the_item_where_nothing_else_does(
    query: str, item: str
) -> None:
    address = f"{HUB}/lti/launch?item={query}"
    both = claims_with(**{f"{LTI}target_link_uri": address})
    only = claims_with(**{f"{LTI}target_link_uri": address, f"{LTI}custom": None})
    assert [launched(each).item for each in (both, only)] == ["A1-Introduction", item]


def test_another_audience_is_explained_with_the_activity_at_fault() -> None:
    with pytest.raises(InvalidToken, match=r"L1 frame.*link 1.*another client id"):
        launched(claims_with(aud="12345"))


def test_names_for_display_have_no_control_characters_and_an_end() -> None:
    claims = claims_with(name="A\x00\u202e\ud800" + "x" * 500)
    found = launched(claims).display_name
    assert found.startswith("A   xxx")
    assert len(found) == 200


def picking_with(**changed: object) -> dict[str, object]:
    """The claims of a recorded request for links at the clock of the tokens, with changes."""
    line = recording("moodle-deep-linking")[3]
    claims = dict(line["decoded"]["id_token"]["claims"])
    moment = int(NOW.timestamp())
    claims |= {"nonce": NONCE, "iat": moment, "exp": moment + 60}
    claims[SETTINGS] = {**claims[SETTINGS], **changed}
    return claims


SETTINGS = f"{DEEP_LINKING}deep_linking_settings"


def test_a_request_for_links_says_where_they_go() -> None:
    found = launched(picking_with())
    assert found.message is Message.PICK
    assert (found.role, found.resource_link) == (Role.INSTRUCTOR, "")
    assert found.picking is not None
    assert found.picking.return_url.startswith("https://moodle.example.org/mod/lti/content")
    assert (found.picking.data, found.picking.multiple) == (None, True)
    more = picking_with(data="its own", accept_multiple=False)
    picking = launched(more).picking
    assert picking is not None
    assert (picking.data, picking.multiple) == ("its own", False)


def test_a_request_for_links_needs_no_address_of_an_activity() -> None:
    """Deep Linking 2.0 does not list the claim, and ILIAS leaves it out."""
    claims = picking_with()
    del claims[f"{LTI}target_link_uri"]
    found = launched(claims)
    assert (found.message, found.item) == (Message.PICK, "")
    assert found.picking is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"deep_link_return_url": "https://evil.example.org/return"},
        {"deep_link_return_url": "http://moodle.example.org/return"},
        {"deep_link_return_url": "https://moodle.example.org@evil.example.org/"},
        {"deep_link_return_url": "javascript:alert(1)"},
        {"deep_link_return_url": None},
        {"accept_types": ["file"]},
        {"accept_types": "ltiResourceLink"},
        {"data": 7},
        {"data": "x" * 20_001},
    ],
)
def test_links_go_to_the_platform_only(changed: dict[str, object]) -> None:
    with pytest.raises(InvalidToken):
        launched(picking_with(**changed))


HANDLE = PickHandle("s", "https://moodle.test", "client", "1", "7", "back", "its own", True)


def test_the_answer_returns_the_platforms_own_data() -> None:
    assert answer_claims(HANDLE, [], NOW)[f"{DEEP_LINKING}data"] == "its own"
    assert f"{DEEP_LINKING}data" not in answer_claims(replace(HANDLE, data=None), [], NOW)


def test_an_item_without_marks_has_no_line_in_the_platforms_gradebook() -> None:
    picked = [PickedItem("A1", 10.0), PickedItem("A2", 0.0), PickedItem("L1", None)]
    found = answer_claims(HANDLE, picked, NOW)[f"{DEEP_LINKING}content_items"]
    assert isinstance(found, list)
    assert ["lineItem" in each for each in found] == [True, False, False]

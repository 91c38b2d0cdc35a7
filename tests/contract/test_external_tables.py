"""The tables of signing in by other systems, on each database.

Platforms, their activities and registrations, the hub's own keys, links of people, values for one
use, and providers' logins.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, update

from mograder.auth.jose import KeySet, verify
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.sections.settings_model import LtiSettings
from mograder.store.database.database import open_engine, reading
from mograder.store.external.external_people import (
    ExternalPeople,
    ProviderLogins,
    UsedStates,
    used_states,
)
from mograder.store.external.external_tables import (
    Link,
    has_platforms,
    lti_keys,
    lti_platforms,
    lti_registrations,
)
from mograder.store.external.lti_platforms import (
    LONGEST_USE,
    REGISTRATION_LIFE,
    UNREGISTERED,
    Keys,
    Links,
    Platforms,
    Registrations,
)
from tests.support.clock import ManualClock
from tests.support.hub_app import SECRET
from tests.support.lti.tokens import NOW, OTHER, PLATFORM
from tests.support.threads import at_once

LINK = Link(
    issuer=PLATFORM.issuer,
    client_id=PLATFORM.client_id,
    deployment="1",
    context="4",
    resource_link="7",
    item="A1",
    title="First steps",
    lineitem="https://moodle.example.org/mod/lti/services.php/4/lineitems/1/lineitem?type_id=1",
    lineitems="https://moodle.example.org/mod/lti/services.php/4/lineitems?type_id=1",
    seen_at=NOW,
)
MOODLE, ELSEWHERE = "https://moodle.test", "https://other.test"
SOON = NOW + timedelta(minutes=10)
INVITED = PLATFORM.model_copy(update={"client_id": UNREGISTERED, "roster": "allow"})


def test_platforms_of_the_settings_come_before_registered_ones(engine: Engine) -> None:
    platforms = Platforms(engine, LtiSettings(platform=(PLATFORM,)))
    assert not has_platforms(engine, NOW)
    platforms.put(OTHER, NOW)
    platforms.put(PLATFORM.model_copy(update={"courses": ("99",)}), NOW)
    assert has_platforms(engine, NOW)
    assert platforms.all() == (PLATFORM, OTHER)
    assert platforms.find(PLATFORM.issuer, PLATFORM.client_id) == PLATFORM
    assert platforms.find(PLATFORM.issuer, "another") is None
    assert platforms.remove(*OTHER.key)
    assert not platforms.remove(*OTHER.key)
    assert platforms.all() == (PLATFORM,)


def test_members_decide_also_where_a_registration_cannot_be_read(engine: Engine) -> None:
    platforms = Platforms(engine, LtiSettings(platform=(PLATFORM,)))
    platforms.put(OTHER, NOW)
    assert not platforms.decide()
    platforms.put(OTHER.model_copy(update={"roster": "allow"}), NOW)
    assert platforms.decide()
    with engine.begin() as connection:
        connection.execute(update(lti_platforms).values(settings='{"new": 1}'))
    assert platforms.decide()
    assert platforms.stored() == (OTHER.key,)
    assert not Platforms(engine, LtiSettings(platform=(OTHER,))).decide(), "the settings have it"
    assert platforms.remove(*OTHER.key)
    assert not platforms.decide()
    allow = LtiSettings(platform=(PLATFORM.model_copy(update={"roster": "allow"}),))
    assert Platforms(engine, allow).decide()


def test_an_activity_is_written_when_it_changes_or_was_not_seen_for_long(engine: Engine) -> None:
    links = Links(engine)
    links.saw(LINK)
    links.saw(replace(LINK, seen_at=NOW + timedelta(minutes=5)))
    assert links.all() == (LINK,)
    changed = replace(LINK, item="A2", seen_at=NOW + timedelta(minutes=6))
    links.saw(changed)
    assert links.all() == (changed,)
    later = replace(changed, seen_at=NOW + timedelta(hours=3))
    links.saw(later)
    assert links.all() == (later,)


def test_activities_of_two_courses_are_two(engine: Engine) -> None:
    links = Links(engine)
    links.saw(LINK)
    links.saw(replace(LINK, context="5", title="x" * 3000))
    assert {len(each.title) for each in links.all()} == {len(LINK.title), 1000}


def test_a_key_stays_published_for_thirty_days_after_it_was_replaced(engine: Engine) -> None:
    keys = Keys(engine, SECRET)
    first = keys.current(NOW)
    assert keys.current(NOW).kid == first.kid
    second = keys.rotate(NOW + timedelta(days=1))
    assert keys.current(NOW).kid == second.kid != first.kid

    def published(days: float) -> set[object]:
        return {each["kid"] for each in keys.public_set(NOW + timedelta(days=days))["keys"]}

    assert published(30) == {first.kid, second.kid}
    assert published(31) == {second.kid}
    keys.rotate(NOW + timedelta(days=40))
    assert first.kid not in {each.kid for each in keys.facts()}


def test_a_key_signs_for_a_year(engine: Engine) -> None:
    keys, end = Keys(engine, SECRET), NOW + LONGEST_USE
    first = keys.current(NOW).kid
    assert keys.current(end - timedelta(seconds=1)).kid == first
    assert keys.current(end).kid != first


def test_another_process_signs_with_the_same_key_until_one_of_them_rotates(engine: Engine) -> None:
    ours, theirs = Keys(engine, SECRET), Keys(engine, SECRET)
    assert ours.current(NOW).kid == theirs.current(NOW).kid
    rotated = theirs.rotate(NOW + timedelta(days=1))
    signed = ours.current(NOW + timedelta(days=1)).sign({"sub": "13"})
    public = KeySet.parse(ours.public_set(NOW + timedelta(days=1)))
    assert verify(signed, public, algorithms={"RS256"}) == {"sub": "13"}
    assert ours.current(NOW).kid == rotated.kid


def test_private_keys_are_neither_published_nor_stored_in_the_clear(engine: Engine) -> None:
    keys = Keys(engine, SECRET)
    key = keys.current(NOW)
    (public,) = keys.public_set(NOW)["keys"]
    assert public["kid"] == key.kid
    assert public.keys() == {"kty", "n", "e", "use", "alg", "kid"}
    with reading(engine) as connection:
        (row,) = connection.execute(select(lti_keys)).all()
    assert row.kid == key.kid
    assert '"dp"' not in row.private_key
    assert row.private_key.count(".") == 4  # encrypted, in JWE's compact form


def test_people_who_launch_an_activity_at_once_make_one_row(engine: Engine) -> None:
    links = Links(engine)
    at_once(24, lambda _: links.saw(LINK))
    assert links.all() == (LINK,)


def test_a_changed_secret_of_the_hub_makes_a_new_key(engine: Engine) -> None:
    first = Keys(engine, SECRET).current(NOW)
    changed = Keys(engine, "another secret of this hub")
    assert changed.current(NOW).kid != first.kid
    assert [each["kid"] for each in changed.public_set(NOW)["keys"]] == [changed.current(NOW).kid]


def test_an_address_keeps_its_platforms_settings_and_works_once(
    engine: Engine,
) -> None:
    registrations = Registrations(engine)
    assert registrations.add("hash", INVITED, NOW) == NOW + REGISTRATION_LIFE
    assert registrations.find("hash", NOW) == INVITED
    assert registrations.use("hash", NOW) == INVITED
    assert registrations.use("hash", NOW) is None
    assert registrations.find("hash", NOW) is None


def test_a_new_address_removes_the_expired_ones(engine: Engine) -> None:
    registrations = Registrations(engine)
    end = registrations.add("old", INVITED, NOW)
    registrations.add("new", INVITED, end)
    assert registrations.find("old", NOW) is None
    assert registrations.find("new", end) == INVITED


def test_of_two_at_once_one_gets_the_address(engine: Engine) -> None:
    registrations = Registrations(engine)
    registrations.add("hash", INVITED, NOW)
    found = at_once(2, lambda _: registrations.use("hash", NOW))
    assert sorted(each is None for each in found) == [False, True]


def test_settings_of_a_newer_mograder_are_refused_with_the_remedy(engine: Engine) -> None:
    registrations = Registrations(engine)
    registrations.add("hash", INVITED, NOW)
    with engine.begin() as connection:
        connection.execute(update(lti_registrations).values(settings='{"new": 1}'))
    with pytest.raises(InvalidInput, match="cannot be read") as refused:
        registrations.find("hash", NOW)
    assert "hub lti register" in refused.value.hint


# ---- people ----


def test_a_link_is_found_by_issuer_and_subject(engine: Engine) -> None:
    people = ExternalPeople(engine)
    people.link(MOODLE, "13", "alice", "Alice \0 Å", "", NOW)
    people.link(ELSEWHERE, "13", "al", "", "prof", NOW)
    assert people.username_of(MOODLE, "13") == "alice"
    assert people.username_of(ELSEWHERE, "13") == "al"
    assert people.username_of(MOODLE, "14") == ""
    assert people.issuers_of("alice") == {MOODLE}
    (alice,) = people.people(MOODLE)
    assert (alice.username, alice.linked_by, alice.linked_at) == ("alice", "", NOW)
    assert [each.username for each in people.people()] == ["alice", "al"]


@pytest.mark.parametrize(("subject", "username"), [("14", "alice"), ("13", "bob"), ("13", "alice")])
def test_a_subject_has_one_user_and_a_user_one_subject(
    engine: Engine, subject: str, username: str
) -> None:
    people = ExternalPeople(engine)
    people.link(MOODLE, "13", "alice", "", "", NOW)
    with pytest.raises(Conflict):
        people.link(MOODLE, subject, username, "", "", NOW)
    people.link(ELSEWHERE, subject, username, "", "", NOW)


def test_a_link_can_be_removed(engine: Engine) -> None:
    people = ExternalPeople(engine)
    people.link(MOODLE, "13", "alice", "", "", NOW)
    people.link(ELSEWHERE, "13", "alice", "", "", NOW)
    assert people.unlink(MOODLE, "alice")
    assert not people.unlink(MOODLE, "alice")
    people.link(MOODLE, "14", "alice", "", "prof", NOW)
    assert (people.username_of(MOODLE, "13"), people.username_of(MOODLE, "14")) == ("", "alice")
    assert people.username_of(ELSEWHERE, "13") == "alice"


def test_a_value_counts_once(engine: Engine) -> None:
    used = UsedStates(engine, ManualClock(NOW))
    assert used.use("state", SOON)
    assert not used.use("state", SOON)
    assert used.use("another", SOON)


def test_of_two_processes_at_once_one_wins(engine: Engine, url: str) -> None:
    engines = [engine, open_engine(url)]
    with ThreadPoolExecutor(8) as pool:
        for value in map(str, range(20)):
            uses = [UsedStates(engines[each % 2], ManualClock(NOW)) for each in range(8)]
            wins = list(pool.map(lambda use, value=value: use.use(value, SOON), uses))
            assert wins.count(True) == 1
    engines[1].dispose()


def test_values_that_ended_are_removed_and_only_hashes_are_stored(engine: Engine) -> None:
    clock = ManualClock(NOW)
    used = UsedStates(engine, clock)
    assert used.use("old", NOW + timedelta(seconds=60))
    assert used.use("long", NOW + timedelta(days=1))
    clock.advance(601)
    assert used.use("new", clock.now() + timedelta(seconds=60))
    with reading(engine) as connection:
        hashes = set(connection.execute(select(used_states.c.hash)).scalars())
    assert len(hashes) == 2
    assert all(len(each) == 64 for each in hashes)
    assert not used.use("long", SOON)


def test_logins_are_found_by_session_and_by_subject(engine: Engine) -> None:
    logins = ProviderLogins(engine)
    day = NOW + timedelta(days=1)
    logins.add("login-1", MOODLE, "13", "s1", until=day, now=NOW)
    logins.add("login-2", MOODLE, "13", "s2", until=day, now=NOW)
    logins.add("login-3", MOODLE, "14", "", until=day, now=NOW)
    logins.add("login-4", ELSEWHERE, "13", "s1", until=day, now=NOW)
    assert logins.logins(MOODLE, sid="s1") == ("login-1",)
    assert set(logins.logins(MOODLE, subject="13")) == {"login-1", "login-2"}
    assert logins.logins(MOODLE, sid="s1", subject="15") == ()
    with pytest.raises(ValueError, match="session or a subject"):
        logins.logins(MOODLE)
    assert logins.logins(MOODLE, sid="s1", subject="13") == ("login-1",)
    assert logins.logins(MOODLE, sid="s9", subject="14") == ("login-3",)


def test_logins_that_expired_are_removed(engine: Engine) -> None:
    logins = ProviderLogins(engine)
    logins.add("login-1", MOODLE, "13", "s1", until=SOON, now=NOW)
    later = SOON + timedelta(seconds=1)
    logins.add("login-2", MOODLE, "14", "s2", until=later + timedelta(days=1), now=later)
    assert logins.logins(MOODLE, subject="13") == ()

"""external.external_people: links, values for one use and providers' logins, on each database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select

from mograder.core.errors import Conflict
from mograder.store.database.database import open_engine, reading
from mograder.store.external.external_people import (
    ExternalPeople,
    ProviderLogins,
    UsedStates,
    used_states,
)
from tests.support.clock import ManualClock

MOODLE, OTHER = "https://moodle.test", "https://other.test"
NOW = ManualClock().now()
SOON = NOW + timedelta(minutes=10)


def test_a_link_is_found_by_issuer_and_subject(engine: Engine) -> None:
    people = ExternalPeople(engine)
    people.link(MOODLE, "13", "alice", "Alice \0 Å", "", NOW)
    people.link(OTHER, "13", "al", "", "prof", NOW)
    assert people.username_of(MOODLE, "13") == "alice"
    assert people.username_of(OTHER, "13") == "al"
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
    people.link(OTHER, subject, username, "", "", NOW)


def test_a_link_can_be_removed(engine: Engine) -> None:
    people = ExternalPeople(engine)
    people.link(MOODLE, "13", "alice", "", "", NOW)
    people.link(OTHER, "13", "alice", "", "", NOW)
    assert people.unlink(MOODLE, "alice")
    assert not people.unlink(MOODLE, "alice")
    people.link(MOODLE, "14", "alice", "", "prof", NOW)
    assert (people.username_of(MOODLE, "13"), people.username_of(MOODLE, "14")) == ("", "alice")
    assert people.username_of(OTHER, "13") == "alice"


def test_a_value_counts_once(engine: Engine) -> None:
    used = UsedStates(engine, ManualClock())
    assert used.use("state", SOON)
    assert not used.use("state", SOON)
    assert used.use("another", SOON)


def test_of_two_processes_at_once_one_wins(engine: Engine, url: str) -> None:
    engines = [engine, open_engine(url)]
    with ThreadPoolExecutor(8) as pool:
        for value in map(str, range(20)):
            uses = [UsedStates(engines[each % 2], ManualClock()) for each in range(8)]
            wins = list(pool.map(lambda use, value=value: use.use(value, SOON), uses))
            assert wins.count(True) == 1
    engines[1].dispose()


def test_values_that_ended_are_removed_and_only_hashes_are_stored(engine: Engine) -> None:
    clock = ManualClock()
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
    logins.add("login-4", OTHER, "13", "s1", until=day, now=NOW)
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

"""The hub's state: one suite for SQLite as embedded and for a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from mograder.auth.credentials import Role
from mograder.core.errors import Busy, Conflict, NotFound
from mograder.store.database.database import open_engine, reading, writing
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.hub_state import (
    AuditRow,
    CachedRevocations,
    CapabilityRow,
    EndingRow,
    HubState,
    LinkRow,
    SessionRow,
    SessionState,
)
from tests.support.clock import ManualClock
from tests.support.postgres import PostgresServer
from tests.support.threads import at_once

NOW = datetime(2026, 11, 20, 9, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def state(engine: Engine) -> HubState:
    return HubState(engine)


def session(number: int = 1, *, user: str = "alice", mode: str = "edit") -> SessionRow:
    return SessionRow(
        session_id=f"session-{number}",
        username=user,
        item="A1",
        mode=mode,
        state=SessionState.STARTING,
        socket="",
        version="v1",
        environment="env",
        started_at=NOW + timedelta(seconds=number),
    )


def capability(cap: str, *, session_id: str = "session-1", login: str = "login") -> CapabilityRow:
    return CapabilityRow(cap, session_id, "alice", Role.STUDENT, login, NOW)


# Users -----------------------------------------------------------------------------------


def test_slots_count_from_one_and_stay(state: HubState) -> None:
    assert [state.slot_of(name) for name in ("alice", "bob", "alice", "carol")] == [1, 2, 1, 3]


def test_slots_given_at_the_same_time_are_distinct_and_without_gaps(state: HubState) -> None:
    names = [f"user-{number % 8}" for number in range(16)]
    slots = at_once(16, lambda number: state.slot_of(names[number]))
    given_out = dict(zip(names, slots, strict=True))
    assert slots == [given_out[name] for name in names]
    assert sorted(map(str, given_out.values())) == [str(number) for number in range(1, 9)]


def test_a_slot_is_not_given_again_when_its_user_is_gone(state: HubState, engine: Engine) -> None:
    assert state.slot_of("alice") == 1
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM users"))
    assert state.slot_of("bob") == 2


def test_epochs_start_at_zero_and_count_up_even_at_the_same_time(state: HubState) -> None:
    assert state.epoch("alice") == 0
    assert sorted(map(str, at_once(6, lambda _: state.bump_epoch("alice")))) == list("123456")
    assert state.slot_of("alice") == 1
    assert state.slot_of("bob") == 2
    assert (state.epoch("alice"), state.epoch("bob")) == (6, 0)
    assert state.epochs() == {"alice": 6}


def test_usernames_are_told_apart_by_case_and_alphabet(state: HubState) -> None:
    assert [state.slot_of(name) for name in ("zo\u00eb", "zoe", "ZOE")] == [1, 2, 3]


# Logins and links ------------------------------------------------------------------------


def test_a_revoked_login_is_remembered_until_it_expires(state: HubState) -> None:
    state.revoke_login("one", NOW + timedelta(hours=1))
    state.revoke_login("one", NOW + timedelta(hours=1))
    state.revoke_login("two", NOW - timedelta(seconds=1))
    assert state.revoked_logins(NOW) == {"one"}
    state.forget_expired(NOW + timedelta(hours=2))
    assert state.revoked_logins(NOW) == frozenset()


def test_a_link_lets_one_of_many_in_once(state: HubState) -> None:
    state.add_link("hash", "alice", Role.INSTRUCTOR, NOW + timedelta(hours=1))
    assert state.use_link("other", NOW) is None
    used = at_once(8, lambda _: state.use_link("hash", NOW))
    assert [row for row in used if row is not None] == [
        LinkRow("hash", "alice", Role.INSTRUCTOR, NOW + timedelta(hours=1))
    ]


def test_a_code_stands_for_one_link_which_is_good_for_nothing_once_it_expired(
    state: HubState,
) -> None:
    state.add_link("hash", "alice", Role.STUDENT, NOW)
    with pytest.raises(Conflict):
        state.add_link("hash", "mallory", Role.INSTRUCTOR, NOW)
    assert state.use_link("hash", NOW) is None
    assert state.use_link("hash", NOW - timedelta(hours=1)) is None


# Sessions and capabilities ---------------------------------------------------------------


def test_sessions_come_back_as_they_were_recorded(state: HubState) -> None:
    rows = (session(1), session(2, mode="run"), session(3, user="bob"))
    for row in reversed(rows):
        state.add_session(row)
    assert state.sessions() == rows


def test_a_session_can_be_updated_and_forgotten(state: HubState) -> None:
    state.add_session(session())
    state.session_runs("session-1", "/run/x.sock")
    (row,) = state.sessions()
    assert (row.state, row.socket) == (SessionState.RUNNING, "/run/x.sock")
    assert (row.version, row.started_at) == ("v1", session().started_at)
    assert state.remove_session("session-1")
    assert not state.remove_session("session-1")
    state.session_runs("session-1", "/run/x.sock")
    assert state.sessions() == ()


def test_a_user_has_one_session_of_an_item_and_mode(state: HubState) -> None:
    results = at_once(6, lambda number: state.add_session(session(number)))
    assert sum(isinstance(result, Conflict) for result in results) == 5
    assert len(state.sessions()) == 1


def test_capabilities_come_back_and_end_with_their_session(state: HubState) -> None:
    state.add_session(session(1))
    state.add_session(session(2, mode="run"))
    state.add_capability(capability("one"))
    state.add_capability(capability("two", session_id="session-2"))
    assert set(state.capabilities()) == {
        capability("one"),
        capability("two", session_id="session-2"),
    }
    state.remove_session("session-1")
    assert state.capabilities() == (capability("two", session_id="session-2"),)


def test_capabilities_are_removed_by_login_or_by_person(state: HubState) -> None:
    state.add_session(session(1))
    for cap, login in (("one", "a"), ("two", "a"), ("three", "b"), ("four", "")):
        state.add_capability(capability(cap, login=login))
    person = state.capabilities()[0].username
    assert state.remove_capabilities(login_id="a") == 2
    assert state.remove_capabilities(username=person, login_id="b") == 1
    assert state.remove_capabilities(username=person) == 1
    for nobody in ({}, {"login_id": ""}):
        with pytest.raises(ValueError, match="a login or a person"):
            state.remove_capabilities(**nobody)


def test_capabilities_pass_on_to_another_login_with_its_role(state: HubState) -> None:
    state.add_session(session(1))
    for cap in ("one", "two"):
        state.add_capability(capability(cap))
    state.pass_on_capabilities({"one", "gone"}, "new", Role.MARKER)
    assert {(row.cap_hash, row.login_id, row.role) for row in state.capabilities()} == {
        ("one", "new", Role.MARKER),
        ("two", "login", Role.STUDENT),
    }


def test_a_session_that_ended_gets_no_capability(state: HubState) -> None:
    with pytest.raises(NotFound, match="ended"):
        state.add_capability(capability("one"))


# Endings and what items need ----------------------------------------------------------------


def ending(number: int, *, user: str = "alice", mode: str = "edit") -> EndingRow:
    """The end of a session of A1, so many days after it began."""
    at = NOW + timedelta(days=number)
    return EndingRow(user, "A1", mode, f"session-{number}", "idle", at, "last words")


def test_the_last_ending_of_each_user_item_and_mode_is_kept(state: HubState) -> None:
    rows = (ending(2), ending(3, mode="run"), ending(4, user="bob"))
    for row in (ending(1), *reversed(rows)):
        state.save_ending(row, forget_before=NOW)
    assert state.endings(NOW) == rows
    assert state.endings(NOW + timedelta(days=3)) == rows[1:]
    state.forget_ending("alice", "A1", "edit")
    assert state.endings(NOW) == rows[1:]


def test_endings_that_are_recorded_at_the_same_time_leave_one(state: HubState) -> None:
    rows = [ending(number) for number in range(8)]
    saved = at_once(8, lambda number: state.save_ending(rows[number], forget_before=NOW))
    assert saved == [None] * 8
    assert len(state.endings(NOW)) == 1


def test_old_endings_are_forgotten_when_one_is_recorded(state: HubState) -> None:
    state.save_ending(ending(1), forget_before=NOW)
    state.save_ending(ending(40, user="bob"), forget_before=NOW + timedelta(days=10))
    assert [row.username for row in state.endings(NOW)] == ["bob"]


def test_last_words_are_cut_to_a_bound_whatever_they_are(state: HubState) -> None:
    last_words = "\0\ud800" + "x" * 5000
    row = EndingRow("alice", "A1", "edit", "session-1", "crashed", NOW, last_words)
    state.save_ending(row, forget_before=NOW)
    (kept,) = state.endings(NOW)
    assert len(kept.detail) == 1000


def test_a_reader_sees_the_database_as_of_one_moment(state: HubState, engine: Engine) -> None:
    """As versions are read part by part, while old ones are removed."""
    state.slot_of("alice")
    count = text("SELECT count(*) FROM users")
    with reading(engine) as connection:
        assert connection.execute(count).scalar_one() == 1
        state.slot_of("bob")
        assert connection.execute(count).scalar_one() == 1


# Times, texts, audit ---------------------------------------------------------------------


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moment=st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001
    minutes=st.integers(-720, 720),
)
def test_any_aware_time_comes_back_as_the_same_moment_in_utc(
    state: HubState, moment: datetime, minutes: int
) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    state.record(aware, "who", "action", "what", "where", "outcome")
    (row,) = state.recent_audit(1)
    assert row.at == aware
    assert row.at.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(state: HubState) -> None:
    with pytest.raises(Exception, match="without a zone"):
        state.revoke_login("one", NOW.replace(tzinfo=None))


@pytest.mark.parametrize("statement", ["UPDATE audit SET who = 'eve'", "DELETE FROM audit"])
def test_the_audit_log_only_grows(state: HubState, engine: Engine, statement: str) -> None:
    state.record(NOW, "alice", "publish", "A1", "", "ok")
    with pytest.raises((Conflict, DBAPIError)), writing(engine) as connection:
        connection.execute(text(statement))
    assert [row.who for row in state.recent_audit(9)] == ["alice"]


def test_the_audit_log_is_read_in_pages_the_newest_first(state: HubState) -> None:
    for action in ("one", "two", "three"):
        state.record(NOW, "alice", action, "A1", "127.0.0.1", "granted")
    three, two = state.recent_audit(2)
    assert three == AuditRow(3, NOW, "alice", "three", "A1", "127.0.0.1", "granted")
    assert two.action == "two"
    assert [row.action for row in state.recent_audit(9, before=two.number)] == ["one"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stranger=st.text(st.characters(exclude_categories=()), max_size=50))
def test_whatever_a_stranger_sends_can_be_logged(state: HubState, stranger: str) -> None:
    state.record(NOW, stranger, "refused", stranger * 50, stranger, "403")
    (row,) = state.recent_audit(1)
    assert len(row.what) <= 1000
    assert "\0" not in row.what


# Revocations in memory -------------------------------------------------------------------


def test_what_was_revoked_is_known_at_once_and_after_a_restart(state: HubState) -> None:
    clock = ManualClock(NOW)
    revocations = CachedRevocations(state, clock)
    assert (revocations.epoch("alice"), revocations.login_revoked("one")) == (0, False)
    assert revocations.bump_epoch("alice") == 1
    revocations.revoke_login("one", NOW + timedelta(hours=1))
    for each in (revocations, CachedRevocations(state, clock)):
        assert (each.epoch("alice"), each.login_revoked("one")) == (1, True)
    clock.advance(7200)
    assert not CachedRevocations(state, clock).login_revoked("one")


def test_what_another_process_revoked_is_known_after_a_reload(state: HubState) -> None:
    revocations = CachedRevocations(state, ManualClock(NOW))
    state.bump_epoch("alice")
    state.revoke_login("one", NOW + timedelta(hours=1))
    assert revocations.epoch("alice") == 0
    revocations.reload()
    assert (revocations.epoch("alice"), revocations.login_revoked("one")) == (1, True)


# Hubs that vanish ------------------------------------------------------------------------


@pytest.mark.full
def test_rows_of_a_hub_that_vanished_in_a_transaction_are_free_again_soon(
    postgres: PostgresServer,
) -> None:
    """When its machine has lost its power, the server hears nothing: neither end nor commit."""
    url = postgres.new_database()
    vanished, other = open_engine(url), open_engine(url)
    try:
        upgrade(vanished)
        HubState(other).add_session(session())
        with pytest.raises(Busy):
            _change(vanished, "lost", lambda: _change(other, "kept"))  # it waits for the row
        assert [row.version for row in HubState(other).sessions()] == ["kept"]
        _change(vanished, "again")  # by another connection
    finally:
        vanished.dispose()
        other.dispose()


def _change(engine: Engine, version: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    with writing(engine) as connection:
        changed = text("UPDATE sessions SET version = :version")
        assert connection.execute(changed, {"version": version}).rowcount == 1
        meanwhile()

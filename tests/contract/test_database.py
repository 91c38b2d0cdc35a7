"""One suite for both databases: SQLite as embedded, and a real PostgreSQL server."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, inspect, text

from mograder.auth.roles import Role
from mograder.core.clock import ManualClock
from mograder.core.errors import Busy, Conflict, InvalidInput, MograderError, NotFound
from mograder.store.database import (
    MIGRATIONS,
    database_url,
    head_version,
    open_engine,
    schema_version,
    upgrade,
    writing,
)
from mograder.store.hub_state import (
    AuditRow,
    CapabilityRow,
    HubState,
    LinkRow,
    SessionRow,
    SessionState,
    UserEpoch,
)
from mograder.store.revocations import CachedRevocations
from mograder.store.tables import metadata
from tests.contract.postgres import PostgresServer, find_binaries, run_postgres

NOW = datetime(2026, 11, 20, 9, 30, 15, 123456, tzinfo=UTC)
ENGINES = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def installed_postgres() -> Iterator[PostgresServer | None]:
    """One server for all tests of a worker, where PostgreSQL is installed."""
    binaries = find_binaries()
    if binaries is None:
        yield None
        return
    with run_postgres(binaries) as server:
        yield server


@pytest.fixture
def postgres(installed_postgres: PostgresServer | None) -> PostgresServer:
    """The server; every test makes a database of its own."""
    if installed_postgres is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    return installed_postgres


# The server is asked for by both, or its start would count as a process that a test left behind.
@pytest.fixture(params=ENGINES)
def url(
    request: pytest.FixtureRequest, tmp_path: Path, installed_postgres: PostgresServer | None
) -> str:
    """An empty database on each engine."""
    if request.param == "sqlite":
        return database_url("", tmp_path)
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The database, with its tables."""
    engine = open_engine(url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def state(engine: Engine) -> HubState:
    """The hub's state, empty."""
    return HubState(engine)


def session(number: int = 1, *, user: str = "alice", mode: str = "edit") -> SessionRow:
    """A session of A1."""
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
        last_seen=NOW,
    )


def capability(cap: str, *, session_id: str = "session-1", login: str = "login") -> CapabilityRow:
    """A capability of alice's."""
    return CapabilityRow(cap, session_id, "alice", Role.STUDENT, login, NOW)


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """Run a function in many threads that start together; return what each gave or raised."""
    results: list[object] = [None] * count
    start = threading.Barrier(count)

    def one(number: int) -> None:
        start.wait()
        try:
            results[number] = work(number)
        except MograderError as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# Tables ----------------------------------------------------------------------------------


def test_a_new_database_gets_exactly_the_tables_that_the_program_uses(engine: Engine) -> None:
    assert schema_version(engine) == head_version()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_upgrading_twice_or_by_many_at_once_is_harmless(url: str) -> None:
    engines = [open_engine(url) for _ in range(4)]
    assert at_once(4, lambda number: upgrade(engines[number])) == [None] * 4
    upgrade(engines[0])
    assert HubState(engines[0]).slot_of("alice") == 1
    for engine in engines:
        engine.dispose()


def test_a_database_of_a_newer_program_is_refused_with_the_reason(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="newer mograder"):
        upgrade(engine)


def test_a_database_of_somebody_else_is_refused(url: str) -> None:
    engine = open_engine(url)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE users (id INTEGER)"))
    with pytest.raises(Conflict, match="not mograder's"):
        upgrade(engine)
    engine.dispose()


@pytest.fixture
def next_migrations(tmp_path: Path) -> Path:
    """The migrations of a later program: a column more for users."""
    later = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, later, ignore=shutil.ignore_patterns("__pycache__"))
    (later / "versions" / "r9999_later.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision = '9999', {head_version()!r}\n"
        "def upgrade():\n"
        "    op.add_column('users', sa.Column('nickname', sa.String(9)))\n"
    )
    return later


def test_an_upgrade_keeps_what_is_recorded(engine: Engine, next_migrations: Path) -> None:
    assert HubState(engine).slot_of("alice") == 1
    upgrade(engine, migrations=next_migrations)
    assert schema_version(engine) == "9999"
    assert HubState(engine).slot_of("alice") == 1


def test_an_upgrade_that_fails_changes_nothing(engine: Engine, next_migrations: Path) -> None:
    with (next_migrations / "versions" / "r9999_later.py").open("a") as file:
        file.write("    raise RuntimeError('the power is cut')\n")
    with pytest.raises(RuntimeError, match="power"):
        upgrade(engine, migrations=next_migrations)
    assert schema_version(engine) == head_version()
    assert "nickname" not in {column["name"] for column in inspect(engine).get_columns("users")}


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
    assert state.epochs() == (UserEpoch("alice", 6),)


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


def test_a_link_works_once(state: HubState) -> None:
    state.add_link("hash", "alice", Role.INSTRUCTOR, NOW + timedelta(hours=1))
    assert state.use_link("other", NOW) is None
    assert state.use_link("hash", NOW) == LinkRow("alice", Role.INSTRUCTOR)
    assert state.use_link("hash", NOW) is None


def test_a_link_used_by_many_at_once_lets_one_in(state: HubState) -> None:
    state.add_link("hash", "alice", Role.STUDENT, NOW + timedelta(hours=1))
    used = at_once(8, lambda _: state.use_link("hash", NOW))
    assert [row for row in used if row is not None] == [LinkRow("alice", Role.STUDENT)]


def test_an_expired_link_is_good_for_nothing(state: HubState) -> None:
    state.add_link("hash", "alice", Role.STUDENT, NOW)
    assert state.use_link("hash", NOW) is None
    assert state.use_link("hash", NOW - timedelta(hours=1)) is None


def test_a_code_stands_for_one_link_only(state: HubState) -> None:
    state.add_link("hash", "alice", Role.STUDENT, NOW)
    with pytest.raises(Conflict):
        state.add_link("hash", "mallory", Role.INSTRUCTOR, NOW)


# Sessions and capabilities ---------------------------------------------------------------


def test_sessions_come_back_as_they_were_recorded(state: HubState) -> None:
    rows = (session(1), session(2, mode="run"), session(3, user="bob"))
    for row in reversed(rows):
        state.add_session(row)
    assert state.sessions() == rows


def test_a_session_can_be_updated_and_forgotten(state: HubState) -> None:
    state.add_session(session())
    later = NOW + timedelta(minutes=5)
    assert state.update_session(
        "session-1", state=SessionState.RUNNING, socket="/run/x.sock", last_seen=later
    )
    (row,) = state.sessions()
    assert (row.state, row.socket, row.last_seen) == (SessionState.RUNNING, "/run/x.sock", later)
    assert (row.version, row.started_at) == ("v1", session().started_at)
    assert state.remove_session("session-1")
    assert not state.remove_session("session-1")
    assert not state.update_session("session-1", last_seen=later)
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


def test_capabilities_are_removed_by_session_or_by_login(state: HubState) -> None:
    state.add_session(session(1))
    for cap, login in (("one", "a"), ("two", "a"), ("three", "b"), ("four", "")):
        state.add_capability(capability(cap, login=login))
    assert state.remove_capabilities(login_id="a") == 2
    assert state.remove_capabilities(session_id="session-1", login_id="b") == 1
    assert state.remove_capabilities(session_id="session-1") == 1
    for nobody in ({}, {"login_id": ""}):
        with pytest.raises(ValueError, match="session or a login"):
            state.remove_capabilities(**nobody)


def test_a_session_that_ended_gets_no_capability(state: HubState) -> None:
    with pytest.raises(NotFound, match="ended"):
        state.add_capability(capability("one"))


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


def test_the_audit_log_tells_the_newest_first(state: HubState) -> None:
    for action in ("one", "two", "three"):
        state.record(NOW, "alice", action, "A1", "127.0.0.1", "granted")
    assert state.recent_audit(2) == (
        AuditRow(NOW, "alice", "three", "A1", "127.0.0.1", "granted"),
        AuditRow(NOW, "alice", "two", "A1", "127.0.0.1", "granted"),
    )


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


# Each engine's own -----------------------------------------------------------------------


def test_an_sqlite_database_is_private_and_durable(tmp_path: Path) -> None:
    engine = open_engine(database_url("", tmp_path))
    upgrade(engine)
    files = list((tmp_path / ".mograder").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        }
    assert found == {
        "journal_mode": "wal",
        "busy_timeout": 5000,
        "foreign_keys": 1,
        "synchronous": 2,
    }
    engine.dispose()


def test_an_older_sqlite_database_is_copied_before_it_is_changed(
    tmp_path: Path, next_migrations: Path
) -> None:
    engine = open_engine(database_url("", tmp_path))
    upgrade(engine)
    assert list((tmp_path / ".mograder").glob("*before*")) == [], "a new one has nothing to lose"
    HubState(engine).slot_of("alice")
    upgrade(engine, migrations=next_migrations)
    engine.dispose()
    (copy,) = (tmp_path / ".mograder").glob("*before*")
    assert copy.name == "hub.db.before-9999"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    older = open_engine(f"sqlite:///{copy}")
    assert schema_version(older) == head_version()
    assert HubState(older).slot_of("alice") == 1
    older.dispose()


def test_a_file_that_is_no_database_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(InvalidInput, match="no database"):
        open_engine(database_url("sqlite:///hub.db", tmp_path))


def test_a_directory_where_the_database_should_be_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "hub.db").mkdir()
    with pytest.raises(InvalidInput, match="cannot be opened"):
        open_engine(database_url("sqlite:///hub.db", tmp_path))


def test_a_new_sqlite_database_can_be_opened_by_many_at_once(tmp_path: Path) -> None:
    url = database_url("", tmp_path)

    def use(number: int) -> int:
        engine = open_engine(url)
        upgrade(engine)
        slot = HubState(engine).slot_of(f"user-{number}")
        engine.dispose()
        return slot

    assert sorted(map(str, at_once(6, use))) == list("123456")


def test_a_readable_database_becomes_private_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    path.touch()
    path.chmod(0o644)
    open_engine(database_url("sqlite:///hub.db", tmp_path)).dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_readers_do_not_wait_for_a_writer_of_sqlite(tmp_path: Path) -> None:
    engine = open_engine(database_url("", tmp_path))
    upgrade(engine)
    state = HubState(engine)
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO users (username, epoch) VALUES ('alice', 1)"))
        assert state.epoch("alice") == 0
    assert state.epoch("alice") == 1
    engine.dispose()


def test_a_database_locked_by_another_program_is_busy(tmp_path: Path) -> None:
    url = database_url("", tmp_path)
    engine = open_engine(url)
    upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(tmp_path / ".mograder" / "hub.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match="does not answer"):
        HubState(engine).bump_epoch("alice")
    other.close()
    engine.dispose()


def test_a_restart_of_the_server_goes_unnoticed(postgres: PostgresServer) -> None:
    engine = open_engine(postgres.new_database())
    upgrade(engine)
    state = HubState(engine)
    assert state.slot_of("alice") == 1
    postgres.disconnect_everybody()
    assert state.slot_of("alice") == 1
    engine.dispose()


def test_a_server_that_is_not_there_is_busy(tmp_path: Path) -> None:
    engine = open_engine(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(Busy, match="does not answer"):
        upgrade(engine)
    engine.dispose()


@pytest.mark.parametrize(
    "url", ["mysql://root:hunter2@host/db", "no url: hunter2", "sqlite://", "sqlite:///:memory:"]
)
def test_an_unusable_url_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        database_url(url, tmp_path)
    assert "hunter2" not in str(refused.value)


def test_the_database_is_a_file_of_the_course_by_default(tmp_path: Path) -> None:
    assert database_url("", tmp_path) == f"sqlite:///{tmp_path}/.mograder/hub.db"
    assert database_url("sqlite:///state.db", tmp_path) == f"sqlite:///{tmp_path}/state.db"
    assert database_url("postgres://u:p@host/db", tmp_path) == "postgresql+psycopg://u:p@host/db"

"""Opening and upgrading databases, and what is each engine's own: files, locks, restarts."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, make_url, text

from mograder.core.errors import Busy, Conflict, InvalidInput
from mograder.store.database import upgrades
from mograder.store.database.database import database_url, open_engine, writing
from mograder.store.database.upgrades import MIGRATIONS, head_version, schema_version, upgrade
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import metadata
from tests.support.postgres import PostgresServer
from tests.support.threads import at_once


def test_a_new_database_gets_exactly_the_tables_that_the_program_uses(engine: Engine) -> None:
    assert schema_version(engine) == head_version()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_new_database_can_be_opened_and_upgraded_by_many_at_once(url: str) -> None:
    def use(number: int) -> int:
        engine = open_engine(url)
        upgrade(engine)
        upgrade(engine)
        slot = HubState(engine).slot_of(f"user-{number}")
        engine.dispose()
        return slot

    assert sorted(map(str, at_once(6, use))) == list("123456")


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


def test_an_older_database_is_copied_and_upgraded_once_by_many_at_once(
    url: str, next_migrations: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engines = [open_engine(url) for _ in range(4)]
    upgrade(engines[0])
    assert HubState(engines[0]).slot_of("alice") == 1

    def work(number: int) -> None:
        upgrade(engines[number], migrations=next_migrations)

    assert at_once(4, work) == [None] * 4
    assert schema_version(engines[0]) == "9999"
    assert HubState(engines[0]).slot_of("alice") == 1, "what is recorded stays"
    copies = [record for record in caplog.records if "was copied to" in record.message]
    assert len(copies) == (engines[0].dialect.name == "sqlite")
    for engine in engines:
        engine.dispose()


def test_an_upgrade_that_fails_changes_nothing(engine: Engine, next_migrations: Path) -> None:
    with (next_migrations / "versions" / "r9999_later.py").open("a") as file:
        file.write("    raise RuntimeError('the power is cut')\n")
    with pytest.raises(RuntimeError, match="power"):
        upgrade(engine, migrations=next_migrations)
    assert schema_version(engine) == head_version()
    assert "nickname" not in {column["name"] for column in inspect(engine).get_columns("users")}


@pytest.mark.parametrize("revision", ["0001", "0017", "g0001", "g0006a", "g0007"])
def test_a_database_of_before_the_first_release_is_named_so_and_stays_as_it_is(
    engine: Engine, revision: str
) -> None:
    assert HubState(engine).slot_of("alice") == 1
    with writing(engine) as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    with pytest.raises(Conflict, match="before the first release") as refused:
        upgrade(engine)
    assert "operate.md" in (refused.value.hint or "")
    assert schema_version(engine) == revision
    assert HubState(engine).slot_of("alice") == 1


@pytest.mark.usefixtures("real_fsync")
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


def test_a_copy_that_the_disk_has_no_room_for_is_not_left_there(
    tmp_path: Path, next_migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every try of the service manager fills the disk again."""
    engine = open_engine(database_url("", tmp_path))
    upgrade(engine)

    def half(_: Path, target: Path) -> None:
        for each in (target, Path(f"{target}-journal")):
            each.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(upgrades, "copy_sqlite", half)
    with pytest.raises(OSError, match="No space left"):
        upgrade(engine, migrations=next_migrations)
    engine.dispose()
    assert list((tmp_path / ".mograder").glob("*before*")) == []


def test_a_file_that_is_no_database_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(InvalidInput, match="no database"):
        open_engine(database_url("sqlite:///hub.db", tmp_path))


def test_a_directory_where_the_database_should_be_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "hub.db").mkdir()
    with pytest.raises(InvalidInput, match="cannot be opened"):
        open_engine(database_url("sqlite:///hub.db", tmp_path))


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
    with pytest.raises(Busy, match=r"hub\.db is locked"):
        HubState(engine).bump_epoch("alice")
    other.close()
    engine.dispose()


@pytest.mark.full
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
    assert make_url(database_url("", tmp_path)).database == f"{tmp_path}/.mograder/hub.db"
    given = database_url("sqlite:///state.db", tmp_path)
    assert make_url(given).database == f"{tmp_path}/state.db"
    assert database_url("postgres://u:p@host/db", tmp_path) == "postgresql+psycopg://u:p@host/db"

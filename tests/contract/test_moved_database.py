"""A course that goes on with PostgreSQL: what its hub has kept in hub.db comes with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from mograder.core.errors import Conflict
from mograder.core.settings import load_settings, read_environ
from mograder.hub.takeover import HubSandbox, Preparation, begin_work
from mograder.operations.course_checks import database_line
from mograder.store.database.database import add_row, reading, writing
from mograder.store.hub.hub_state import HubState, rotate_audit
from mograder.store.migrations.tables import metadata
from mograder.store.versions.version_texts import version_releases
from mograder.store.versions.versions import Origin, Versions
from tests.support.command_line import cli, here
from tests.support.postgres import PostgresServer

__all__ = ["here"]
pytestmark = pytest.mark.full

NOW = datetime.now(UTC)


Rows = dict[str, list[tuple[object, ...]]]


@asynccontextmanager
async def at_work(course: Path, url: str = "") -> AsyncIterator[HubState]:
    """A hub's database while it works on a course."""
    loaded = load_settings(course, environ={"MOGRADER_DATABASE_URL": url})
    environ = read_environ({})
    preparation = Preparation(loaded, HubSandbox(loaded, environ, dev=True))
    async with AsyncExitStack() as stack:
        yield (await begin_work(loaded, environ, nullcontext, preparation, stack)).state


async def used(course: Path) -> Rows:
    """A hub on SQLite was at work; return what it left, with removed numbers."""
    async with at_work(course) as state:
        state.bump_epoch("ann")
        state.slot_of("ann")
        for day in (9, 5, 8):
            state.record(NOW - timedelta(days=day), "prof", "revoke token", "ann", "", "ok")
        rotate_audit(state.engine, NOW - timedelta(days=7), lambda _: None)
        for number in range(3):
            Versions(state.engine).record("ann", "A1", b"x = %d\n" % number, Origin.EDITOR, NOW)
        assert release(state, "first") == 1
        return rows(state)


def release(state: HubState, digest: str) -> int:
    with writing(state.engine) as connection:
        return add_row(connection, version_releases, digest=digest)


def rows(state: HubState) -> Rows:
    with reading(state.engine) as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def told_by_check(course: Path, url: str) -> str:
    with pytest.raises(Conflict) as told:
        database_line(load_settings(course, environ={"MOGRADER_DATABASE_URL": url}))
    return told.value.message


async def test_a_hub_refuses_a_new_database_beside_its_own_file(
    here: Path, postgres: PostgresServer
) -> None:
    await used(here)
    server, own = postgres.new_database(), here / ".mograder" / "hub.db"
    with pytest.raises(Conflict, match="revoked tokens would count again") as refused:
        async with at_work(here, server):
            pass
    assert "mograder hub move-database" in (refused.value.hint or "")
    assert told_by_check(here, server) == refused.value.message
    own.rename(here / "aside")
    async with at_work(here, server) as state:
        assert state.epoch("ann") == 0
    (here / "aside").rename(own)
    async with at_work(here, server):  # a hub has worked on it since
        pass


async def test_a_hub_refuses_another_new_file_too(here: Path) -> None:
    await used(here)
    assert "is new" in told_by_check(here, "sqlite:///other.db")
    assert not (here / "other.db").exists()
    with pytest.raises(Conflict, match="is new") as refused:
        async with at_work(here, "sqlite:///other.db"):
            pass
    assert str(here / "other.db") in (refused.value.hint or "")
    async with at_work(here, "sqlite:///.mograder/hub.db") as state:
        assert state.epoch("ann") == 1


async def test_on_a_server_a_hub_goes_on_with_all_that_was_moved_there(
    here: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await used(here)
    server = postgres.new_database()
    monkeypatch.setenv("MOGRADER_DATABASE_URL", server)
    assert "Copied" in cli("hub move-database").out
    async with at_work(here, server) as state:
        after = rows(state)
        assert before.pop("active_hub") != after.pop("active_hub")
        assert after == before
        assert state.slot_of("bob") == 2
        state.record(NOW, "prof", "next", "", "", "ok")
        assert state.recent_audit(1)[0].number == 4, "3 was removed, and does not come back"
        Versions(state.engine).record("bob", "A1", b"y = 1\n", Origin.EDITOR, NOW)
        assert release(state, "second") == 2
    refused = cli("hub move-database", status=5).err
    assert "A hub has worked on the database of [database] url already." in refused


async def test_a_database_is_moved_from_hub_db_to_a_server_while_no_hub_runs(
    here: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "names no server" in cli("hub move-database", status=2).err
    monkeypatch.setenv("MOGRADER_DATABASE_URL", postgres.new_database())
    assert "hub.db to move" in cli("hub move-database", status=3).err
    async with at_work(here):
        assert "Another hub is running" in cli("hub move-database", status=5).err

"""Fixtures of contract tests: empty databases on each engine, real supervisors, a hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from mograder.store.database.database import database_url, open_engine
from mograder.store.database.upgrades import upgrade
from tests.support.event_stream import no_pauses
from tests.support.hub_app import hub, hub_of
from tests.support.moodle.teacher import teacher
from tests.support.oidc_provider import start_openid_provider
from tests.support.postgres import PostgresServer, find_binaries, run_postgres
from tests.support.proxy_session import proxied
from tests.support.sandbox_fixtures import (
    client,
    cold_or_warm,
    config,
    runtime,
    sessions,
    workshop,
)

__all__ = ["client", "config", "runtime", "sessions", "start_openid_provider", "workshop"]
__all__ += ["cold_or_warm", "hub", "hub_of", "no_pauses", "proxied", "teacher"]

ENGINES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.full)]


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
        pytest.fail("PostgreSQL is needed: run scripts/setup.sh test")
    return installed_postgres


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
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

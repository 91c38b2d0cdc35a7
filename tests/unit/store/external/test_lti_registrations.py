"""store.external.lti_platforms: addresses that work once, for an hour, for one platform."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from mograder.core.errors import InvalidInput
from mograder.core.sections.external_settings import LtiPlatform
from mograder.store.database.database import open_engine, upgrade
from mograder.store.external.external_tables import lti_registrations
from mograder.store.external.lti_platforms import REGISTRATION_LIFE, UNREGISTERED, Registrations
from tests.support.threads import at_once

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MOODLE = LtiPlatform(
    issuer="https://moodle.example.org",
    client_id=UNREGISTERED,
    courses=("4",),
    roster="allow",
    teachers="all",
)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/hub.db")
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def registrations(engine: Engine) -> Registrations:
    return Registrations(engine)


def test_an_address_keeps_its_platforms_settings_and_works_once(
    registrations: Registrations,
) -> None:
    assert registrations.add("hash", MOODLE, NOW) == NOW + REGISTRATION_LIFE
    assert registrations.find("hash", NOW) == MOODLE
    assert registrations.use("hash", NOW) == MOODLE
    assert registrations.use("hash", NOW) is None
    assert registrations.find("hash", NOW) is None


def test_a_new_address_removes_the_expired_ones(registrations: Registrations) -> None:
    end = registrations.add("old", MOODLE, NOW)
    registrations.add("new", MOODLE, end)
    assert registrations.find("old", NOW) is None
    assert registrations.find("new", end) == MOODLE


def test_of_two_at_once_one_gets_the_address(registrations: Registrations) -> None:
    registrations.add("hash", MOODLE, NOW)
    found = at_once(2, lambda _: registrations.use("hash", NOW))
    assert sorted(each is None for each in found) == [False, True]


def test_settings_of_a_newer_mograder_are_refused_with_the_remedy(
    registrations: Registrations, engine: Engine
) -> None:
    registrations.add("hash", MOODLE, NOW)
    with engine.begin() as connection:
        connection.execute(update(lti_registrations).values(settings='{"new": 1}'))
    with pytest.raises(InvalidInput, match="cannot be read") as refused:
        registrations.find("hash", NOW)
    assert "hub lti register" in refused.value.hint

"""external.lti_platforms: the hub's keys are replaced by themselves, and stay published a while."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from mograder.store.database.database import open_engine, upgrade
from mograder.store.external.lti_platforms import KEPT, LONGEST_USE, Keys

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "s" * 32


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path}/hub.db")
    upgrade(engine)
    yield engine
    engine.dispose()


def kids(keys: Keys, now: datetime) -> list[object]:
    return [each["kid"] for each in keys.public_set(now)["keys"]]


def test_a_key_signs_for_a_year_and_is_published_for_30_days_more(engine: Engine) -> None:
    keys = Keys(engine, SECRET)
    first = keys.current(NOW).kid
    end = NOW + LONGEST_USE
    assert keys.current(end - timedelta(seconds=1)).kid == first
    second = keys.current(end).kid
    assert second != first
    assert kids(keys, end) == [second, first]
    assert kids(keys, end + KEPT) == [second]
    assert Keys(engine, SECRET).current(end).kid == second


def test_a_key_that_another_secret_encrypted_is_replaced(engine: Engine) -> None:
    first = Keys(engine, SECRET).current(NOW).kid
    other = Keys(engine, "t" * 32)
    second = other.current(NOW + timedelta(days=1)).kid
    assert second != first
    assert kids(other, NOW + timedelta(days=1)) == [second]

"""Databases in directories whose names have to be encoded in a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.settings import load_settings
from mograder.operations.course_checks import version_lines
from mograder.store.database.database import database_url, open_engine, sqlite_file
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.hub_state import existing_state

NAMES = ["Übung 1", "100% course", "%41", "a#b?c", "数学"]


@pytest.mark.parametrize("name", NAMES)
def test_a_hub_in_any_directory_has_its_database_there(tmp_path: Path, name: str) -> None:
    course = tmp_path / name
    course.mkdir()
    url, loaded = database_url("", course), load_settings(course, environ={})
    file = course / ".mograder" / "hub.db"
    assert sqlite_file(url) == file
    with existing_state(loaded) as state:
        assert state is None
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
    assert file.is_file()
    with existing_state(loaded) as state:
        assert state is not None
    assert version_lines(loaded)
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_configured_url_is_of_a_file_or_a_server(tmp_path: Path) -> None:
    course = tmp_path / "100%41"
    assert sqlite_file(database_url("sqlite:///a%20b.db", course)) == course / "a b.db"
    assert sqlite_file("postgresql://alice@host/name") is None

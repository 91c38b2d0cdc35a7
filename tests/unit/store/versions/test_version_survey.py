"""The survey of versions, and the line of ``hub check`` that it makes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from mograder.core.settings import load_settings
from mograder.operations.course_checks import version_lines
from mograder.operations.report import Level
from mograder.store.database.database import writing
from mograder.store.versions.version_texts import DamagedVersion, Survey, count, survey
from mograder.store.versions.version_texts import versions as rows
from mograder.store.versions.versions import Origin, Versions
from tests.support.course import REPOSITORY

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


@pytest.fixture
def kept(engine: Engine) -> Versions:
    """Five versions of two copies."""
    kept = Versions(engine)
    for user, saves in (("anna", 3), ("bert", 2)):
        for number in range(saves):
            saved = bytes(range(256)) * 4 + b"x = %d\n" % number
            kept.record(user, "A1", saved, Origin.EDITOR, NOW)
    return kept


def damage(engine: Engine, number: int) -> None:
    """Overwrite the data of anna's version; hers is the first copy."""
    with writing(engine) as connection:
        which = rows.c.copy == 1, rows.c.number == number
        connection.execute(rows.update().where(*which).values(data=b"damaged"))


@pytest.mark.usefixtures("kept")
def test_a_sound_database_has_nothing_to_report(engine: Engine, tmp_path: Path) -> None:
    found = survey(engine, 10, 5.0)
    assert found is not None
    assert (found.copies, found.versions, found.looked, found.damaged) == (2, 5, 2, ())
    assert count(engine) == Survey(2, 5, found.bytes)
    (line,) = version_lines(load_settings(tmp_path, environ={}))
    assert line.level is Level.OK
    assert "5 of 2 copies" in line.text


@pytest.mark.usefixtures("kept")
def test_damage_of_what_the_newest_version_builds_on_is_found(
    engine: Engine, tmp_path: Path
) -> None:
    damage(engine, 1)
    found = survey(engine, 10, 5.0)
    assert found is not None
    assert found.damaged == (DamagedVersion("anna", "A1", 3),)
    (line,) = version_lines(load_settings(tmp_path, environ={}))
    assert line.level is Level.PROBLEM
    assert "anna/A1" in line.text


def test_without_a_database_there_is_no_line(tmp_path: Path) -> None:
    assert version_lines(load_settings(tmp_path, environ={})) == ()


def forget(engine: Engine, user: str) -> None:
    """Remove a person's versions as the documentation says."""
    page = (REPOSITORY / "docs/how-to/remove-personal-data.md").read_text("utf-8")
    with writing(engine) as connection:
        for statement in re.findall(r"^DELETE FROM version.*;$", page, re.MULTILINE):
            connection.execute(text(statement.replace("anna", user)))


def test_the_versions_of_a_person_can_be_removed(kept: Versions, engine: Engine) -> None:
    kept.record("zoe", "A1", b"a\n", Origin.EDITOR, NOW)
    kept.record("zoe", "A1", b"b\n", Origin.EDITOR, NOW)
    forget(engine, "zoe")  # the newest copy, whose number SQLite would give out again
    assert count(engine).versions == 5
    for saved in (b"c\n", b"d\n", b"e\n"):
        made = kept.record("zoe", "A1", saved, Origin.EDITOR, NOW)
        assert kept.text("zoe", "A1", made.number) == saved
    forget(engine, "zoe")
    forget(engine, "anna")
    assert kept.all("anna", "A1") == ()
    assert count(engine).versions == 2
    assert kept.record("anna", "A1", b"new\n", Origin.EDITOR, NOW).number == 1
    assert kept.text("anna", "A1", 1) == b"new\n"

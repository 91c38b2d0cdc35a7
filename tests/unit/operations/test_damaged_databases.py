"""A damaged database is taken along with its log, and never put back as a good one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.core.settings import load_settings
from mograder.operations.backup import back_up
from mograder.operations.restore import restore
from tests.support.progress import quiet


@pytest.fixture(params=["gradebook.db", "../elsewhere.db"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A gradebook whose first page is lost while its last commits are in its log alone."""
    course = tmp_path / "course"
    course.mkdir()
    (course / "mograder.toml").write_text(f"[gradebook]\npath = '{request.param}'\n")
    file = (course / request.param).resolve()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (c)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.commit()
    file.write_bytes(b"\xff" * file.stat().st_size)
    yield file
    connection.close()


def test_it_comes_back_under_another_name_with_what_is_there_of_its_log(
    book: Path, tmp_path: Path
) -> None:
    data, log = book.read_bytes(), book.with_name(f"{book.name}-wal").read_bytes()
    made = back_up(load_settings(tmp_path / "course", environ={}), tmp_path / "backup", quiet)
    inside, again = book.parent == tmp_path / "course", tmp_path / "again"
    place = again / book.name if inside else tmp_path / "place.db"
    restore(tmp_path / "backup", again, {} if inside else {"gradebook.path": place}, quiet)
    assert not place.exists()
    assert place.with_name(f"{place.name}.damaged").read_bytes() == data
    told, *of_log = made.left_out
    assert "is damaged or is no database" in told
    if inside:
        assert place.with_name(f"{place.name}.damaged-wal").read_bytes() == log
        assert of_log == []
    else:  # the archive has one file for a place of its own
        assert of_log == [f"elsewhere.db-wal: the log of a damaged database; copy {book}-wal too"]

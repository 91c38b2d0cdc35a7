"""Messages about a database whose disk is full or whose pages are damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.store.database.database import open_engine
from mograder.store.database.sqlite_files import sqlite_damage
from mograder.store.database.upgrades import upgrade

_ON_A_FULL_DISK = """\
import sys
from mograder.store.database.database import open_engine
from mograder.store.database.upgrades import upgrade

place = sys.argv[1]
with open(f"{place}/filler", "wb") as file:
    try:
        while True:
            file.write(b"x" * 65536)
            file.flush()
    except OSError:
        pass
try:
    engine = open_engine(f"sqlite:///{place}/hub.db")
    upgrade(engine)
except Exception as error:
    print(type(error).__name__, error.message, error.hint, sep="\\n")
"""


def on_a_disk_of_a_mebibyte(place: Path, code: str) -> str:
    """Run Python where a directory, its argument, is a file system of that size."""
    done = subprocess.run(
        [
            *("bwrap", "--dev-bind", "/", "/", "--size", str(1 << 20), "--tmpfs", str(place)),
            *(sys.executable, "-c", code, str(place)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full
def test_d11_a_start_on_a_full_disk_says_so_with_the_path(tmp_path: Path) -> None:
    place = tmp_path / "full"
    place.mkdir()
    said = on_a_disk_of_a_mebibyte(place, _ON_A_FULL_DISK).splitlines()
    assert said == [
        "Busy",
        f"The disk is full: the database {place}/hub.db cannot be written.",
        f"Free some space on the file system of {place}: df -h {place}",
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A hub's database, with some pages of rows."""
    path = tmp_path / "hub.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE much (name TEXT PRIMARY KEY, value TEXT)")
        rows = [(f"{number:05}", "x" * 200) for number in range(2000)]
        connection.executemany("INSERT INTO much VALUES (?, ?)", rows)
        connection.commit()
    return path


def test_d5_a_whole_database_has_no_damage_also_while_it_is_written(file: Path) -> None:
    assert sqlite_damage(file, 30) == ()
    with contextlib.closing(sqlite3.connect(file)) as writer:
        writer.execute("INSERT INTO much VALUES ('a', 'b')")
        assert sqlite_damage(file, 30) == ()
        writer.commit()
        assert sqlite_damage(file, 30) == ()


def test_d5_damaged_pages_are_named_although_the_file_opens(file: Path) -> None:
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 3 * 4096] = b"\xa5" * (3 * 4096)
    file.write_bytes(data)
    found = sqlite_damage(file, 30)
    assert found
    assert "the table much has damaged pages" in found


def test_d5_a_destroyed_header_is_no_database(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(b"\0" * 100 + data[100:])
    with pytest.raises(InvalidInput, match="damaged or is no database"):
        sqlite_damage(file, 30)


def test_d5_looking_through_a_large_one_is_bounded(file: Path) -> None:
    assert sqlite_damage(file, -1.0) is None

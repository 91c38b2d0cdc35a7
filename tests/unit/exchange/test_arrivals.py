"""Where fetched files arrive, and where they are put."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.errors import Busy, InvalidInput
from mograder.exchange.arrivals import Shelf, arrivals, clean
from mograder.transports.interface import RemoteFile

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FILE = RemoteFile("a.py", "https://m/1/a.py", 3)


def test_a_missing_file_is_kept_for_the_next_run_and_the_rest_removed(tmp_path: Path) -> None:
    with arrivals(tmp_path) as held:
        wanted, other = held.place("alice", FILE, NOW), held.place("bob", FILE, NOW)
        part = wanted.with_name(f".{wanted.name}.part")
        for path in (part, other):
            path.write_text("x")
        held.keep_only([wanted])
        assert list(held.path.iterdir()) == [part]
    with arrivals(tmp_path) as held:
        assert held.place("alice", FILE, NOW) == wanted
        assert held.place("alice", FILE, NOW.replace(hour=13)) != wanted, "handed in again"
        with pytest.raises(Busy, match="Another command"), arrivals(tmp_path):
            pass
    clean(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_directory_is_no_way_out(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / ".fetching").symlink_to(tmp_path / "elsewhere")
    with arrivals(tmp_path / "in") as held:
        held.place("alice", FILE, NOW).write_text("x")
        assert not list((tmp_path / "elsewhere").iterdir())
        held.keep_only(())


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    with arrivals(tmp_path) as held:
        held.path.joinpath("keep").touch()
        return Shelf(tmp_path, held, NOW)


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path, shelf: Shelf) -> None:
    """Floors 8.6: names that students chose were written with plain mkdir."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "alice.files").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidInput):
        shelf.put("alice.files/notes.txt", b"x")
    assert not list((tmp_path / "outside").iterdir())


def test_a_link_in_the_place_of_a_file_is_kept_beside(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "alice.py").symlink_to("mine.txt")
    shelf.put("alice.py", b"x")
    assert (tmp_path / "alice.py").read_bytes() == b"x"
    assert not (tmp_path / "alice.py").is_symlink()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    (kept,) = tmp_path.glob("alice.py.replaced-*")
    assert kept.readlink() == Path("mine.txt")


def test_a_file_that_differs_is_kept_and_one_that_does_not_is_left(
    tmp_path: Path, shelf: Shelf
) -> None:
    shelf.put("alice.files/notes.txt", b"one")
    before = (tmp_path / "alice.files" / "notes.txt").stat().st_ino
    shelf.put("alice.files/notes.txt", b"one")
    assert (tmp_path / "alice.files" / "notes.txt").stat().st_ino == before
    shelf.put("alice.files/notes.txt", b"two")
    (kept,) = (tmp_path / ".replaced").glob("*/alice.files/notes.txt")
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (b"one", 0o600)

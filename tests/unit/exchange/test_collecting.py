"""A directory of collected submissions: where files arrive, what is written, and what is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.clients.course_server import RemoteFile
from mograder.core.errors import Busy, InvalidInput
from mograder.exchange.collecting import (
    CollectedFolder,
    CollectOutcome,
    arrivals,
    clean,
)
from mograder.store.submissions.submitted_files import read_numbers

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FILE = RemoteFile("a.py", "https://m/1/a.py", 3)


@pytest.fixture
def folder(tmp_path: Path) -> CollectedFolder:
    with arrivals(tmp_path) as held:
        held.path.joinpath("keep").touch()
        return CollectedFolder(tmp_path, held, NOW)


def test_a_link_in_the_place_of_a_folder_is_not_followed(
    tmp_path: Path, folder: CollectedFolder
) -> None:
    """Floors 8.6: names that students chose were written with plain mkdir."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "alice.files").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidInput):
        folder.put("alice.files/notes.txt", b"x")
    assert not list((tmp_path / "outside").iterdir())


def test_a_link_in_the_place_of_a_file_is_kept_beside(
    tmp_path: Path, folder: CollectedFolder
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "alice.py").symlink_to("mine.txt")
    folder.put("alice.py", b"x")
    assert (tmp_path / "alice.py").read_bytes() == b"x"
    assert not (tmp_path / "alice.py").is_symlink()
    assert (tmp_path / "mine.txt").read_text() == "mine"
    (kept,) = tmp_path.glob("alice.py.replaced-*")
    assert kept.readlink() == Path("mine.txt")


def test_a_file_that_differs_is_kept_and_one_that_does_not_is_left(
    tmp_path: Path, folder: CollectedFolder
) -> None:
    assert folder.put("alice.files/notes.txt", b"one") == (CollectOutcome.NEW, None)
    before = (tmp_path / "alice.files" / "notes.txt").stat().st_ino
    assert folder.put("alice.files/notes.txt", b"one") == (CollectOutcome.UNCHANGED, None)
    assert (tmp_path / "alice.files" / "notes.txt").stat().st_ino == before
    placed = folder.put("alice.files/notes.txt", b"two")
    (kept,) = (tmp_path / ".replaced").glob("*/alice.files/notes.txt")
    assert placed == (CollectOutcome.UPDATED, kept)
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (b"one", 0o600)


def test_a_renamed_file_takes_no_name_that_is_taken(
    tmp_path: Path, folder: CollectedFolder
) -> None:
    for name in ("Participant-1.py", "Participant-2.py", "bob.py"):
        (tmp_path / name).write_text(name)
    folder.rename("Participant-1.py", "alice.py")
    folder.rename("Participant-2.py", "bob.py")
    folder.rename("Participant-3.py", "carol.py")
    assert (tmp_path / "alice.py").read_text() == "Participant-1.py"
    assert (tmp_path / "bob.py").read_text() == "bob.py"
    (kept,) = (tmp_path / ".replaced").glob("*/Participant-2.py")
    assert kept.read_text() == "Participant-2.py"
    assert not (tmp_path / "carol.py").exists()


def test_numbers_are_written_as_0_3_16_writes_them(tmp_path: Path, folder: CollectedFolder) -> None:
    folder.write_numbers("n.json", {"bob": 2.5, "alice": 1795156305.0})
    assert (tmp_path / "n.json").read_text() == '{\n  "alice": 1795156305,\n  "bob": 2.5\n}\n'
    (tmp_path / "n.json").write_text('{"a": 1, "b": "x", "c": NaN, "d": 1e999, "e": null}')
    assert read_numbers(tmp_path, "n.json") == {"a": 1}
    assert read_numbers(tmp_path, "none.json") == {}
    for damaged in ("[1]", "{", ""):
        (tmp_path / "n.json").write_text(damaged)
        assert read_numbers(tmp_path, "n.json") == {}


def test_a_missing_file_is_kept_for_the_next_run_and_the_rest_removed(tmp_path: Path) -> None:
    with arrivals(tmp_path) as held:
        wanted, other = held.place("alice", FILE, NOW), held.place("bob", FILE, NOW)
        part = wanted.with_name(f".{wanted.name}.part")
        told = wanted.with_name(f"{part.name}.json")  # its ETag, without which it cannot go on
        for path in (part, told, other):
            path.write_text("x")
        held.keep_only([wanted])
        assert sorted(held.path.iterdir()) == [part, told]
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

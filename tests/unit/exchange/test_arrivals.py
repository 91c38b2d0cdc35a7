"""Where fetched files arrive."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.clients.course_server import RemoteFile
from mograder.core.errors import Busy
from mograder.exchange.collecting import arrivals, clean

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

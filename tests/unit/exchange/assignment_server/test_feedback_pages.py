"""Pages of feedback, sent by the person who gives it (B151)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.exchange.assignment_server import batches, find_pages


def test_the_pages_of_a_directory_are_those_of_people(tmp_path: Path) -> None:
    for name in ("bob.html", "alice.html", ".hidden.html", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert [page.name for page in find_pages(tmp_path)] == ["alice.html", "bob.html"]
    (tmp_path / "__instructor__.html").write_text("x")
    with pytest.raises(InvalidInput, match="__instructor__"):
        find_pages(tmp_path)


def test_a_directory_without_pages_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no feedback pages"):
        find_pages(tmp_path)
    with pytest.raises(NotFound, match="no directory"):
        find_pages(tmp_path / "none")


def test_uploads_stay_small_and_none_is_empty(tmp_path: Path) -> None:
    pages = []
    for number, size in enumerate((4, 5, 20, 1, 1)):
        pages.append(tmp_path / f"s{number}.html")
        pages[-1].write_bytes(b"x" * size)
    parts = batches(pages, 10)
    assert [[page.stat().st_size for page in part] for part in parts] == [[4, 5], [20], [1, 1]]
    assert batches([]) == ()

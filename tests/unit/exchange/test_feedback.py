"""Feedback: read by the person it is for, sent by the person who gives it (B151)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.exchange.feedback import batches, find_pages, read_feedback
from tests.support.fake_course import FakeCourse


@pytest.fixture
def course() -> FakeCourse:
    return FakeCourse({"hw1": {"hw1.py": b"#"}}, pages={"alice": b"<p>Good.</p>"})


def test_b151_the_page_is_written_where_it_is_wanted(course: FakeCourse, tmp_path: Path) -> None:
    returned = read_feedback(course, course.assignment("hw1"), tmp_path / "mine")
    assert returned.pages == (tmp_path / "mine" / "alice.html",)
    assert returned.pages[0].read_bytes() == b"<p>Good.</p>"


def test_b151_without_a_place_or_a_page_nothing_is_written(
    course: FakeCourse, tmp_path: Path
) -> None:
    assert read_feedback(course, course.assignment("hw1")).pages == ()
    course.user = "bob"
    assert read_feedback(course, course.assignment("hw1"), tmp_path).pages == ()
    assert list(tmp_path.iterdir()) == []


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

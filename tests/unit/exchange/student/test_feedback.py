"""Feedback, read by the person it is for (B151)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.exchange.student.submit import read_feedback
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

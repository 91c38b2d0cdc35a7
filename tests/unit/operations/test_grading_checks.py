"""The check of sources: an item with submissions needs one, wherever the hub has it from."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.settings import load_settings
from mograder.operations.grading_checks import source_line
from mograder.operations.report import Level


def put(course: Path, *names: str) -> None:
    """Write empty files into a course."""
    for name in names:
        path = course / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_course_without_submissions_lacks_no_source(tmp_path: Path) -> None:
    put(tmp_path, "source/A1/A1.py")
    assert source_line(load_settings(tmp_path, environ={})).level is Level.OK


@pytest.mark.parametrize("place", ["source/A1/A1.py", ".mograder/sources/A1/A1.py"])
def test_a_source_is_found_in_the_course_or_as_it_was_sent(tmp_path: Path, place: str) -> None:
    put(tmp_path, "submitted/A1/alice.py", place)
    line = source_line(load_settings(tmp_path, environ={}))
    assert (line.level, line.text) == (Level.OK, "sources: there for all 1 items with submissions")


def test_items_with_submissions_and_no_source_are_named_with_the_remedy(tmp_path: Path) -> None:
    put(tmp_path, *(f"submitted/A{number}/alice.py" for number in range(5)), "source/A1/A1.py")
    line = source_line(load_settings(tmp_path, environ={}))
    assert line.level is Level.NOTE
    assert line.text == "sources: none for A0, A2, A3 and 1 more, which have submissions"
    assert "mograder hub publish" in line.hint

"""grading.submitted_text: reading files of strangers, and what their texts may say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.grading.submissions.submitted_text import read_submission, read_text
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.grading_plan import code_digest
from mograder.notebook.points import GRADERS_CELLS
from mograder.notebook.source.release import with_submit_cells
from tests.support.fake_judges import SOURCE, answered, release_of

RELEASE = release_of(SOURCE)


def test_the_bytes_of_a_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "alice smith.py"
    path.write_bytes(b"x\r\n\xff")
    assert read_submission(path) == b"x\r\n\xff"


@pytest.mark.parametrize("kind", ["link", "dangling", "directory", "fifo", "missing", "large"])
def test_anything_else_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "bob.py", tmp_path / "other.py"
    other.write_text(RELEASE)
    said = {"link": "is a link", "dangling": "is a link", "large": "larger than"}
    if kind == "link":
        path.symlink_to(other)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nothing")
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(MAX_NOTEBOOK + 1)
    with pytest.raises(InvalidInput, match=said.get(kind, "no file|cannot be read")) as caught:
        read_submission(path)
    assert str(tmp_path) not in str(caught.value)


def digests_of_checks(text: str) -> frozenset[str]:
    return frozenset(
        code_digest(c.code) for c in parse_cells(text, "r").cells if "check(" in c.code
    )


def read(text: str) -> tuple[list[int], tuple[str, ...]]:
    """The indexes of the cells that are left out, and what was changed."""
    checks = digests_of_checks(RELEASE) | digests_of_checks(SOURCE)
    found = read_text(text, "bob.py", RELEASE, checks, frozenset(("x",)))
    told = {each for each in found.skip if isinstance(each, str)}
    assert told == checks & digests_of_checks(text)
    return [each for each in found.skip if isinstance(each, int)], found.tampered


def test_the_digest_of_a_cell_with_hidden_tests_is_not_told_to_the_worker() -> None:
    """With the rest of the cell in the release, a guess could be tried by it."""
    secret = digests_of_checks(SOURCE) - digests_of_checks(RELEASE)
    checks = digests_of_checks(RELEASE) | secret
    assert secret
    assert secret.isdisjoint(read_text(RELEASE, "bob.py", RELEASE, checks, frozenset()).skip)


def test_the_released_checks_are_left_out() -> None:
    assert read(answered(SOURCE, ("area = ...", "area = abs"))) == ([3, 5], ())


def test_the_cells_for_submitting_are_left_out() -> None:
    text = with_submit_cells(RELEASE, url="https://x", assignment="hw1")
    assert read(text) == ([3, 5, 7, 8], ())


@pytest.mark.parametrize("marker", GRADERS_CELLS)
def test_cells_with_marks_are_told_and_left_out(marker: str) -> None:
    cell = f"@app.cell\ndef _():\n    {marker}\n    _mark = 100\n    return\n\n\nif __name__"
    skip, tampered = read(RELEASE.replace("if __name__", cell))
    assert skip == [3, 5, 7]
    assert tampered == (f"cell: added: {marker}",)


def test_lines_are_those_of_the_students_file() -> None:
    known = read_text(RELEASE, "bob.py", None, frozenset(), frozenset())
    lines = RELEASE.splitlines()
    for cell, first in zip(parse_cells(RELEASE, "r").cells, known.lines, strict=True):
        assert lines[first - 1].strip() == cell.code.splitlines()[0]
    assert known.tampered == ()


def test_very_many_cells_for_graders_are_refused_in_words() -> None:
    cell = f"@app.cell\ndef _():\n    {GRADERS_CELLS[0]}\n    _mark = 100\n    return\n\n\n"
    many = RELEASE.replace("if __name__", 1000 * cell + "if __name__")
    with pytest.raises(InvalidInput, match=r"bob\.py has 100\d cells of checks or for graders"):
        read(many)

"""Properties of every text: unchanged parts stay the same.

A hundred examples by default; ``HYPOTHESIS_PROFILE=long`` runs each property for thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import LineEdit, parse_cells, replace_lines, split_lines
from mograder.notebook.denied_code import scan, screen_source, screen_submission
from mograder.notebook.header_edit import ensure_kind, read_key, set_keys
from mograder.notebook.integrity import check_integrity
from mograder.notebook.parsing import check_notebook
from mograder.notebook.pep723 import read_kind
from mograder.notebook.points import cell_hashes, checks_in, marks_of
from mograder.notebook.source.leaks import CellOutput, find_leaks, hidden_values
from mograder.notebook.source.lectures import mode_by_initial, to_lecture
from mograder.notebook.source.release import make_release
from mograder.notebook.source.solution_markers import find_blocks
from mograder.processes.notebook_calls import compare
from tests.unit.notebook.strategies import (
    PIECES,
    REMARKS,
    TEXTS,
    assembled,
    damaged,
    notebooks,
    tampered,
)

pytestmark = pytest.mark.timeout(1800)
FEW = settings(max_examples=max(20, settings().max_examples // 5))
ANYTHING = st.one_of(TEXTS, damaged())
FRAME = "import marimo\n\napp = marimo.App()\n\n\n{}\n"
T = TypeVar("T")


def attempt(function: Callable[[], T]) -> T | None:
    """Return a function's result, or None when it raises InvalidInput."""
    try:
        return function()
    except InvalidInput:
        return None


@FEW
@given(TEXTS)
def test_lines_put_together_again_are_the_text(text: str) -> None:
    assert "".join(split_lines(text)) == text
    assert replace_lines(split_lines(text), []) == text


@FEW
@given(TEXTS, st.data())
def test_only_the_lines_that_were_to_change_do(text: str, data: st.DataObject) -> None:
    lines = split_lines(text)
    first = data.draw(st.integers(1, len(lines) + 1))
    last = data.draw(st.integers(first - 1, len(lines)))
    changed = split_lines(replace_lines(lines, [LineEdit(first, last, ("new",))]))
    assert changed[: max(first - 2, 0)] == lines[: max(first - 2, 0)]
    after = len(lines) - last
    assert changed[len(changed) - after :] == lines[last:]
    assert "new" in [line.rstrip("\r\n") for line in changed]
    if last >= first or first <= len(lines):
        assert changed[: first - 1] == lines[: first - 1]


@FEW
@given(ANYTHING)
def test_no_text_breaks_the_search_for_cells(text: str) -> None:
    notebook = attempt(lambda: parse_cells(text, "x.py"))
    if notebook is None:
        return
    assert "".join(notebook.lines) == text
    latest = 0
    for cell in notebook.cells:
        assert latest < cell.first <= cell.last <= len(notebook.lines)
        latest = cell.last
    attempt(lambda: marks_of(notebook))
    attempt(lambda: checks_in(notebook))


@FEW
@given(ANYTHING, st.one_of(notebooks(), damaged()))
@example("@app.cell\nclass A:\n    x = 1", "")
@example("@app.class_definition\ndef f(): pass", "")
@example("@app.function\nclass A: pass", "")
@example("@app.cell\nx = 1", "")
@example("app._unparsable_cell()", "")
@example("app._unparsable_cell(1)", "")
@example("@app.cell(hide_code=)\ndef _(): return", "")
@example("with app.setup: pass\nwith app.setup: pass", "")
def test_no_text_breaks_the_parsers_in_another_way_than_said(text: str, release: str) -> None:
    for each in (text, FRAME.format(text)):
        attempt(partial(check_notebook, each, "x.py"))
        attempt(partial(compare, each, "x.py", release))
        attempt(partial(make_release, each, filename="x.py", assignment="A1"))
        attempt(partial(to_lecture, each, filename="x.py", mode_of=mode_by_initial))


@FEW
@given(notebooks())
def test_every_random_notebook_is_one(text: str) -> None:
    """Else the other properties would hold because there is nothing to hold of."""
    assert parse_cells(text, "x.py").cells


@FEW
@given(st.one_of(notebooks(marked=True), ANYTHING))
def test_a_release_differs_in_blocks_and_header_only(text: str) -> None:
    made = attempt(lambda: make_release(text, filename="x.py", assignment="A1"))
    if made is None:
        return
    again = make_release(text, filename="x.py", assignment="A1")
    assert again == made
    inside = {n for b in find_blocks(text, "x.py") for n in range(b.begin, b.end + 1)}
    lines = split_lines(text.removeprefix("\ufeff"))  # which marimo opens no file with
    kept = [line for n, line in enumerate(lines, start=1) if n not in inside]
    left = iter(split_lines(made.text))
    if "mo.md(response_text)" not in text and "mograder-" not in text:
        assert all(line in left for line in kept), "a line outside of the blocks was changed"
    assert make_release(made.text, filename="x.py", assignment="A1") is None


@FEW
@given(notebooks(marked=True))
def test_a_release_is_as_it_was_released(text: str) -> None:
    made = attempt(lambda: make_release(text, filename="x.py", assignment="A1"))
    if made is None:
        return
    for release in (made.text, None):
        report = check_integrity(made.text, release, "x.py")
        assert report.findings == ()
        assert report.restored is None
    stated = read_key(made.text, "mograder-cell-hashes")
    assert not stated or stated == ",".join(cell_hashes(parse_cells(made.text, "x.py").cells))


@FEW
@given(ANYTHING, st.one_of(st.none(), notebooks(), damaged()))
def test_no_text_breaks_the_comparison_with_a_release(text: str, release: str | None) -> None:
    report = attempt(lambda: check_integrity(text, release, "x.py"))
    if report is None or report.restored is None or release is None:
        return
    again = check_integrity(report.restored, release, "x.py")
    assert again.restored is None, "what was restored still has to be restored"


@FEW
@given(tampered())
def test_whatever_a_student_did_each_check_runs_once_as_released(text: str) -> None:
    release = assembled(list(PIECES))
    report = check_integrity(text, release, "x.py")
    to_run = text if report.restored is None else report.restored
    codes = [cell.code for cell in parse_cells(to_run, "x.py").cells]
    for cell in parse_cells(release, "x.py").cells:
        if "check(" in cell.code:
            assert codes.count(cell.code) == 1
    assert any('_marks = {"Q1": 1}' in code and "= Grader(_marks).check" in code for code in codes)
    assert check_integrity(to_run, release, "x.py").restored is None
    released = {cell.code for cell in parse_cells(release, "x.py").cells}
    assert {codes[index] for index in report.counted or ()} <= released


@FEW
@given(ANYTHING)
def test_no_text_breaks_the_scan(text: str) -> None:
    found = scan(text, "x.py")
    assert all(finding.line >= 1 for finding in found)
    alone = screen_submission(text, "x.py", release=None)
    assert sorted((*alone.denied, *alone.unchecked)) == list(found)
    assert len(screen_source(text, "x.py")) <= len(found)
    same = screen_submission(text, "x.py", release=text)
    assert set(same.denied) <= set(found)


@FEW
@given(ANYTHING, st.text(max_size=100))
def test_no_text_breaks_the_search_for_leaks(text: str, shown: str) -> None:
    hidden = attempt(lambda: hidden_values(text, "", "x.py")) or ()
    outputs = [CellOutput(0, shown), CellOutput(99, text)]
    attempt(lambda: find_leaks(text, "x.py", outputs=outputs, hidden=hidden))


@FEW
@given(ANYTHING, st.text(max_size=10))
def test_a_key_that_is_written_can_be_read(text: str, value: str) -> None:
    written = set_keys(text, {"mograder-assignment": "A1-Name", "mograder-hidden-tests": True})
    assert set_keys(written, {"mograder-assignment": "A1-Name"}) == written
    if written != text:
        assert read_key(written, "mograder-assignment") == "A1-Name"
        assert read_key(written, "mograder-hidden-tests") == "true"
    assert len(split_lines(set_keys(text, {"mograder-x": value}))) <= len(split_lines(text)) + 1


@FEW
@given(notebooks())
def test_a_notebook_that_becomes_a_lecture_stays_the_same_otherwise(text: str) -> None:
    made = attempt(lambda: to_lecture(text, filename="x.py", mode_of=mode_by_initial))
    if made is None:
        return
    assert read_kind(made) == "lecture"
    assert to_lecture(made, filename="x.py", mode_of=mode_by_initial) == made
    theirs, ours = parse_cells(made, "x.py"), parse_cells(text, "x.py")
    assert [cell.code for cell in theirs.cells] == [cell.code for cell in ours.cells]
    assert theirs.lines[-1] == ours.lines[-1]


@FEW
@given(ANYTHING)
def test_a_kind_is_written_into_any_text(text: str) -> None:
    made = ensure_kind(text, "lecture")
    assert ensure_kind(made, "lecture") == made
    assert made.startswith("\ufeff") == text.startswith("\ufeff")


@FEW
@given(st.lists(REMARKS, max_size=4), notebooks())
def test_what_an_author_wrote_into_the_block_stays(remarks: list[str], text: str) -> None:
    start = "# /// script"
    if start not in text:
        return
    end = "\r\n" if "\r\n" in text else "\n" if "\n" in text else "\r"
    text = text.replace(start, end.join([start, *(f"# {remark}" for remark in remarks)]))
    left = iter(split_lines(set_keys(text, {"mograder-assignment": "A1"})))
    assert all(line in left for line in split_lines(text))

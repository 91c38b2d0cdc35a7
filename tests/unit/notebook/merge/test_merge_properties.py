"""Properties of every merge, over random releases, corrections and copies.

A few examples by default; ``HYPOTHESIS_PROFILE=long`` runs each property for thousands.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from marimo._ast.compiler import compile_cell
from marimo._lint.validate_graph import check_for_errors
from marimo._runtime.dataflow import DirectedGraph
from marimo._types.ids import CellId_t

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import Cell, CellKind, parse_cells
from mograder.notebook.integrity.guarded_cells import guarded_cells
from mograder.notebook.merge.cell_merge import Merge, NotMergeable, merge
from mograder.notebook.merge.cell_pairs import code_of
from mograder.notebook.points import is_editable, is_marks_cell, labels_in
from tests.unit.notebook.merge_strategies import corrected, edited, releases, written
from tests.unit.notebook.strategies import TEXTS, damaged, notebooks

pytestmark = pytest.mark.timeout(1800)
SOME = settings(max_examples=max(40, settings().max_examples // 5))


@st.composite
def cases(draw: st.DrawFn, *, honest: bool = False) -> tuple[str, str, str]:
    """An old release, the new one, and a copy that parses."""
    base = draw(releases())
    old = written(base)
    new = written(draw(corrected(base)), more=draw(st.sampled_from(["", ', "numpy"'])))
    assume(old != new)
    mine = written(draw(edited(base, honest=honest)), hashes=False)
    header = old[: old.index("import marimo")]
    own = header + mine[mine.index("import marimo") :]
    note("\n=== NEW ===\n".join([old, new]) + "\n=== COPY ===\n" + own)
    return old, new, own


def merged(base: str | None, new: str, mine: str) -> Merge | None:
    """The merge, or None where it is refused."""
    try:
        return merge(base, new, mine)
    except NotMergeable:
        return None


def cells_of(text: str) -> tuple[Cell, ...]:
    """The cells of a notebook."""
    return parse_cells(text, "x.py").cells


def faults_of(text: str) -> set[str]:
    """The faults that marimo finds: names that several cells define, and cells in cycles."""
    graph = DirectedGraph()
    for cell in cells_of(text):
        name = "setup" if cell.kind is CellKind.SETUP else str(cell.index)
        if cell.kind is not CellKind.UNPARSABLE:
            with suppress(SyntaxError):
                made = CellId_t(name)
                graph.register_cell(made, compile_cell(cell.code, cell_id=made))
    return {
        getattr(error, "name", "") or f"{type(error).__name__}: {graph.cells[cell].code.strip()}"
        for cell, errors in check_for_errors(graph).items()
        for error in errors
    }


def decides(text: str) -> list[Cell]:
    """The cells of a release that decide about marks."""
    notebook = parse_cells(text, "x.py")
    return [
        each.cell for each in guarded_cells(notebook) if each.labels and not is_editable(each.cell)
    ]


@SOME
@given(cases())
def test_an_untouched_copy_becomes_the_new_release(case: tuple[str, str, str]) -> None:
    base, new, _ = case
    assert merge(base, new, base).text == new
    assert merge(None, new, new).text == new
    assert not merge(base, new, base).conflicts


@SOME
@given(cases())
def test_a_release_that_is_the_same_changes_nothing(case: tuple[str, str, str]) -> None:
    base, _, mine = case
    try:
        found = merge(base, base, mine)
    except NotMergeable:
        with pytest.raises(InvalidInput):
            parse_cells(mine, "x.py")
        return
    assert found.text == mine
    assert not found.changed


@SOME
@given(cases(), st.booleans())
def test_all_that_decides_about_marks_is_as_released(
    case: tuple[str, str, str], known: bool
) -> None:
    base, new, mine = case
    found = merged(base if known else None, new, mine)
    if found is None:
        return
    have = {code_of(cell) for cell in cells_of(found.text)}
    for cell in decides(new):
        allowed = not any(labels_in(cell.code))  # imports may be added to it
        assert code_of(cell) in have or (allowed and any(is_marks_cell(c) for c in cells_of(mine)))
    assert found.text[: found.text.index("import marimo")] == new[: new.index("import marimo")]


@SOME
@given(cases(), st.booleans())
def test_nothing_that_the_student_wrote_is_lost(case: tuple[str, str, str], known: bool) -> None:
    base, new, mine = case
    found = merged(base if known else None, new, mine)
    if found is None:
        return
    authors = {code_of(cell) for text in (base, new) for cell in cells_of(text)}
    given_lines = {line.strip() for text in (base, new) for line in text.split("\n")}
    lines = [line.strip() for line in found.text.split("\n")]
    have = {*lines, *(line.removeprefix("# ").strip() for line in lines)}
    codes = {code_of(cell) for cell in cells_of(found.text)}
    for cell in cells_of(mine):
        if code_of(cell) in authors or code_of(cell) in codes:
            continue
        for line in code_of(cell).split("\n"):
            assert line.strip() in given_lines | have


@SOME
@given(cases(), st.booleans())
def test_an_answer_is_the_same_cell_afterwards(case: tuple[str, str, str], known: bool) -> None:
    base, new, mine = case
    found = merged(base if known else None, new, mine)
    if found is None:
        return
    authors = {code_of(cell) for text in (base, new) for cell in cells_of(text)}
    have = {code_of(cell) for cell in cells_of(found.text)}
    for cell in cells_of(mine):
        own = code_of(cell) not in authors and not any(labels_in(cell.code))
        if own and not any(part in cell.code for part in ("import", "grader", "MOGRADER")):
            assert code_of(cell) in have


@SOME
@given(cases(), st.booleans())
def test_what_ran_still_runs(case: tuple[str, str, str], known: bool) -> None:
    base, new, mine = case
    found = merged(base if known else None, new, mine)
    if found is None:
        return
    assert faults_of(found.text) <= faults_of(mine) | faults_of(new)


@SOME
@given(cases(), st.booleans())
def test_a_second_merge_changes_nothing(case: tuple[str, str, str], known: bool) -> None:
    base, new, mine = case
    found = merged(base if known else None, new, mine)
    if found is None:
        return
    assert merge(base if known else None, new, found.text).text == found.text
    assert merge(new, new, found.text).text == found.text
    assert merge(base if known else None, new, mine) == found


@SOME
@given(cases())
def test_the_students_cells_keep_their_order(case: tuple[str, str, str]) -> None:
    base, new, mine = case
    found = merged(base, new, mine)
    if found is None:
        return
    authors = {code_of(cell) for text in (base, new) for cell in cells_of(text)}
    own = [code_of(cell) for cell in cells_of(mine) if code_of(cell) not in authors]
    once = {code for code, count in Counter(own).items() if count == 1}
    after = [code_of(cell) for cell in cells_of(found.text)]
    notes = [code for code in after if code in once and code.startswith("note_")]
    assert notes == [code for code in own if code in once and code.startswith("note_")]


@SOME
@given(cases(honest=True))
def test_a_copy_with_answers_and_own_cells_is_always_merged(case: tuple[str, str, str]) -> None:
    base, new, mine = case
    found = merge(base, new, mine)
    have = {code_of(cell) for cell in cells_of(found.text)}
    assert {code_of(cell) for cell in decides(new)} <= have
    assert merge(None, new, mine).text


@SOME
@given(
    st.one_of(st.none(), TEXTS, notebooks(), damaged()),
    st.one_of(TEXTS, notebooks(), damaged()),
    st.one_of(TEXTS, notebooks(), damaged()),
)
def test_no_text_breaks_a_merge(base: str | None, new: str, mine: str) -> None:
    found = merged(base, new, mine)
    if found is not None:
        assert parse_cells(found.text, "x.py")

"""One cell of an earlier version put back: it is as it was, and no other byte changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marimo._convert.converters import MarimoConvert

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.notebook.cells import parse_cells
from mograder.notebook.points import plain_code
from mograder.notebook.version_diff import put_back_cell
from tests.unit.notebook.strategies import damaged, notebooks
from tests.unit.notebook.test_version_diff import ANSWER, MEAN, PLOT, TEXT, cell, notebook

BETTER = cell("def mean(xs):\n    return 0", "first")
SETUP = "with app.setup:\n    import math\n"


def test_a_changed_cell_is_replaced_where_it_stands_now() -> None:
    found = put_back_cell(notebook(PLOT, BETTER, TEXT), notebook(MEAN, PLOT), 0, "A1.py")
    assert found.text == notebook(PLOT, MEAN, TEXT)
    assert (found.replaced, found.twice) == (True, ())


@pytest.mark.parametrize(
    ("present", "earlier", "index", "expected"),
    [
        ([PLOT, TEXT], [PLOT, MEAN, TEXT], 1, [PLOT, MEAN, TEXT]),
        ([PLOT, TEXT], [MEAN, PLOT, TEXT], 0, [MEAN, PLOT, TEXT]),
        ([TEXT, PLOT], [PLOT, TEXT, MEAN], 2, [TEXT, MEAN, PLOT]),
        ([PLOT], [SETUP, PLOT], 0, [SETUP, PLOT]),
        ([SETUP, PLOT], [SETUP, MEAN, PLOT], 1, [SETUP, MEAN, PLOT]),
        ([SETUP, PLOT], [MEAN, PLOT], 0, [SETUP, MEAN, PLOT]),
    ],
)
def test_a_removed_cell_comes_back_behind_the_one_that_it_followed(
    present: list[str], earlier: list[str], index: int, expected: list[str]
) -> None:
    found = put_back_cell(notebook(*present), notebook(*earlier), index, "A1.py")
    assert found.text == notebook(*expected)
    assert not found.replaced


def test_a_cell_comes_back_where_another_one_is_still_as_it_was_then() -> None:
    """Answers that are still open are often all alike."""
    earlier = notebook(TEXT, ANSWER, MEAN, ANSWER)
    present = notebook(TEXT, cell("# YOUR CODE HERE\nplt.plot(1)"), MEAN, ANSWER)
    found = put_back_cell(present, earlier, 1, "A1.py")
    assert (found.text, found.replaced) == (earlier, True)


def test_an_open_answer_replaces_the_answer_of_its_name_and_no_open_one() -> None:
    open_ones = [cell('mo.md("Write here.")', f"written_analysis_{n}") for n in range(2)]
    answered = cell('mo.md("It is so.")', "written_analysis_0")
    present = notebook(PLOT, answered, MEAN, open_ones[1])
    found = put_back_cell(present, notebook(TEXT, open_ones[0]), 1, "A1.py")
    assert found.text == notebook(PLOT, open_ones[0], MEAN, open_ones[1])


def test_a_setup_cell_replaces_the_present_one() -> None:
    present = notebook("with app.setup:\n    import cmath\n", PLOT)
    assert put_back_cell(present, notebook(SETUP, PLOT), 0, "A1.py").text == notebook(SETUP, PLOT)


def test_names_that_two_cells_define_are_told() -> None:
    present = notebook(TEXT, cell("x = 1\nz = 1"), cell("y = 1"))
    earlier = notebook(cell("x = 0\ny = 0\nz = 0", "all"), TEXT)
    found = put_back_cell(present, earlier, 0, "A1.py")
    assert (found.replaced, found.twice) == (True, ("y",))


def test_what_is_there_already_is_not_put_back() -> None:
    with pytest.raises(Conflict, match="as it was then"):
        put_back_cell(notebook(TEXT, MEAN), notebook(MEAN), 0, "A1.py")


@pytest.mark.parametrize(
    ("then", "differs"),
    [
        (cell('mo.md("# Hi")'), False),
        (cell("x = 1\n\n"), False),
        (cell('mo.md("# Hi")', "named"), True),
        (cell('mo.md("# Hi")').replace("app.cell", "app.cell(hide_code=True)"), True),
    ],
)
def test_a_cell_that_marimo_has_only_saved_in_its_own_form_is_there_already(
    then: str, *, differs: bool
) -> None:
    code = parse_cells(notebook(then), "A1.py").cells[0].code
    now = notebook(PLOT, cell(plain_code(code)))
    if differs:
        assert put_back_cell(now, notebook(PLOT, then), 1, "A1.py").replaced
        return
    with pytest.raises(Conflict, match="as it was then"):
        put_back_cell(now, notebook(PLOT, then), 1, "A1.py")


def test_a_cell_that_never_was_is_not_found() -> None:
    with pytest.raises(NotFound):
        put_back_cell(notebook(TEXT), notebook(MEAN), 1, "A1.py")


@pytest.mark.parametrize("broken", ["present", "earlier"])
def test_a_broken_notebook_is_refused_with_the_line(broken: str) -> None:
    texts = {"present": notebook(TEXT), "earlier": notebook(MEAN), broken: "x = (\n"}
    with pytest.raises(InvalidInput, match=r"A1\.py:1") as refused:
        put_back_cell(texts["present"], texts["earlier"], 0, "A1.py")
    assert "whole version" in refused.value.hint


def test_line_ends_of_the_present_text_stay() -> None:
    present = notebook(ANSWER, TEXT).replace("\n", "\r\n")
    found = put_back_cell(present, notebook(PLOT, TEXT), 0, "A1.py")
    assert found.text == notebook(PLOT, TEXT).replace("\n", "\r\n")


@given(st.one_of(notebooks(), damaged()), st.one_of(notebooks(), damaged()), st.integers(0, 3))
def test_any_cell_comes_back_and_no_other_changes(present: str, earlier: str, index: int) -> None:
    try:
        found = put_back_cell(present, earlier, index, "A1.py")
    except (InvalidInput, NotFound, Conflict):
        return
    before, after = parse_cells(present, "a"), parse_cells(found.text, "b")
    wanted = parse_cells(earlier, "c").cells[index]
    assert wanted.code.strip() in [each.code.strip() for each in after.cells]
    old, new = ([each.code for each in text.cells] for text in (before, after))
    assert len(new) == len(old) + (not found.replaced)
    assert sum(code not in new for code in set(old)) <= int(found.replaced)


@pytest.mark.parametrize(
    ("now", "then", "possible"),
    [
        (BETTER, cell("def mean(xs):\n    return 1", "first"), True),
        (BETTER, cell("def mean(xs):\n    return 1", "second"), False),
        (BETTER.replace("app.cell", "app.cell(hide_code=True)"), MEAN, False),
    ],
)
def test_an_open_editor_is_given_changes_of_code_only(
    now: str, then: str, *, possible: bool
) -> None:
    change = put_back_cell(notebook(PLOT, now), notebook(PLOT, then), 1, "A1.py").change
    assert (change is not None) == possible
    if change is not None:
        assert change.index == 1
        assert change.is_in(notebook(then), "A1.py")
        assert not change.is_in(notebook(now), "A1.py")


def test_a_change_is_made_in_whatever_form_marimo_has_saved_it() -> None:
    now, then = (notebook(cell(f'mo.md("# {word}")')) for word in ("Bye", "Hi"))
    change = put_back_cell(now, then, 0, "A1.py").change
    assert change is not None
    saved = MarimoConvert.from_py(then).to_py()
    assert change.after not in saved
    assert change.is_in(saved, "A1.py")
    assert not change.is_in(now, "A1.py")

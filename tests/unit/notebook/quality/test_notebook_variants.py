"""quality.notebook_variants, needed_cells and answer_digests: other forms of the same notebook."""

from __future__ import annotations

from mograder.notebook.cells import CellKind, parse_cells
from mograder.notebook.grading.grading_split import plan_source
from mograder.notebook.parsing import cell_names
from mograder.notebook.quality.answer_digests import read_digests, with_digests
from mograder.notebook.quality.foreign_changes import foreign_changes
from mograder.notebook.quality.needed_cells import (
    cells_below,
    checks_below,
    needed_cells,
    needed_names,
    only_cells,
)
from mograder.notebook.quality.notebook_variants import (
    FIRST_CELLS,
    in_other_order,
    other_seed,
    with_checks_twice,
    with_first_cell,
)

SOURCE = """\
import marimo

app = marimo.App()

with app.setup:
    from mograder.runtime import check


@app.cell
def _():
    data = [3, 1]
    return (data,)


@app.cell
def _(data):
    data.sort()
    table = {}
    table["own"] = 1
    return


@app.cell
def _(data):
    ### BEGIN SOLUTION
    first = data[0]
    ### END SOLUTION
    return (first,)


@app.cell
def _(first):
    print(first)
    return


@app.cell
def _(first):
    check("Q1", [(first == 1, "one")])
    return


if __name__ == "__main__":
    app.run()
"""
NOTEBOOK = parse_cells(SOURCE, "a.py")
PLAN = plan_source(SOURCE, "a.py").plan


def codes(text: str) -> list[str]:
    return [cell.code for cell in parse_cells(text, "a.py").cells]


def test_cells_are_followed_to_what_they_need_and_to_what_needs_them() -> None:
    assert needed_cells(PLAN, [5]) == {0, 1, 3, 5}
    assert cells_below(PLAN, 3) == {3, 4, 5}
    assert checks_below(PLAN, 1) == {5}
    assert needed_names(PLAN) == {"first"}


def test_a_notebook_of_some_cells_has_these_and_no_others() -> None:
    every = codes(SOURCE)
    assert codes(only_cells(NOTEBOOK, {0, 1, 3, 5})) == [every[0], every[1], every[3], every[5]]
    assert only_cells(NOTEBOOK, range(6)) == SOURCE


def test_the_other_order_keeps_the_setup_cell_first() -> None:
    every = codes(SOURCE)
    assert codes(in_other_order(NOTEBOOK)) == [every[0], *reversed(every[1:])]


def test_a_check_runs_twice_at_the_end() -> None:
    text, again = with_checks_twice(NOTEBOOK, PLAN)
    assert again == {5}
    assert codes(text) == [*codes(SOURCE), codes(SOURCE)[5]]


def test_code_runs_before_everything_else() -> None:
    for code in (*FIRST_CELLS.values(), other_seed(3)):
        compile(code, "first", "exec")
        cells = parse_cells(with_first_cell(NOTEBOOK, code), "a.py").cells
        assert cells[0].kind is CellKind.SETUP
        assert cells[0].code.startswith(code.splitlines()[0])
        assert "check" in cells[0].code
    plain = parse_cells(only_cells(NOTEBOOK, {1}), "a.py")
    assert codes(with_first_cell(plain, "import os as _os\n")) == [
        "import os as _os",
        "data = [3, 1]",
    ]


def test_the_first_cells_leave_no_names_to_other_cells() -> None:
    for code in (*FIRST_CELLS.values(), other_seed(3)):
        assert not cell_names(code).defined


def test_the_digests_of_answers_are_printed_and_read() -> None:
    text = with_digests(NOTEBOOK, ["first", "data"])
    *_, probe = codes(text)
    printed = digests_of(probe, first=1 / 3, data=[3, {"a": (1.0, None)}])
    assert printed == digests_of(probe, first=0.33333333, data=[3, {"a": (1, None)}])
    other = digests_of(probe, first=1 / 3, data=[3, {"a": (2, None)}])
    assert printed["first"] == other["first"]
    assert printed["data"] != other["data"]
    assert digests_of(probe, first=print, data={2, 1})["first"] is None
    assert read_digests("something else") == read_digests("mograder digests: {") == {}


def digests_of(probe: str, **names: object) -> dict[str, str | None]:
    """Return what the last cell prints for these values."""
    printed: list[str] = []
    exec(probe, {**names, "print": printed.append})
    return dict(read_digests(f"before\n{printed[0]}\n"))


def test_changes_of_other_cells_objects_are_found() -> None:
    (found,) = foreign_changes(NOTEBOOK, PLAN)
    assert (found.name, found.cell) == ("data", 2)
    assert NOTEBOOK.lines[found.line - 1].strip() == "data.sort()"

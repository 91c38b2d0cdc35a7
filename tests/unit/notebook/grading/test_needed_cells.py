"""Parts of a notebook that checks need, and the digests of what its answers are."""

from __future__ import annotations

from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.grading_plan import (
    cells_below,
    checks_below,
    needed_cells,
    needed_names,
    only_cells,
)
from mograder.notebook.grading.grading_split import plan_source
from mograder.notebook.grading.mutants import read_digests, with_digests
from tests.support.notebooks import HEAD, notebook

SOURCE = notebook(
    "data = [3, 1]",
    """
    data.sort()
    table = {}
    table["own"] = 1
    return
    """,
    """
    ### BEGIN SOLUTION
    first = data[0]
    ### END SOLUTION
    """,
    "print(first)",
    'check("Q1", [(first == 1, "one")])',
    head=f"{HEAD}\nwith app.setup:\n    from mograder.runtime import check\n",
)
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

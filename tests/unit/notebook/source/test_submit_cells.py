"""The form that submits, as two cells of the notebook (compatibility-0.3.16.md 7)."""

from __future__ import annotations

import pytest

from mograder.notebook.cells import parse_cells
from mograder.notebook.source.submit_cells import SUBMIT, with_submit_cells
from mograder.notebook.source.templates import assignment_text

TEXT = assignment_text("A1", marimo="0.25.2")


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), TEXT.partition("\n\nif __")[0]])
def test_two_cells_come_last_and_all_else_stays(text: str) -> None:
    released = with_submit_cells(text, url='https://x.org/"', assignment="A1")
    before, after = parse_cells(text, "a").cells, parse_cells(released, "a").cells
    assert [cell.code for cell in after[:-2]] == [cell.code for cell in before]
    assert all(SUBMIT in cell.code for cell in after[-2:])
    assert '"https://x.org/\\""' in after[-1].code
    assert released.startswith(text.partition("if __name__")[0].rstrip())


def test_a_notebook_that_has_the_cells_stays_as_it_is() -> None:
    once = with_submit_cells(TEXT, url="https://x.org", assignment="A1")
    assert with_submit_cells(once, url="https://y.org", assignment="A1") == once

"""The templates of ``mograder new``."""

from __future__ import annotations

from mograder.notebook.source.templates import assignment_text


def test_a_hint_is_not_on_the_line_that_marimo_shows_of_a_hidden_cell() -> None:
    lines = [line.strip() for line in assignment_text("A1", marimo="0.25.2").splitlines()]
    hints = [line for line in lines if line.startswith("hint(")]
    assert hints
    assert set(hints) == {"hint("}

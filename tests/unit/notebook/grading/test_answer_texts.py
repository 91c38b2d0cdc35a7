"""The texts of answers for checks that read them, from a notebook's cells."""

from __future__ import annotations

import json

from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.grading_plan import answer_texts, answers_read
from tests.support.notebooks import notebook
from tests.unit.notebook.grading_sources import MARKS, planned, solved

LARGE = f"def large():\n    return '{'x' * 39_000}'"


def texts(*cells: str) -> dict[str, str]:
    """The texts of some names."""
    names = frozenset(("f", "large", "later", "Rect", "x"))
    return dict(answer_texts(parse_cells(notebook(*cells), "A1.py"), names))


def test_a_text_is_the_last_statement_that_binds_the_name() -> None:
    assert texts(
        "import functools\n\n@functools.cache\ndef f(n):\n    return n  # f\n\n\ng = 1",
        "class Rect:\n    def f(self):\n        return 1",
        "x = 1\nx = (\n    2\n)",
    ) == {
        "f": "@functools.cache\ndef f(n):\n    return n  # f\n",
        "Rect": "class Rect:\n    def f(self):\n        return 1",
        "x": "x = (\n    2\n)",
    }


def test_texts_fit_into_a_pipe_together() -> None:
    assert list(texts("def f():\n    pass", LARGE, LARGE.replace("large", "later"))) == [
        "f",
        "large",
    ]
    escaped = texts("def f():\n    pass", f"x = '{'é' * 7_000}'")
    assert len(json.dumps(escaped)) < 1 << 16
    assert "x" not in escaped


def test_only_checks_that_read_texts_get_them() -> None:
    for check, names in (("f(1) == 1", set()), ("'n' in inspect.getsource(f)", {"f"})):
        plan = planned(
            MARKS, solved("def f(n):\n    return n"), f'check("Q1", [({check}, "")])'
        ).plan
        assert answers_read(plan) == names

"""A stranger's notebook is parsed where it can only harm itself (B133)."""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.integrity.denied_code import Denied
from mograder.notebook.integrity.screening import Screening
from mograder.notebook.syntax import check_notebook
from mograder.processes.isolated_call import IsolatedCall
from mograder.processes.notebook_calls import compare, screen

CELL = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    {}\n    return\n"
CHECK = 'check("Q1: one", [({}, "no")])'
LONG = "# " + "x" * 40_000 + "\n"
"""Makes a text long enough for a process of its own."""

here_and_apart = pytest.mark.parametrize(
    "tail", [pytest.param("", id="here"), pytest.param(LONG, id="apart", marks=pytest.mark.full)]
)


R = TypeVar("R")


async def inspected(text: str, function: partial[R]) -> R:
    return await IsolatedCall().call(function, size=len(text))


def told(screening: Screening) -> list[tuple[str, int]]:
    return [(each.message, each.line) for each in screening.denied]


@here_and_apart
async def test_b133_what_is_denied_is_found_with_its_line(tail: str) -> None:
    text = CELL.format("import os; eval('1')") + tail
    found = await inspected(text, partial(screen, text, "A1.py", release=None))
    assert told(found) == [("denied builtin call: eval", 8), ("denied import: os", 8)]


@here_and_apart
async def test_b133_the_course_and_its_release_have_a_say(tail: str) -> None:
    text = CELL.format("import os; eval('1')") + tail
    denied = Denied(imports=frozenset({"os"}), calls=frozenset())
    found = await inspected(text, partial(screen, text, "A1.py", release=None, denied=denied))
    assert told(found) == [("denied import: os", 8)]
    same = await inspected(text, partial(screen, text, "A1.py", release=text))
    assert same == Screening()


@here_and_apart
async def test_a_changed_check_is_named(tail: str) -> None:
    release, own = (CELL.format(CHECK.format(each)) + tail for each in ("x", "True"))
    found = await inspected(own, partial(compare, own, "A1.py", release))
    assert found == ("check(Q1)",)


@here_and_apart
async def test_what_is_no_notebook_is_refused_with_its_line(tail: str) -> None:
    broken, script = CELL.format("import os =") + tail, "x = 1\n" + tail
    with pytest.raises(InvalidInput, match=r"A1\.py:8: invalid syntax"):
        await inspected(tail, partial(check_notebook, broken, "A1.py"))
    with pytest.raises(InvalidInput, match="not a marimo notebook"):
        await inspected(tail, partial(screen, script, "A1.py", release=None))
    with pytest.raises(InvalidInput, match="not a marimo notebook"):
        await inspected(tail, partial(compare, script, "A1.py", CELL))

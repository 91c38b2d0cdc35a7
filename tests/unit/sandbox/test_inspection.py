"""A stranger's notebook is parsed where it can only harm itself (B133)."""

from __future__ import annotations

import pytest

from mograder.core.errors import InvalidInput
from mograder.sandbox.inspection import Inspection, Inspector

CELL = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    {}\n    return\n"
LONG = "# " + "x" * 40_000 + "\n"
"""Makes a text long enough for a process of its own."""


async def look(text: str) -> Inspection:
    """Look at one text."""
    return await Inspector().inspect(text, "A1.py")


@pytest.mark.parametrize("tail", ["", LONG], ids=["here", "apart"])
async def test_b133_what_is_denied_is_found_with_its_line(tail: str) -> None:
    found = await look(CELL.format("import os; eval('1')") + tail)
    assert found.findings == (("denied builtin call: eval", 8), ("denied import: os", 8))


@pytest.mark.parametrize("tail", ["", LONG], ids=["here", "apart"])
async def test_what_is_no_notebook_is_refused_with_its_line(tail: str) -> None:
    with pytest.raises(InvalidInput, match=r"A1\.py:8: invalid syntax"):
        await look(CELL.format("import os =") + tail)
    with pytest.raises(InvalidInput, match="not a marimo notebook"):
        await look("x = 1\n" + tail)


async def test_a_text_that_takes_too_much_to_parse_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"too deeply|too complex"):
        await look("x = [" + "[]," * 5_000_000 + "]\n")

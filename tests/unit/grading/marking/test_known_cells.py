"""Cells that are parsed once for a class are the same as those of each notebook."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.grading.marking.known_cells import KnownCells
from mograder.notebook.cells import parse_cells
from tests.support.marking_course import SOURCE, submission_of
from tests.support.similar_submissions import copied, honest

EXAMPLES = sorted(Path("examples").rglob("*.py"))
CELL = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    x = 1\n    return (x,)\n"
IN_A_STRING = CELL.replace("x = 1", 'x = """\n@app.cell\ndef _():\n    y = 2\n"""')
IN_THE_HEAD = CELL.replace("app = marimo", '"""\n@app.cell\ndef _():\n    y = 2\n"""\napp = marimo')
TWICE = CELL.replace("@app.cell", "@app.cell\n@app.cell")
SETUP = CELL.replace("\n\n\n@app", "\n\nwith app.setup:\n    import os\n\n\n@app", 1)
OTHERS = [SOURCE, submission_of(), honest(1), copied(honest(1), 2), CELL.replace("\n", "\r\n")]


@pytest.mark.parametrize(
    "text", [*(path.read_text() for path in EXAMPLES), *OTHERS, IN_A_STRING, SETUP]
)
def test_cells_are_those_of_the_parser(text: str) -> None:
    known = KnownCells()
    for _ in range(2):
        assert known.of(text, "a.py") == parse_cells(text, "a.py").cells


@pytest.mark.parametrize(
    "text", [IN_THE_HEAD, TWICE, CELL + "@app.cell\ndef _(\n", "no notebook ("]
)
def test_a_text_that_cannot_be_divided_is_parsed_as_a_whole(text: str) -> None:
    try:
        whole = parse_cells(text, "a.py").cells
    except InvalidInput:
        with pytest.raises(InvalidInput):
            KnownCells().of(text, "a.py")
    else:
        assert KnownCells().of(text, "a.py") == whole

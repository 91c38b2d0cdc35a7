"""The cells of a notebook that may record results of its checks, as the plan of grading sees them.

Names of checks are those of the teacher's cells: what a student's own cell binds is no check.
"""

from __future__ import annotations

import ast

from mograder.notebook.cells import CellKind, NotebookText
from mograder.notebook.grading.check_calls import checkers_in, waiting_calls
from mograder.notebook.parsing import CellNames, NotPython, cell_names, parse_python
from mograder.notebook.points import is_editable


class RecordingCells:
    """Says which results of checks the code of a cell records, by the teacher's cells."""

    def __init__(self, notebook: NotebookText) -> None:
        self._read = {
            cell.code.strip(): found
            for cell in notebook.cells
            if cell.kind is not CellKind.UNPARSABLE and not is_editable(cell)
            if (found := _read(cell.code)) is not None
        }
        self._checkers = checkers_in(tuple(self._read.values()))

    def waits_of(self, code: str, label: str) -> int:
        """Return how many results without conditions of a label only say that it waits."""
        found = self._read.get(code.strip()) or _read(code)
        if found is None:
            return 0
        tree, names = found
        waits = waiting_calls(tree.body, self._checkers.within(names))
        return waits.get(label, waits.get("", 0))


def _read(code: str) -> tuple[ast.Module, CellNames] | None:
    try:
        return parse_python(code), cell_names(code)
    except NotPython:
        return None

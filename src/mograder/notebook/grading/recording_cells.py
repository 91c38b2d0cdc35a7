"""The cells of a notebook that may record results of its checks, as the plan of grading sees them.

A check may be called through a helper that another cell defines (``def ask(n): check(f"Q{n}",
…)``). Its result is then reported by the cell that calls the helper. Only functions of the
teacher's cells are helpers: one of a student's own would let any cell record any result.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from mograder.notebook.cells import CellKind, NotebookText
from mograder.notebook.grading.check_calls import (
    check_calls,
    checkers_in,
    checks_when_run,
    waiting_calls,
)
from mograder.notebook.parsing import CellNames, NotPython, cell_names, parse_python
from mograder.notebook.points import is_editable, labels_in
from mograder.notebook.scopes import closure


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
        self._helpers: dict[str, list[str]] = defaultdict(list)
        for code, (_, names) in self._read.items():
            for name in names.defined & self._checkers.indirect:
                self._helpers[name].append(code)

    def helpers_of(self, code: str) -> frozenset[str]:
        """Return the cells, by their stripped codes, whose helpers a cell of the teacher's uses."""
        own = code.strip()

        def used(other: str) -> Iterator[str]:
            found = self._read.get(other)
            for name in found[1].used & self._checkers.indirect if found else ():
                yield from self._helpers[name]

        return closure([own], used) - {own}

    def records(self, code: str) -> bool:
        """Whether a cell of the teacher's records a check; of other cells, one by ``check``."""
        if (found := self._read.get(code.strip())) is None:
            return any(labels_in(code))
        return checks_when_run(found[0].body, self._checkers.within(found[1]))

    def records_any(self, code: str) -> bool:
        """Whether a cell of the teacher's records a label that is known only when it runs."""
        found = self._read.get(code.strip())
        if found is None or not self.records(code):
            return False
        calls = check_calls(found[0].body, self._checkers.within(found[1]))
        return any(each.label is None for each in calls)

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

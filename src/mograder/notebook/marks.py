"""What a notebook says about its questions: the marks, and the checks that earn them.

compat.md 7: ``_marks = {"Q1": 10}`` in the cell of the marks, ``check("Q1: …", …)`` in others;
a question's key is the label up to its first colon.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mograder.notebook.cells import Cell, CellKind, NotebookText

MARKS = "# === MOGRADER: MARKS ==="
_CHECK = re.compile(
    r"""\bcheck\(\s*(?P<prefix>[rRuUfF]*)(?P<literal>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
)


@dataclass(frozen=True, slots=True)
class Check:
    """A ``check("label", …)`` in a notebook, and the cell and line where it stands."""

    label: str
    cell: Cell
    line: int

    @property
    def key(self) -> str:
        """The question that it belongs to."""
        return key_of(self.label)


def key_of(label: str) -> str:
    """Return the question's key: the label up to its first colon."""
    return label.split(":", 1)[0].strip()


def checks_in(notebook: NotebookText) -> tuple[Check, ...]:
    """Return the checks of a notebook, in order."""
    return tuple(check for cell in notebook.cells for check in _checks(cell))


def is_marks_cell(cell: Cell) -> bool:
    """Whether the cell holds the marks."""
    return any(line.strip() == MARKS for line in cell.code.split("\n"))


def marks_of(notebook: NotebookText) -> Mapping[str, float] | None:
    """Return the marks available per question; None without a cell that says so."""
    for cell in notebook.cells:
        if is_marks_cell(cell) and (found := _marks_in(cell)) is not None:
            return found
    return None


def _checks(cell: Cell) -> Iterator[Check]:
    if cell.kind is CellKind.UNPARSABLE:
        return
    for found in _CHECK.finditer(cell.code):
        if "f" in found["prefix"].lower():
            continue  # its label is known only when it runs
        try:
            label = ast.literal_eval(found["prefix"] + found["literal"])
        except (ValueError, SyntaxError):
            continue
        yield Check(label, cell, cell.line_of(cell.code.count("\n", 0, found.start()) + 1))


def _marks_in(cell: Cell) -> Mapping[str, float] | None:
    try:
        tree = ast.parse(cell.code)
    except (SyntaxError, ValueError):
        return None
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not _assigns_marks(node):
            continue
        try:
            value = ast.literal_eval(node.value)
        except (ValueError, SyntaxError):
            return None
        if isinstance(value, dict):
            return {str(k): float(v) for k, v in value.items() if isinstance(v, int | float)}
    return None


def _assigns_marks(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "_marks" for target in node.targets)

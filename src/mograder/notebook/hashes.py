"""Which cells are the student's to change, and the fingerprints of all others (compat.md 7)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from mograder.notebook.cells import Cell

TO_DO = "# YOUR CODE HERE"
_ANSWER = re.compile(r"written_analysis(_.*)?")
_DIGITS = 8


def is_editable(cell: Cell) -> bool:
    """Whether the cell is for the student: it says so, or it holds a written answer."""
    return TO_DO in cell.code or is_answer_name(cell.name)


def is_answer_name(name: str) -> bool:
    """Whether a cell of this name holds a written answer."""
    return _ANSWER.fullmatch(name) is not None


def cell_hash(code: str) -> str:
    """Return the fingerprint of a cell's code, as 0.3.16 writes it."""
    return hashlib.sha256(code.strip().encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def cell_hashes(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Return the fingerprints of the cells that are not for students to change, in order."""
    return tuple(cell_hash(cell.code) for cell in cells if not is_editable(cell))

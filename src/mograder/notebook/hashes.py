"""The cells that students may change, and the hashes of all others (compatibility-0.3.16.md 7)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from mograder.notebook.cells import Cell

TO_DO = "# YOUR CODE HERE"
_ANSWER = re.compile(r"written_analysis(_.*)?")
_DIGITS = 8


def is_editable(cell: Cell) -> bool:
    """Whether students may change a cell: it has the `TO_DO` comment or a written answer."""
    return TO_DO in cell.code or is_answer_name(cell.name)


def is_answer_name(name: str) -> bool:
    """Whether a cell of this name holds a written answer."""
    return _ANSWER.fullmatch(name) is not None


def cell_hash(code: str) -> str:
    """Return the hash of a cell's code as in 0.3.16: the first 8 hex digits of SHA-256."""
    return hashlib.sha256(code.strip().encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def cell_hashes(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Return the hashes of the cells that students must not change, in order."""
    return tuple(cell_hash(cell.code) for cell in cells if not is_editable(cell))

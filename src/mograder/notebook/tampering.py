"""Which checks of a notebook are not those that were handed out (compat.md 2.3, submit).

For whoever marks: by question, and whether the marks themselves were touched. What a validation
says about the same, cell by cell, is ``notebook.integrity``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mograder.notebook.cells import Cell, NotebookText, parse_cells
from mograder.notebook.hashes import is_editable
from mograder.notebook.marks import is_marks_cell, key_of, labels_in


@dataclass(frozen=True, slots=True)
class Tampering:
    """The questions whose checks were changed, removed or doubled, sorted; and the marks."""

    checks: tuple[str, ...]
    marks: bool


UNTOUCHED = Tampering((), marks=False)
"""All is as it was handed out, or nobody can compare it."""


def find_tampering(student: str, release: str, filename: str) -> Tampering:
    """Compare the check cells of a notebook with those of its release, by their code.

    Raises:
        InvalidInput: One of the texts is no notebook.
    """
    own, released = parse_cells(student, filename), parse_cells(release, filename)
    guarded, handed_out = _guarded(own), _guarded(released)
    differing = [*(guarded - handed_out), *(handed_out - guarded)]
    keys = {key_of(label) for code in differing for label, _ in labels_in(code)}
    return Tampering(tuple(sorted(keys)), _marks(own) != _marks(released))


def _guarded(notebook: NotebookText) -> Counter[str]:
    """The code of each check cell that is not the student's to write, and how often it stands."""
    return Counter(each.code.strip() for each in notebook.cells if _checks(each))


def _checks(cell: Cell) -> bool:
    return not is_editable(cell) and any(labels_in(cell.code))


def _marks(notebook: NotebookText) -> list[str]:
    return [each.code.strip() for each in notebook.cells if is_marks_cell(each)]

"""The checks of a notebook that differ from its release, by question (compat.md 2.3, submit).

Markers get this, and whether the marks cell was changed. Validations get the same by cell from
:mod:`mograder.notebook.integrity`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mograder.notebook.cells import Cell, NotebookText, parse_cells
from mograder.notebook.hashes import is_editable
from mograder.notebook.marks import is_marks_cell, key_of, labels_in


@dataclass(frozen=True, slots=True)
class Tampering:
    """The keys of questions with changed checks, sorted, and whether the marks were changed."""

    checks: tuple[str, ...]
    marks: bool


UNTOUCHED = Tampering((), marks=False)
"""Nothing was changed, or there is no release to compare with."""


def find_tampering(student: str, release: str, filename: str) -> Tampering:
    """Compare the check cells of a notebook with those of its release, by their code.

    Raises:
        InvalidInput: One of the texts is not a notebook.
    """
    own = _guarded(parse_cells(student, filename))
    released = _guarded(parse_cells(release, filename))
    differing = [*(own - released), *(released - own)]
    keys = {key_of(label) for code in differing for label, _ in labels_in(code)}
    marks = _marks(parse_cells(student, filename)) != _marks(parse_cells(release, filename))
    return Tampering(tuple(sorted(keys)), marks)


def _guarded(notebook: NotebookText) -> Counter[str]:
    """Count the codes of the check cells that students must not change."""
    return Counter(each.code.strip() for each in notebook.cells if _checks(each))


def _checks(cell: Cell) -> bool:
    return not is_editable(cell) and any(labels_in(cell.code))


def _marks(notebook: NotebookText) -> list[str]:
    return [each.code.strip() for each in notebook.cells if is_marks_cell(each)]

"""The answers of a notebook that are still as they were handed out."""

from __future__ import annotations

from collections.abc import Sequence

from mograder.notebook.cells import Cell, headings_above, parse_cells
from mograder.notebook.points import is_answer_name, is_editable, key_of, labels_in


def unanswered(student: str, release: str, filename: str) -> tuple[str, ...]:
    """Return what is not answered: the keys of questions, or the headings above written answers.

    Raises:
        InvalidInput: One of the texts is not a notebook.
    """
    own = {cell.code.strip() for cell in parse_cells(student, filename).cells}
    released = parse_cells(release, filename).cells
    found = (
        _name(released, index)
        for index, cell in enumerate(released)
        if is_editable(cell) and cell.code.strip() in own
    )
    return tuple(dict.fromkeys(found))


def _name(cells: Sequence[Cell], index: int) -> str:
    """Return the question of an answer: the key of its check, or the heading above it."""
    if not is_answer_name(cells[index].name):
        for cell in cells[index:]:
            labels = [label for label, _ in labels_in(cell.code)]
            if labels:
                return key_of(labels[0])
    return (headings_above(cells[:index]) or [""])[-1] or cells[index].name

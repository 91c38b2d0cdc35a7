"""The answers of a notebook that are still as they were handed out."""

from __future__ import annotations

from collections.abc import Sequence

from mograder.notebook.cell_pairs import pair_cells, same_code
from mograder.notebook.cells import Cell, headings_above, parse_cells
from mograder.notebook.points import cell_labels, is_answer_name, is_editable, key_of
from mograder.notebook.title import headings_of


def unanswered(student: str, release: str, filename: str) -> tuple[str, ...]:
    """Return what is not answered: the keys of questions, or the headings above written answers.

    Raises:
        InvalidInput: One of the texts is not a notebook.
    """
    own, released = (parse_cells(text, filename).cells for text in (student, release))
    pairs = sorted(pair_cells(released, own).items())  # several answers may be handed out alike
    found = (
        _name(released, index)
        for index, place in pairs
        if is_editable(released[index]) and same_code(released[index], own[place])
    )
    return tuple(dict.fromkeys(found))


def _name(cells: Sequence[Cell], index: int) -> str:
    """Return the question of an answer: the key of its check below, or the heading above it."""
    if not is_answer_name(cells[index].name):
        for cell in cells[index:]:
            if labels := cell_labels(cell):
                return key_of(labels[0])
            if headings_of(cell.code):  # another question begins
                break
    above, name = (headings_above(cells[:index]) or [""])[-1], cells[index].name.strip("_")
    return above or name or f"Cell {index + 1}"

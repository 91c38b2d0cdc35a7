"""One cell of an earlier version put into a notebook's present text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.notebook.cell_pairs import match_cells, moved_cells
from mograder.notebook.cells import (
    Cell,
    CellKind,
    LineEdit,
    NotebookText,
    guard_line,
    parse_cells,
    replace_lines,
    statements_of,
)
from mograder.notebook.scopes import bound_names

_WHOLE = "Put the whole version back instead."
_BETWEEN = ("", "")
"""The empty lines that marimo writes between two cells."""


@dataclass(frozen=True, slots=True)
class CodeChange:
    """The same as a change that an open editor can make: the code of the cell at ``index``."""

    index: int
    before: str
    after: str

    def is_in(self, text: str, filename: str) -> bool:
        """Return whether a notebook has a cell with the new code."""
        return any(cell.code == self.after for cell in _parsed(text, filename).cells)


@dataclass(frozen=True, slots=True)
class PutBack:
    """A notebook's text with one cell put back.

    ``replaced`` is whether it took the place of a present cell; ``twice`` are the names that it
    and another cell define, so that marimo runs neither until one of them is changed. ``change`` is
    None if more than a cell's code changes.
    """

    text: str
    replaced: bool
    twice: tuple[str, ...] = ()
    change: CodeChange | None = None


def put_back_cell(present: str, earlier: str, cell: int, filename: str) -> PutBack:
    """Return the present text with the earlier text's cell of this index.

    It replaces the present cell that it became. If that was removed, it is added behind the cell
    that it followed. All other cells stay byte for byte.

    Raises:
        InvalidInput: One of the texts is not a notebook, or would not be one afterwards.
        NotFound: The earlier text has no such cell.
        Conflict: The present text has the cell as it was.
    """
    now, then = _parsed(present, filename), _parsed(earlier, filename)
    if not 0 <= cell < len(then.cells):
        raise NotFound("The earlier version has no such cell.")
    wanted = then.cells[cell]
    pairs = match_cells(then.cells, now.cells)
    lines = then.lines_of(wanted)
    place = pairs.get(cell)
    if place is None:
        edit = _insertion(now, _before(pairs, cell), wanted, lines)
    else:
        edit = LineEdit(now.cells[place].first, now.cells[place].last, lines)
        if now.lines_of(now.cells[place]) == lines:
            raise Conflict("This cell is in your notebook as it was then.")
    text = replace_lines(now.lines, [edit])
    result = _parsed(text, filename)
    if len(result.cells) != len(now.cells) + (place is None):
        raise InvalidInput("This cell cannot be put back alone.", hint=_WHOLE)
    change = None if place is None else _change(now, now.cells[place], then, wanted)
    return PutBack(text, place is not None, _twice(wanted, result), change)


def _change(now: NotebookText, cell: Cell, then: NotebookText, wanted: Cell) -> CodeChange | None:
    """Return the change of the code, if the cell keeps its kind, name and options."""
    kept = cell.name == wanted.name and now.lines[cell.first - 1] == then.lines[wanted.first - 1]
    if not kept or CellKind.UNPARSABLE in (cell.kind, wanted.kind):
        return None
    return CodeChange(cell.index, cell.code, wanted.code)


def _parsed(text: str, filename: str) -> NotebookText:
    try:
        return parse_cells(text, filename)
    except InvalidInput as error:
        raise InvalidInput(f"One cell cannot be put back: {error.message}", hint=_WHOLE) from error


def _before(pairs: dict[int, int], cell: int) -> int | None:
    """Return the present index of the nearest cell before one that is still there, in its order."""
    moved = moved_cells(pairs)
    return next(
        (pairs[at] for at in range(cell - 1, -1, -1) if at in pairs and at not in moved), None
    )


def _insertion(
    now: NotebookText, behind: int | None, wanted: Cell, lines: Sequence[str]
) -> LineEdit:
    """Return the edit that adds a cell behind another one, or as the first one."""
    if behind is not None and wanted.kind is not CellKind.SETUP:
        place = now.cells[behind].last + 1
        return LineEdit(place, place - 1, (*_BETWEEN, *lines))
    first = now.cells[0] if now.cells else None
    if first is not None and first.kind is CellKind.SETUP:
        return LineEdit(first.last + 1, first.last, (*_BETWEEN, *lines))
    place = guard_line(now) if first is None else first.first
    return LineEdit(place, place - 1, (*lines, *_BETWEEN))


def _twice(wanted: Cell, result: NotebookText) -> tuple[str, ...]:
    """Return the public names of the cell that another cell defines, too."""
    own = _names(wanted)
    skipped = False
    found = set[str]()
    for cell in result.cells:
        if not skipped and cell.code == wanted.code:
            skipped = True
        else:
            found |= own & _names(cell)
    return tuple(sorted(found))


def _names(cell: Cell) -> frozenset[str]:
    names = bound_names(statements_of(cell.code))
    return frozenset(name for name in names if not name.startswith("_"))

"""The cells of a class's notebooks, of which each cell that several have is parsed once.

marimo's parser takes some ten milliseconds for a notebook, and most cells of a class are those of
the release. Each cell begins with a decorator at the left margin, so a notebook is divided there;
where that is not certain, the notebook is parsed as a whole.
"""

from __future__ import annotations

import re
from dataclasses import replace

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import Cell, parse_cells, parse_python, plain_text

_BEGINS = re.compile(r"^(?=@app\.)", re.MULTILINE)
_HEAD = "import marimo\n\napp = marimo.App()\n\n"
_HEAD_LINES = _HEAD.count("\n")
_OTHER_FORMS = ("app.setup", "app._unparsable_cell")


class KnownCells:
    """Parses notebooks. Mutable state: the cells parsed so far, by their text."""

    def __init__(self) -> None:
        self._known: dict[str, Cell] = {}

    def of(self, text: str, filename: str) -> tuple[Cell, ...]:
        """Return the cells of a notebook.

        Raises:
            InvalidInput: The text is not a notebook.
        """
        head, *parts = _BEGINS.split(plain_text(text))
        divides = parse_python(head) is not None and not any(form in text for form in _OTHER_FORMS)
        found = self._joined(head, parts) if divides else None
        return parse_cells(text, filename).cells if found is None else found

    def _joined(self, head: str, parts: list[str]) -> tuple[Cell, ...] | None:
        line, cells = head.count("\n"), []
        for index, part in enumerate(parts):
            cell = self._cell(part)
            if cell is None:
                return None
            cells.append(_moved(cell, index, line))
            line += part.count("\n")
        return tuple(cells)

    def _cell(self, part: str) -> Cell | None:
        """Return the only cell of a text, None if it has none or several."""
        known = self._known.get(part)
        if known is None:
            try:
                (known,) = parse_cells(_HEAD + part, "cell").cells
            except (InvalidInput, ValueError):
                return None
            self._known[part] = known
        return known


def _moved(cell: Cell, index: int, line: int) -> Cell:
    """Return a cell as it stands in its notebook; it begins after that line."""
    by = line - _HEAD_LINES
    return replace(
        cell,
        index=index,
        first=cell.first + by,
        last=cell.last + by,
        body_first=cell.body_first + by,
        body_last=cell.body_last + by,
        code_first=cell.code_first + by,
        return_first=cell.return_first + by if cell.return_first else 0,
        return_last=cell.return_last + by if cell.return_last else 0,
    )

"""What an author of a source may have overlooked, though every mark in it is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mograder.notebook.cells import Cell, NotebookText, parse_python, plain_text
from mograder.notebook.findings import Finding
from mograder.notebook.markers import Block, BlockKind
from mograder.notebook.marks import checks_in, marks_of
from mograder.notebook.scopes import bound_between
from mograder.notebook.strays import strays

_MARK = "\ufeff"


def without_mark(text: str) -> str:
    """Return what is published of a text: marimo opens no file that begins with this mark."""
    return text.removeprefix(_MARK)


def lost_names(source: NotebookText, blocks: Sequence[Block], filename: str) -> Iterator[Finding]:
    """Find names that a cell returns and only its hidden tests bind: students get an error."""
    tree = parse_python(plain_text(source.text))
    hidden = [(b.begin, b.end) for b in blocks if b.kind is BlockKind.HIDDEN]
    for block in hidden if tree is not None else ():
        cell = source.cell_at(block[0])
        if tree is None or cell is None:
            continue
        for name in bound_between(tree, block, hidden):
            if name in cell.returns:
                message = f"only the hidden tests bind {name!r}, which the cell returns."
                hint = f"Call it `_{name}`, or bind it before the block."
                yield Finding(filename, block[0], message, hint)


def advise(source: NotebookText, filename: str) -> Iterator[Finding]:
    """Find what marimo cannot open or drops, labels given twice, and questions without marks."""
    if source.text.startswith(_MARK):
        message = "the file begins with a byte order mark, which marimo cannot open."
        hint = "The release has none; save the source as UTF-8 without a byte order mark."
        yield Finding(filename, 1, message, hint)
    yield from strays(source, filename)
    marks = marks_of(source)
    seen: dict[str, Cell] = {}
    for check in checks_in(source):
        if check.label in seen and seen[check.label] is not check.cell:
            message = f"the label {check.label!r} is given to a check above as well."
            hint = "Only the last of them counts; give each a label of its own."
            yield Finding(filename, check.line, message, hint)
        seen[check.label] = check.cell
        if marks is not None and check.key not in marks:
            message = f"{check.key!r} has no marks."
            hint = "Add it to `_marks`, or begin the label with one of its questions."
            yield Finding(filename, check.line, message, hint)

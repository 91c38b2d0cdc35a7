"""Advice on mistakes that authors may overlook in a source whose markers are all correct."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from mograder.notebook.cells import Cell, NotebookText, parse_python, plain_text, strays
from mograder.notebook.findings import Finding
from mograder.notebook.header_edit import has_block
from mograder.notebook.points import (
    MARKS,
    checks_in,
    is_marks_cell,
    marks_of,
    marks_statement,
    numbers,
)
from mograder.notebook.scopes import bound_between
from mograder.notebook.source.solution_markers import Block, BlockKind

_MARK = "\ufeff"
_WRITE_MARKS = 'Write each with its number: `_marks = {"Q1": 10}`.'


def without_mark(text: str) -> str:
    """Return a text without a byte order mark, since marimo cannot open a file with one."""
    return text.removeprefix(_MARK)


def lost_names(source: NotebookText, blocks: Sequence[Block], filename: str) -> Iterator[Finding]:
    """Yield findings for names that a cell returns but only its hidden tests bind."""
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
    """Yield findings on text that marimo cannot open or drops, repeated labels, missing marks."""
    if source.text.startswith(_MARK):
        message = "the file begins with a byte order mark, which marimo cannot open."
        hint = "The release has none; save the source as UTF-8 without a byte order mark."
        yield Finding(filename, 1, message, hint)
    if not has_block(source.text):
        message = "there is no script block: nothing says which packages the notebook needs."
        hint = 'Begin the file with `# /// script`, `# dependencies = ["marimo"]` and `# ///`.'
        yield Finding(filename, 1, message, hint)
    yield from strays(source, filename)
    yield from _about_marks(source, filename)
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


def _about_marks(source: NotebookText, filename: str) -> Iterator[Finding]:
    """Yield findings on marks that are not read: without marker, repeated, or not literal."""
    known = False
    for cell in source.cells:
        place = marks_statement(cell)
        if not is_marks_cell(cell):
            if place is not None:
                message = "nobody reads these marks."
                yield Finding(filename, place[0], message, f"Put the line `{MARKS}` above them.")
            continue
        if known:
            message = "the marks are given in a cell above as well."
            yield Finding(filename, cell.code_first, message, "Keep one of them.")
        known = True
        if place is None or not isinstance(place[1], ast.Dict):
            message = "the marks are not written down."
            line = cell.code_first if place is None else place[0]
            yield Finding(filename, line, message, _WRITE_MARKS)
        else:
            yield from _about_entries(cell, place[1], filename)


def _about_entries(cell: Cell, marks: ast.Dict, filename: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for key, value in zip(marks.keys, marks.values, strict=True):
        line = cell.line_of(value.lineno)
        found = numbers(ast.Dict([key], [value]))
        if not found:
            message = f"these marks are no number: {ast.unparse(value)[:40]}."
            yield Finding(filename, line, message, _WRITE_MARKS)
        for each in found.values():
            if round(each, 1) != each:
                message = f"marks have one decimal: {each:g} counts as {round(each, 1):g}."
                yield Finding(filename, line, message, "Use tenths, or multiply all marks.")
        for name in found.keys() & seen:
            yield Finding(filename, line, f"{name!r} has marks already.", "Keep one of them.")
        seen |= found.keys()

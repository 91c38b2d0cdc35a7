"""The cells of a notebook's text and their line ranges, and the code that stands outside of them.

The code of a cell comes from marimo's parser, because cell hashes are computed from it
(compatibility-0.3.16.md 7). The lines come from Python's parser, because an edit must leave all
other lines unchanged, byte for byte.

Code outside of cells is neither shown nor run by marimo, which drops it when it saves the notebook.
Authors are warned before they lose it; in a student's file it runs when the file is run as a
program.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import tokenize
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from marimo._ast.parse import get_valid_decorator, is_cell, is_setup_cell, is_unparsable_cell
from marimo._schemas.serialization import CellDef

from mograder.core.errors import InvalidInput
from mograder.notebook.findings import Finding
from mograder.notebook.parsing import NotPython, is_guard, parse_marimo, parse_python
from mograder.notebook.pep723 import plain_lines, script_blocks
from mograder.notebook.scopes import returned_names
from mograder.notebook.title import headings_of

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_HOW_TO_SAVE = "Open the notebook in marimo and save it."
_MOST_KEPT, _LONGEST_KEPT = 64, 100_000
"""Parsed texts that are kept, and characters of the longest one: some 30 MB at most."""

_HOW_TO_KEEP = "Put it into a cell."


class CellKind(StrEnum):
    """The five forms in which marimo writes a cell."""

    CELL = "cell"
    SETUP = "setup"
    FUNCTION = "function"
    CLASS = "class"
    UNPARSABLE = "unparsable"


_DECORATORS = {
    "cell": CellKind.CELL,
    "function": CellKind.FUNCTION,
    "class_definition": CellKind.CLASS,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell; line numbers are the file's, from 1, both ends included.

    ``first`` to ``last`` is the whole cell, with decorators and trailing comments. ``body_first``
    to ``body_last`` is the author's code, without the ``def`` line and the last ``return``; it is
    empty if ``body_last`` is smaller. ``return_first`` to ``return_last`` are the lines of that
    ``return``, 0 without one, and ``returns`` the names in it. ``code`` is the cell's code as
    marimo runs it (see :func:`with_spaces`), and ``code_first`` its first line.
    """

    index: int
    kind: CellKind
    name: str
    code: str
    first: int
    last: int
    body_first: int
    body_last: int
    code_first: int
    return_first: int = 0
    return_last: int = 0
    returns: tuple[str, ...] = ()
    hidden: bool = False
    """Whether the editor hides the code."""
    disabled: bool = False
    """Whether marimo does not run the cell, nor the cells that depend on it."""

    def line_of(self, line: int) -> int:
        """Return the line in the file of a line in the code; both count from 1."""
        return self.code_first + line - 1


@dataclass(frozen=True, slots=True)
class NotebookText:
    """A notebook's text, its lines with their ends, and its cells in order."""

    text: str
    lines: tuple[str, ...]
    cells: tuple[Cell, ...]

    def cell_at(self, line: int) -> Cell | None:
        return next((cell for cell in self.cells if cell.first <= line <= cell.last), None)

    def lines_of(self, cell: Cell) -> tuple[str, ...]:
        return tuple(line.rstrip("\r\n") for line in self.lines[cell.first - 1 : cell.last])


@dataclass(frozen=True, slots=True, order=True)
class LineEdit:
    """A replacement of lines ``first`` to ``last``; with ``last < first``, an insertion before."""

    first: int
    last: int
    lines: tuple[str, ...] = ()


def parse_cells(text: str, filename: str) -> NotebookText:
    """Return the cells of a notebook's text; those of the last texts are kept.

    Parsing takes some ten milliseconds, and a release or a submission is read by many pages.

    Raises: InvalidInput (``file:line: reason``) if the text is not a notebook.
    """
    if len(text) > _LONGEST_KEPT:
        return _parse_cells(text, filename)
    return _kept_cells(text, filename)


def _parse_cells(text: str, filename: str) -> NotebookText:
    plain = plain_text(text)
    statements = list(_cell_statements(parse_python(plain, filename), filename))
    codes = parse_marimo(plain, filename).cells
    if len(codes) != len(statements):
        raise InvalidInput(
            f"{filename}:1: marimo finds {len(codes)} cells and Python {len(statements)}.",
            hint=_HOW_TO_SAVE,
        )
    empty = plain.count("\n", 0, len(plain) - len(plain.lstrip()))
    frame = _Frame(plain.split("\n"), _signature_ends(plain), empty)
    cells = tuple(
        _cell(index, kind, node, code, frame)
        for index, ((kind, node), code) in enumerate(zip(statements, codes, strict=True))
    )
    for before, after in pairwise(cells):
        if after.first <= before.last:
            raise InvalidInput(
                f"{filename}:{after.first}: two cells in one line.", hint=_HOW_TO_SAVE
            )
    return NotebookText(text, split_lines(text), cells)


_kept_cells = lru_cache(_MOST_KEPT)(_parse_cells)


def plain_text(text: str) -> str:
    """Return the text as Python reads it: with LF line ends and without a byte order mark."""
    plain = "".join(line.rstrip("\r\n") + "\n" for line in split_lines(text))
    return plain.removeprefix("\ufeff")


def with_spaces(code: str) -> str:
    """Return a cell's code with spaces for no-break spaces, as marimo runs and saves it."""
    return code.replace("\u00a0", " ")


def tree_of(source: str, *, to_change: bool = False) -> ast.Module | None:
    try:
        return parse_python(source, to_change=to_change)
    except NotPython:
        return None


def statements_of(source: str) -> list[ast.stmt]:
    tree = tree_of(source)
    return [] if tree is None else tree.body


def split_lines(text: str) -> tuple[str, ...]:
    """Split into lines with their ends, which are LF, CRLF or CR only, as in Python."""
    return tuple(_LINE.findall(text))


def replace_lines(lines: Sequence[str], edits: Sequence[LineEdit]) -> str:
    """Return the text with these lines replaced; every other byte stays as it is.

    New lines are given without line ends and get that of their neighbours. If the last line has no
    end, it keeps none. Overlapping edits raise :class:`ValueError`.
    """
    ordered = sorted(edits)
    for before, after in pairwise(ordered):
        if after.first <= before.last:
            raise ValueError(f"the edits at lines {before.first} and {after.first} overlap")
    out: list[str] = []
    position = 1
    for edit in ordered:
        out += lines[position - 1 : edit.first - 1]
        at = max(edit.first - 1, 0)
        near = (*lines[at : edit.first], *lines[max(at - 1, 0) : at], *lines[:1])
        end = next(filter(None, map(_end_of, near)), "\n")
        if edit.lines and out and not _end_of(out[-1]):
            out[-1] += end
        out += (line + end for line in edit.lines)
        position = max(position, edit.last + 1, edit.first)
    rest = lines[position - 1 :]
    if out and not rest and lines and not _end_of(lines[-1]):
        out[-1] = out[-1].rstrip("\r\n")
    return "".join([*out, *rest])


def guard_line(notebook: NotebookText) -> int:
    """Return the line of ``if __name__``, below which marimo reads no cells."""
    lines = enumerate(notebook.lines, start=1)
    guards = (number for number, line in lines if line.startswith("if __name__"))
    return next(guards, len(notebook.lines) + 1)


def indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _end_of(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _cell_statements(tree: ast.Module, filename: str) -> Iterator[tuple[CellKind, ast.stmt]]:
    """Yield the statements that are cells; raise InvalidInput for those that marimo ignores.

    marimo reads cells only between ``app = marimo.App()`` and ``if __name__ == "__main__"``, and
    the setup cell only as the first one; it drops all others when it saves the notebook.
    """
    seen = False
    guarded = False
    for node in tree.body:
        guarded = guarded or is_guard(node)
        kind = _kind(node)
        if kind is None:
            continue
        if guarded or (kind is CellKind.SETUP and seen):
            what = "a setup cell that is not the first" if kind is CellKind.SETUP else "a cell"
            where = " below `if __name__`" if guarded else ""
            raise InvalidInput(
                f"{filename}:{node.lineno}: {what}{where}, which marimo would drop.",
                hint="Move it to where it belongs.",
            )
        seen = True
        yield kind, node


def _kind(node: ast.stmt) -> CellKind | None:
    """Return the kind of cell that a statement is by marimo's rules, or None."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        decorator = get_valid_decorator(node)
        match decorator.func if isinstance(decorator, ast.Call) else decorator:
            case ast.Attribute(value=ast.Name(id="app"), attr=attribute):
                return _DECORATORS.get(attribute)
        return None
    if isinstance(node, ast.With | ast.AsyncWith):
        return CellKind.SETUP if is_setup_cell(node) else None
    return CellKind.UNPARSABLE if is_unparsable_cell(node) else None


@dataclass(frozen=True, slots=True)
class _Frame:
    """A text's lines, the lines where top-level headers end, the number of leading empty lines."""

    lines: Sequence[str]
    ends: Sequence[int]
    empty: int


def _cell(index: int, kind: CellKind, node: ast.stmt, parsed: CellDef, frame: _Frame) -> Cell:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    last = _with_comments(node.end_lineno or node.lineno, frame.lines)
    body: list[ast.stmt] = getattr(node, "body", []) if kind is CellKind.CELL else []
    returned = body[-1] if body and isinstance(body[-1], ast.Return) else None
    body_first, body_last = node.lineno, last
    if kind in (CellKind.CELL, CellKind.SETUP):
        at = bisect_left(frame.ends, node.lineno)
        body_first = (frame.ends[at] if at < len(frame.ends) else node.lineno) + 1
    if returned is not None:
        body_last = returned.lineno - 1
    if kind is CellKind.UNPARSABLE and isinstance(node, ast.Expr):
        call = node.value
        # The string in the call holds the cell's code.
        held = call.args[0] if isinstance(call, ast.Call) and call.args else node
        body_first, body_last = held.lineno, held.end_lineno or held.lineno
    return Cell(
        index=index,
        kind=kind,
        name=_name(parsed),
        code=with_spaces(parsed.code),
        first=min([node.lineno, *(decorator.lineno for decorator in decorators)]),
        last=last,
        body_first=body_first,
        body_last=body_last,
        code_first=_code_first(kind, node, parsed, frame, (body_first, body_last)),
        return_first=returned.lineno if returned is not None else 0,
        return_last=(returned.end_lineno or returned.lineno) if returned is not None else 0,
        returns=tuple(returned_names(returned)) if returned is not None else (),
        hidden=parsed.options.get("hide_code") is True,
        disabled=parsed.options.get("disabled") is True,
    )


def _name(parsed: CellDef) -> str:
    """Return a cell's name, "_" if it has none; earlier releases of marimo wrote ``def __()``."""
    stated = parsed.options.get("name")  # anything, such as an endless number
    name = stated if stated and isinstance(stated, str) else parsed.name
    return "_" if name == "__" else name


def _with_comments(last: int, lines: Sequence[str]) -> int:
    """Return the last line of a cell whose last statement ends in line ``last``.

    A syntax tree has no comments; the indented ones that follow belong to the cell.
    """
    end = last
    for number, line in enumerate(lines[last:], start=last + 1):
        if line.strip() and not (line[0] in " \t" and line.lstrip().startswith("#")):
            break
        end = number if line.strip() else end
    return end


def _code_first(
    kind: CellKind, node: ast.stmt, parsed: CellDef, frame: _Frame, body: tuple[int, int]
) -> int:
    """Return the first line of the code that marimo extracts for each kind of cell."""
    if kind is CellKind.SETUP:
        return node.lineno + 1
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        if kind is not CellKind.CELL:
            decorator = get_valid_decorator(node)
            return node.lineno if decorator is None else (decorator.end_lineno or 0) + 1
        if node.body[0].lineno == node.lineno:
            return node.lineno
        # Comments between decorator and def make marimo skip as many lines of the body. It counts
        # lines from the first that is not empty.
        return max(body[0], parsed.lineno + 1 + frame.empty)
    begin = parsed.code.split("\n", 1)[0].strip()
    numbers = range(body[0], body[1] + 1)
    return next((n for n in numbers if begin and begin in frame.lines[n - 1]), body[0])


def _signature_ends(text: str) -> list[int]:
    """Return the lines in which top-level headers (``def …:``, ``with …:``) end, in order."""
    ends: list[int] = []
    depth = 0
    pending = False
    for token in tokens_of(text):
        if token.type == tokenize.INDENT:
            depth += 1
        elif token.type == tokenize.DEDENT:
            depth -= 1
        elif depth == 0 and token.type == tokenize.OP and token.string == ":":
            pending = True
        elif token.type == tokenize.NEWLINE:
            if pending and depth == 0:
                ends.append(token.start[0])
            pending = False
    return ends


def tokens_of(text: str) -> Iterator[tokenize.TokenInfo]:
    """Yield a text's tokens, up to the first that cannot be read."""
    # SystemError: early releases of Python 3.12 fail without setting a tokenizer exception.
    with contextlib.suppress(tokenize.TokenError, SyntaxError, UnicodeError, SystemError):
        yield from tokenize.generate_tokens(io.StringIO(text).readline)


def headings_above(cells: Sequence[Cell]) -> list[str]:
    """Return the last heading of each cell's Markdown, else of the nearest cell above, else ""."""
    found, heading = [], ""
    for cell in cells:
        own = headings_of(cell.code) if "md(" in cell.code else []
        heading = own[-1] if own else heading
        found.append(heading)
    return found


def strays(notebook: NotebookText, filename: str) -> Iterator[Finding]:
    """Yield findings for statements that are neither cells nor generated by marimo."""
    for node in statements_of(plain_text(notebook.text)):
        if not (is_cell(node) or _is_frame(node)):
            message = "this stands outside of all cells, where marimo drops it."
            yield Finding(filename, node.lineno, message, _HOW_TO_KEEP)


def lines_outside(notebook: NotebookText) -> Iterator[str]:
    """Yield the lines with text that are in no cell, nor in the header, nor written by marimo."""
    lines = plain_lines(notebook.text)
    inside = [(cell.first, cell.last) for cell in notebook.cells]
    inside += [(block.line, block.end) for block in script_blocks(lines)]
    inside += [
        (node.lineno, node.end_lineno or node.lineno)
        for node in statements_of("\n".join(lines))
        if _is_frame(node) and not isinstance(node, ast.Expr)
    ]
    known = {number for first, last in inside for number in range(first, last + 1)}
    for number, line in enumerate(lines, start=1):
        if line.strip() and number not in known:
            yield line


def _is_frame(node: ast.stmt) -> bool:
    match node:
        case (
            ast.Import(names=[ast.alias(name="marimo")])
            | ast.Expr(ast.Constant())
            | ast.Assign([ast.Name("__generated_with")], ast.Constant())
            | ast.Assign([ast.Name("app")], ast.Call(ast.Attribute(attr="App")))
        ):
            return True
        case ast.If(body=[ast.Expr(ast.Call(ast.Attribute(ast.Name("app"), "run"), [], []))]):
            return is_guard(node)
    return False

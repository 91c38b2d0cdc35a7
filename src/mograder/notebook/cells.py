"""The cells of a notebook's text, and where each one stands in it.

marimo's own parser says what the code of a cell is, because cell hashes are taken of that
(compat.md 7). Python's says where it stands, because whoever changes a line must leave every
other one as it is, byte for byte.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from marimo._ast.parse import MarimoFileError
from marimo._ast.parse import parse_notebook as parse_with_marimo
from marimo._schemas.serialization import CellDef

from mograder.core.errors import InvalidInput

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_ANONYMOUS = "_"
_HOW_TO_MAKE = "Create notebooks with `marimo edit NAME.py`."


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
    """One cell; all lines are the file's, from 1, both ends included.

    ``first`` to ``last`` is all of it, decorators included. ``body_first`` to ``body_last`` is
    what the author wrote, without the ``def`` line and the last ``return``; empty when
    ``body_last`` is the smaller one. ``return_first`` is the line of that ``return``, 0 for none,
    and ``returns`` the names in it. ``code`` is what marimo takes for the cell's code, and
    ``code_first`` the line where that begins.
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
    returns: tuple[str, ...] = ()

    def line_of(self, line: int) -> int:
        """Return the file's line of a line (from 1) of the code."""
        return self.code_first + line - 1


@dataclass(frozen=True, slots=True)
class NotebookText:
    """A notebook's text, its lines with their ends, and its cells in order."""

    text: str
    lines: tuple[str, ...]
    cells: tuple[Cell, ...]

    def cell_at(self, line: int) -> Cell | None:
        """Return the cell that a line (from 1) belongs to."""
        return next((cell for cell in self.cells if cell.first <= line <= cell.last), None)


@dataclass(frozen=True, slots=True, order=True)
class LineEdit:
    """Lines to put in the place of others; with ``last < first``, before the line ``first``."""

    first: int
    last: int
    lines: tuple[str, ...] = ()


def parse_cells(text: str, filename: str) -> NotebookText:
    """Find the cells of a notebook.

    Raises:
        InvalidInput: It is no notebook, as ``file:line: reason``.
    """
    lines = split_lines(text)
    plain = "".join(line.rstrip("\r\n") + "\n" for line in lines).removeprefix("\ufeff")
    tree = _tree(plain, filename)
    codes = _codes(plain, filename)
    statements = [(kind, node) for node in tree.body if (kind := _kind(node)) is not None]
    if len(codes) != len(statements):
        raise InvalidInput(
            f"{filename}:1: marimo finds {len(codes)} cells and Python {len(statements)}.",
            hint="Open the notebook in marimo and save it.",
        )
    ends = _signature_ends(plain)
    cells = (
        _cell(index, kind, node, code, plain.split("\n"), ends)
        for index, ((kind, node), code) in enumerate(zip(statements, codes, strict=True))
    )
    return NotebookText(text, lines, tuple(cells))


def split_lines(text: str) -> tuple[str, ...]:
    """Split into lines with their ends, at the line ends that Python knows and no others."""
    return tuple(_LINE.findall(text))


def replace_lines(lines: Sequence[str], edits: Sequence[LineEdit]) -> str:
    """Return the text with these lines replaced; every other byte stays as it is.

    New lines are given without ends and get the end of the line before them, or of the first
    line of the file. Edits must not overlap.
    """
    out: list[str] = []
    position = 1
    for before, after in pairwise(sorted(edits)):
        if after.first <= before.last:
            raise ValueError(f"the edits at lines {before.first} and {after.first} overlap")
    for edit in sorted(edits):
        out += lines[position - 1 : edit.first - 1]
        out += (f"{line}{_end_like(lines, edit.first)}" for line in edit.lines)
        position = max(position, edit.last + 1, edit.first)
    return "".join([*out, *lines[position - 1 :]])


def indent_of(line: str) -> str:
    """Return the white space at the head of a line."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def _end_like(lines: Sequence[str], line: int) -> str:
    for candidate in (*lines[max(line - 1, 0) : line], *lines[max(line - 2, 0) : line], *lines[:1]):
        end = candidate[len(candidate.rstrip("\r\n")) :]
        if end:
            return end
    return "\n"


def _tree(text: str, filename: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, filename=filename)
    except SyntaxError as error:
        raise InvalidInput(f"{filename}:{error.lineno or 1}: {error.msg}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{filename}:1: the file cannot be read as Python: {error}.") from error


def _codes(text: str, filename: str) -> list[CellDef]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notebook = parse_with_marimo(text, filename)
    except (MarimoFileError, SyntaxError, RecursionError) as error:
        raise InvalidInput(f"{filename}:1: {error}", hint=_HOW_TO_MAKE) from error
    if notebook is None or not notebook.valid:
        raise InvalidInput(f"{filename}:1: this is not a marimo notebook.", hint=_HOW_TO_MAKE)
    return list(notebook.cells)


def _kind(node: ast.stmt) -> CellKind | None:
    """Tell which form of a cell a statement is, if it is one."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names = (_app_attribute(decorator) for decorator in node.decorator_list)
        return next((_DECORATORS[name] for name in names if name in _DECORATORS), None)
    if isinstance(node, ast.With | ast.AsyncWith):
        named = _app_attribute(node.items[0].context_expr)
        return CellKind.SETUP if named == "setup" else None
    if isinstance(node, ast.Expr) and _app_attribute(node.value) == "_unparsable_cell":
        return CellKind.UNPARSABLE
    return None


def _app_attribute(node: ast.expr) -> str:
    """Return ``cell`` for ``app.cell`` and ``app.cell(...)``."""
    target = node.func if isinstance(node, ast.Call) else node
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
        return target.attr if target.value.id == "app" else ""
    return ""


def _cell(
    index: int,
    kind: CellKind,
    node: ast.stmt,
    parsed: CellDef,
    lines: Sequence[str],
    ends: Sequence[int],
) -> Cell:
    last = node.end_lineno or node.lineno
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    returned = _last_return(node) if kind is CellKind.CELL else None
    body_first, body_last = node.lineno, last
    if kind in (CellKind.CELL, CellKind.SETUP):
        body_first = next((end for end in ends if end >= node.lineno), node.lineno) + 1
    if returned is not None:
        body_last = returned.lineno - 1
    if kind is CellKind.UNPARSABLE and isinstance(node, ast.Expr):
        body_first, body_last = _literal_lines(node)
    return Cell(
        index=index,
        kind=kind,
        name=parsed.name,
        code=parsed.code,
        first=first,
        last=last,
        body_first=body_first,
        body_last=body_last,
        code_first=_code_first(parsed.code, lines, body_first, body_last),
        return_first=returned.lineno if returned is not None else 0,
        returns=tuple(_names(returned)) if returned is not None else (),
    )


def _last_return(node: ast.stmt) -> ast.Return | None:
    body = getattr(node, "body", [])
    last = body[-1] if body else None
    return last if isinstance(last, ast.Return) else None


def _names(node: ast.Return) -> Iterator[str]:
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    for value in values:
        if isinstance(value, ast.Name):
            yield value.id


def _literal_lines(node: ast.Expr) -> tuple[int, int]:
    """Return the lines of the text that an unparsable cell is kept in."""
    call = node.value
    if isinstance(call, ast.Call) and call.args:
        literal = call.args[0]
        return literal.lineno, literal.end_lineno or literal.lineno
    return node.lineno, node.end_lineno or node.lineno


def _code_first(code: str, lines: Sequence[str], first: int, last: int) -> int:
    """Return the line in which the code begins: marimo drops empty lines at its head."""
    begin = code.split("\n", 1)[0].strip()
    for number in range(first, last + 1):
        if begin and begin in lines[number - 1]:
            return number
    return first


def _signature_ends(text: str) -> list[int]:
    """Return the lines in which top-level headers (``def …:``, ``with …:``) end, in order."""
    ends: list[int] = []
    depth = 0
    pending = False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
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

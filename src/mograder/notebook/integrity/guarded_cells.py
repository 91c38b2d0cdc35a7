"""The cells that decide about marks: checks, the marks, and the import of the checks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from mograder.notebook.cells import Cell, NotebookText, parse_python, statements_of
from mograder.notebook.points import is_marks_cell, key_of, labels_in, named_tests
from mograder.notebook.scopes import bound_names

MARKS_LABEL = "the marks"
SOURCE_LABEL = "the import of the checks"
CHECKERS = frozenset(("check", "grader", "Grader"))
_RUNTIME = "mograder"
_CODES = 512
"""Cells' codes of which is remembered what they bind: most of a submission's are the release's."""


@dataclass(frozen=True, slots=True)
class GuardedCell:
    """A cell with the labels of its checks, its lines without ends, and its public names."""

    labels: tuple[str, ...]
    cell: Cell
    lines: tuple[str, ...]
    names: frozenset[str]
    keys: frozenset[str]
    """The question keys of its checks."""

    @property
    def name(self) -> str:
        """The first label of the cell, for messages."""
        return self.labels[0] if self.labels else "no check"


def guarded_cells(
    notebook: NotebookText, release: NotebookText | None = None
) -> Iterator[GuardedCell]:
    """Yield all cells with the labels of their checks; marks and such imports have labels too.

    Of a student's notebook only the tests of its ``release`` count: a student may add some.
    """
    tests = named_tests(release or notebook)
    for cell in notebook.cells:
        labels, names = _of_code(cell.code)
        keys = {key_of(label) for label in labels if label != SOURCE_LABEL}
        if cell.name in tests and not keys:
            labels, keys = (cell.name, *labels), {tests[cell.name]}
        if is_marks_cell(cell):
            labels = (MARKS_LABEL, *labels)
        public = frozenset(name for name in names if not name.startswith("_"))
        yield GuardedCell(labels, cell, notebook.lines_of(cell), public, frozenset(keys))


@lru_cache(_CODES)
def _of_code(code: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the labels of the checks in a cell's code, and the names that it binds.

    An import of the checks has a label too.
    """
    statements = statements_of(code)
    labels = tuple(label for label, _ in labels_in(code))
    names = bound_names(statements)
    nodes = (node for statement in statements for node in ast.walk(statement))
    if not names.isdisjoint(CHECKERS) or any(map(_imports_runtime, nodes)):
        labels = (*labels, SOURCE_LABEL)
    return labels, names


def _imports_runtime(node: ast.AST) -> bool:
    match node:
        case ast.ImportFrom(module=str(module)):
            return module.split(".")[0] == _RUNTIME
        case ast.Import():
            return any(alias.name.split(".")[0] == _RUNTIME for alias in node.names)
    return False


def only_imports_more(own: GuardedCell, ours: GuardedCell) -> bool:
    """Whether the only change is added imports that rebind no released name: allowed."""
    alike = own.cell.kind is ours.cell.kind and is_marks_cell(own.cell) == is_marks_cell(ours.cell)
    if not alike or any(labels_in(own.cell.code)):
        return False
    theirs, released = parse_python(own.cell.code), parse_python(ours.cell.code)
    if theirs is None or released is None:
        return False
    expected = [ast.dump(node) for node in released.body]
    taken = ours.names | {"*"}
    for node in theirs.body:
        if expected and _written(node) == expected[0]:
            expected.pop(0)
            continue
        imports = isinstance(node, ast.Import | ast.ImportFrom) and not _imports_runtime(node)
        if not imports or not bound_names([node]).isdisjoint(taken):
            return False
    return not expected


def _written(node: ast.stmt) -> str:
    """Return a statement's tree as text; "" if it is too deep, or has a number too long for it."""
    try:
        return ast.dump(node)
    except (RecursionError, ValueError):
        return ""


VERIFICATION = "# === MOGRADER: VERIFICATION SUMMARY ==="
FEEDBACK = "# === MOGRADER: MARKER FEEDBACK ==="
GRADERS_CELLS = (VERIFICATION, FEEDBACK)

"""Cells that change an object of another cell, found in the code. Pure.

marimo does not know of such changes, so what other cells see of them depends on the order.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from mograder.notebook.cells import NotebookText, plain_text
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.parsing import parse_python

_METHODS = frozenset(
    (
        *("append", "extend", "insert", "sort", "reverse", "pop", "popitem", "remove", "clear"),
        *("update", "add", "discard", "setdefault", "fill", "resize", "shuffle", "put"),
    )
)


@dataclass(frozen=True, slots=True, order=True)
class ForeignChange:
    """A line in which a cell changes the object ``name``, which another cell defines."""

    line: int
    cell: int
    name: str


def foreign_changes(notebook: NotebookText, plan: GradingPlan) -> tuple[ForeignChange, ...]:
    """Return the changes of other cells' objects, in the order of the file."""
    tree = parse_python(plain_text(notebook.text))
    changes = [found for statement in tree.body for found in _changes(statement)]
    foreign = {cell.index: frozenset(cell.uses) for cell in plan.cells}
    return tuple(
        sorted(
            {
                ForeignChange(line, cell.index, name)
                for cell in notebook.cells
                for line, name in changes
                if cell.first <= line <= cell.last and name in foreign[cell.index]
            }
        )
    )


def _changes(statement: ast.stmt) -> Iterator[tuple[int, str]]:
    """Yield the names whose objects a statement changes, with the lines."""
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if (
                method in _METHODS or _in_place(node)
            ):
                yield node.lineno, name
                yield from ((node.lineno, each) for each in _shuffled(node))
            case (
                ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del())
                | ast.Attribute(value=ast.Name(id=name), ctx=ast.Store() | ast.Del())
            ):
                yield node.lineno, name


def _in_place(call: ast.Call) -> bool:
    return any(
        each.arg == "inplace" and isinstance(each.value, ast.Constant) and each.value.value
        for each in call.keywords
    )


def _shuffled(call: ast.Call) -> Iterator[str]:
    """Yield the names of arguments that ``random.shuffle(name)`` changes."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "shuffle":
        yield from (each.id for each in call.args if isinstance(each, ast.Name))

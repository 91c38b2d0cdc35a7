"""Code that stands in a notebook's file and in none of its cells.

marimo neither shows nor runs it, and drops it when the notebook is saved. Authors are told
before they lose it; in a student's file it may be meant for whoever runs the file as a program.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from marimo._ast.parse import is_cell

from mograder.notebook.cells import NotebookText, parse_python, plain_text
from mograder.notebook.findings import Finding
from mograder.notebook.parsing import is_guard

_HINT = "Put it into a cell."


def strays(notebook: NotebookText, filename: str) -> Iterator[Finding]:
    """Find the statements that are neither a cell nor marimo's own frame."""
    tree = parse_python(plain_text(notebook.text))
    for node in tree.body if tree is not None else ():
        if not (is_cell(node) or _is_frame(node)):
            message = "this stands outside of all cells, where marimo drops it."
            yield Finding(filename, node.lineno, message, _HINT)


def _is_frame(node: ast.stmt) -> bool:
    match node:
        case ast.Import(names=[ast.alias(name="marimo")]):
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id="__generated_with")], value=ast.Constant()):
            return True
        case ast.Assign(
            targets=[ast.Name(id="app")], value=ast.Call(func=ast.Attribute(attr="App"))
        ):
            return True
        case ast.If(body=[ast.Expr(value=ast.Call(args=[], keywords=[])) as run]):
            return is_guard(node) and ast.unparse(run) == "app.run()"
    return False

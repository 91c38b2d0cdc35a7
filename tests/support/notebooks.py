"""Texts of notebooks, as marimo writes them, from the code of their cells."""

from __future__ import annotations

import ast
from textwrap import dedent, indent

HEAD = "import marimo\n\napp = marimo.App()\n"
SCRIPT_HEAD = f'# /// script\n# dependencies = ["marimo"]\n# ///\n\n{HEAD}'
END = '\n\nif __name__ == "__main__":\n    app.run()\n'


def notebook(*cells: str, head: str = HEAD, end: str = END) -> str:
    """Return the text of a notebook whose cells have this code.

    Each gets what it needs of the others and returns what it defines; a cell that returns something
    else says so in its last line. Before the code there may be a decorator's line ("@…"), for a
    cell that has one of its own; a function or class below it is the whole cell, as it stands.
    """
    codes = [_cell(each) for each in cells]
    known = set[str]().union(*(_defined(each[1]) for each in codes if not _is_whole(*each)))
    parts = [head]
    for decorator, code in codes:
        if _is_whole(decorator, code):
            parts.append(f"\n\n{decorator}\n{code}\n")
            continue
        own = _defined(code)
        needed = ", ".join(sorted((_used(code) - own) & known))
        lines = [code] if code else []
        if not code.rpartition("\n")[2].startswith("return"):
            lines.append(f"return{_returned(sorted(own))}")
        body = indent("\n".join(lines), "    ")
        parts.append(f"\n\n{decorator or '@app.cell'}\ndef _({needed}):\n{body}\n")
    return "".join([*parts, end])


def _cell(text: str) -> tuple[str, str]:
    code = dedent(text).strip("\n").rstrip()
    first, _, rest = code.partition("\n")
    return (first, rest) if first.startswith("@") else ("", code)


def _is_whole(decorator: str, code: str) -> bool:
    """Whether a cell with a decorator of its own has its own function or class, too."""
    return decorator != "" and code.startswith(("def ", "class "))


def _tree(code: str) -> ast.Module:
    return ast.parse(f"def _():\n{indent(code, '    ')}\n    pass")


def _statements(code: str) -> list[ast.stmt]:
    (function,) = _tree(code).body
    assert isinstance(function, ast.FunctionDef)
    return function.body


def _defined(code: str) -> set[str]:
    """Return the names that a cell gives to others."""
    found: set[str] = set()
    for each in _statements(code):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(each.name)
        elif isinstance(each, ast.Import | ast.ImportFrom):
            found |= {(name.asname or name.name).partition(".")[0] for name in each.names}
        else:
            found |= {
                name.id
                for name in ast.walk(each)
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            }
    return {name for name in found if not name.startswith("_")}


def _used(code: str) -> set[str]:
    names = (each for each in ast.walk(_tree(code)) if isinstance(each, ast.Name))
    return {each.id for each in names if isinstance(each.ctx, ast.Load)}


def _returned(names: list[str]) -> str:
    if not names:
        return ""
    return f" ({names[0]},)" if len(names) == 1 else f" {', '.join(names)}"

"""A static scan for code that a course denies: files, network, processes, dynamic code.

It finds honest mistakes and their lines: imports and calls that are written out. It does not
protect the host, which is the sandbox's task (security.md, "Input"): code can be hidden from it.
The messages are 0.3.16's (compatibility-0.3.16.md 7).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from mograder.notebook.findings import Finding
from mograder.notebook.parsing import NotPython, parse_python

DENIED_IMPORTS = frozenset(
    (
        *("os", "subprocess", "shutil", "sys", "ctypes", "socket", "http", "urllib", "requests"),
        *("pathlib", "signal", "multiprocessing", "threading", "code", "codeop", "importlib"),
        *("pkgutil", "inspect", "builtins", "io", "tempfile", "glob", "fnmatch", "pickle"),
        *("shelve", "marshal"),
    )
)
DENIED_CALLS = frozenset(
    ("eval", "exec", "compile", "__import__", "breakpoint", "exit", "quit", "open", "input")
)
UNCHECKED = "cannot be checked"
"""The beginning of a message about code that could not be scanned."""

_IMPORTERS = frozenset(("__import__", "import_module"))


@dataclass(frozen=True, slots=True)
class Denied:
    """The code that a course denies: top-level module names, and names of builtins."""

    imports: frozenset[str] = DENIED_IMPORTS
    calls: frozenset[str] = DENIED_CALLS


DEFAULT_DENIED = Denied()


def scan(text: str, filename: str, denied: Denied = DEFAULT_DENIED) -> tuple[Finding, ...]:
    """Return findings on denied code in a text, in the order of its lines.

    A text or cell that cannot be parsed has a finding that begins with `UNCHECKED`.
    """
    try:
        tree = parse_python(text.removeprefix("\ufeff"), filename)
    except NotPython as error:
        return (Finding(filename, error.line, f"{UNCHECKED}: {error.reason}"),)
    own = frozenset(name for node in ast.walk(tree) for name in _bound(node))
    found = {
        Finding(filename, line, message)
        for node in ast.walk(tree)
        for line, message in _told(node, denied, own)
    }
    return tuple(sorted(found))


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node gives a meaning of the text's own."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name for alias in names)


def _told(node: ast.AST, denied: Denied, own: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Yield the line and the message of what one node denies, without its children."""
    modules: list[str] = []
    match node:
        case ast.Import(names=names):
            modules = [alias.name for alias in names]
        case ast.ImportFrom(level=0, module=str(module)):
            modules = [module]
        case ast.Name(id=name, ctx=ast.Load()) if name in denied.calls - own:
            yield node.lineno, f"denied builtin call: {name}"
        case ast.Call(func=ast.Attribute(attr="_unparsable_cell")):
            yield node.lineno, f"{UNCHECKED}: this cell is no Python"
        case ast.Call(
            func=ast.Name(id=name) | ast.Attribute(attr=name),
            args=[ast.Constant(value=str(to)), *_],
        ) if name in _IMPORTERS:
            modules = [to]
    for module in modules:
        top = module.partition(".")[0]
        if top in denied.imports:
            yield getattr(node, "lineno", 1), f"denied import: {top}"

"""Advice on code that a course would rather not see: files, network, processes, tricks.

It catches honest mistakes and tells their lines. It is no protection, which is the sandbox's task
(security.md, "Input"): code that wants to hide from a reader can. The messages are 0.3.16's
(compat.md 7).
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from mograder.notebook.findings import Finding

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
_BUILTINS = frozenset(("builtins", "__builtins__"))
_GETTERS = frozenset(("getattr", "setattr", "delattr", "hasattr"))
_IMPORTERS = frozenset(("__import__", "import_module"))


@dataclass(frozen=True, slots=True)
class Denied:
    """What a course denies: top-level names of modules, and names of builtins."""

    imports: frozenset[str] = DENIED_IMPORTS
    calls: frozenset[str] = DENIED_CALLS


DEFAULT_DENIED = Denied()


def scan(text: str, filename: str, denied: Denied = DEFAULT_DENIED) -> tuple[Finding, ...]:
    """Return what is denied in a text, in the order of its lines.

    A text that does not parse has one finding that says so, because nothing can be said of it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.removeprefix("\ufeff"), filename=filename)
    except SyntaxError as error:
        return (Finding(filename, error.lineno or 1, f"cannot be checked: {error.msg}"),)
    except (ValueError, RecursionError, MemoryError) as error:
        return (Finding(filename, 1, f"cannot be checked: {error}"),)
    scanner = _Scanner(filename, denied, _aliases(tree, denied))
    found = {finding: None for node in ast.walk(tree) for finding in scanner.look_at(node)}
    return tuple(sorted(found))


def _aliases(tree: ast.Module, denied: Denied) -> dict[str, str]:
    """Return the other names under which denied builtins go in this text: ``e = eval``."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "builtins":
            aliases |= {a.asname or a.name: a.name for a in node.names if a.name in denied.calls}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            named = node.value.id
            if named in denied.calls:
                targets = (t.id for t in node.targets if isinstance(t, ast.Name))
                aliases |= dict.fromkeys(targets, named)
    return aliases


@dataclass(frozen=True, slots=True)
class _Scanner:
    filename: str
    denied: Denied
    aliases: dict[str, str]

    def look_at(self, node: ast.AST) -> Iterator[Finding]:
        """Yield what is wrong with one node, without going into it."""
        match node:
            case ast.Import():
                for alias in node.names:
                    yield from self._module(alias.name, node.lineno)
            case ast.ImportFrom(level=0, module=str(module)):
                yield from self._module(module, node.lineno)
            case ast.Assign(value=ast.Name(id=name)) if name in self.denied.calls:
                yield self._call(name, node.lineno)
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner in _BUILTINS:
                yield from self._builtin(name, node.lineno)
            case ast.Subscript(value=base, slice=ast.Constant(value=str(name))) if _is_builtins(
                base
            ):
                yield from self._builtin(name, node.lineno)
            case ast.Call():
                yield from self._called(node)

    def _called(self, node: ast.Call) -> Iterator[Finding]:
        name = _name_of(node.func)
        if isinstance(node.func, ast.Name):
            yield from self._builtin(self.aliases.get(name, name), node.lineno)
        first, second = (_text_of(argument) for argument in (*node.args[:2], None, None)[:2])
        if name in _IMPORTERS and first:
            yield from self._module(first, node.lineno)
        if name in _GETTERS and second and node.args and _is_builtins(node.args[0]):
            yield from self._builtin(second, node.lineno)
        elif name in _GETTERS and second and second in self.denied.calls:
            yield self._call(second, node.lineno)

    def _module(self, name: str, line: int) -> Iterator[Finding]:
        top = name.split(".", maxsplit=1)[0]
        if top in self.denied.imports:
            yield Finding(self.filename, line, f"denied import: {top}")

    def _builtin(self, name: str, line: int) -> Iterator[Finding]:
        if name in self.denied.calls:
            yield self._call(name, line)

    def _call(self, name: str, line: int) -> Finding:
        return Finding(self.filename, line, f"denied builtin call: {name}")


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _is_builtins(node: ast.expr) -> bool:
    """Whether an expression is the module of the builtins, or its namespace."""
    if isinstance(node, ast.Attribute) and node.attr == "__dict__":
        return _is_builtins(node.value)
    if isinstance(node, ast.Call) and _name_of(node.func) in {"vars", "globals", "locals"}:
        return not node.args or _is_builtins(node.args[0])
    if isinstance(node, ast.Subscript):
        return _text_of(node.slice) in _BUILTINS
    return isinstance(node, ast.Name) and node.id in _BUILTINS


def _text_of(node: ast.expr | None) -> str:
    """Return a text that is written down, also one that is put together: ``"o" + "s"``."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text_of(left) + _text_of(right)
        case ast.JoinedStr(values=values):
            return "".join(_text_of(value) for value in values)
        case ast.FormattedValue(value=value):
            return _text_of(value)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(glue)), attr="join")):
            parts = node.args[0] if node.args else None
            texts = parts.elts if isinstance(parts, ast.List | ast.Tuple) else []
            return glue.join(_text_of(part) for part in texts)
        case ast.Subscript(value=value, slice=ast.Slice(lower=None, upper=None, step=step)):
            backwards = isinstance(step, ast.UnaryOp) and isinstance(step.op, ast.USub)
            return _text_of(value)[::-1] if backwards else ""
    return ""

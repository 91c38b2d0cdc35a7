"""A static scan for code that a course denies: files, network, processes, dynamic code.

It finds honest mistakes and their lines. It does not protect the host, which is the sandbox's task
(security.md, "Input"): code can be hidden from it. The messages are 0.3.16's
(compatibility-0.3.16.md 7).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
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

_BUILTINS = frozenset(("builtins", "__builtins__"))
_GETTERS = frozenset(("getattr", "setattr", "delattr", "hasattr"))
_IMPORTERS = frozenset(("__import__", "import_module"))
_NAMESPACES = frozenset(("vars", "globals", "locals"))
_DEEPEST = 40
"""Levels of an expression to look into, so that deep nesting does not exhaust the stack."""


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
    scanner = _Scanner(filename, denied, _names_in(tree, denied))
    found = {finding: None for node in ast.walk(tree) for finding in scanner.look_at(node)}
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class _Names:
    """The meanings of names in a text.

    ``builtins`` holds the names of the builtins' module, ``calls`` denied builtins by their other
    names; ``own`` holds names that the text binds itself, ``imported`` names imported from other
    modules.
    """

    builtins: frozenset[str]
    calls: Mapping[str, str]
    own: frozenset[str]
    imported: frozenset[str]

    def call(self, name: str) -> str:
        """Return the builtin that a name stands for, or the name itself."""
        return self.calls.get(name, name)


def _names_in(tree: ast.Module, denied: Denied) -> _Names:
    builtins = set(_BUILTINS)
    calls: dict[str, str] = {}
    own: set[str] = set()
    imported: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                builtins |= {a.asname for a in node.names if a.asname and a.name == "builtins"}
            case ast.ImportFrom(module="builtins"):
                calls |= {a.asname or a.name: a.name for a in node.names if a.name in denied.calls}
            case ast.ImportFrom(module="importlib"):
                calls |= {a.asname or a.name: a.name for a in node.names if a.name in _IMPORTERS}
            case ast.ImportFrom(module=str(module)):
                top = module.split(".")[0]
                if top not in denied.imports:
                    imported |= {alias.asname or alias.name for alias in node.names}
            case ast.Assign(value=ast.Name(id=name)):
                targets = {target.id for target in node.targets if isinstance(target, ast.Name)}
                builtins |= targets if name in _BUILTINS else set()
                calls |= dict.fromkeys(targets, name) if name in denied.calls else {}
                own |= targets
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                own.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                own.add(name)
    calls = {name: of for name, of in calls.items() if of not in own}
    return _Names(frozenset(builtins), calls, frozenset(own), frozenset(imported))


@dataclass(frozen=True, slots=True)
class _Scanner:
    filename: str
    denied: Denied
    names: _Names

    def look_at(self, node: ast.AST) -> Iterator[Finding]:
        """Yield the findings on one node, without its children."""
        match node:
            case ast.Import():
                for alias in node.names:
                    yield from self._module(alias.name, node.lineno)
            case ast.ImportFrom(level=0, module=str(module)):
                yield from self._module(module, node.lineno)
            case ast.Name(id=name, ctx=ast.Load()) if name not in self.names.own:
                yield from self._builtin(name, node.lineno)
            case ast.Attribute(value=base, attr=name) if self._is_builtins(base):
                yield from self._builtin(name, node.lineno)
            case ast.Subscript(value=base) if self._is_builtins(base):
                yield from self._builtin(_text_of(node.slice), node.lineno)
            case ast.Call():
                yield from self._called(node)

    def _called(self, node: ast.Call) -> Iterator[Finding]:
        first, second = (_text_of(argument) for argument in (*node.args[:2], None, None)[:2])
        match node.func:
            case ast.Attribute(attr="_unparsable_cell"):
                message = f"{UNCHECKED}: this cell is no Python"
                yield Finding(self.filename, node.lineno, message)
            case ast.Name(id=name):
                yield from self._builtin(self.names.call(name), node.lineno)
        if self._imports(node.func):
            yield from self._module(first or self._keyword(node, "name"), node.lineno)
        elif _name_of(node.func) in _GETTERS and node.args and self._is_builtins(node.args[0]):
            yield from self._builtin(second, node.lineno)

    def _keyword(self, node: ast.Call, name: str) -> str:
        return next((_text_of(each.value) for each in node.keywords if each.arg == name), "")

    def _imports(self, function: ast.expr) -> bool:
        """Whether a function is ``__import__`` or ``import_module``, also via ``getattr``."""
        match function:
            case ast.Call(func=ast.Name(id=getter), args=[_, name, *_]) if getter in _GETTERS:
                return _text_of(name) in _IMPORTERS
            case ast.Subscript(slice=key):
                return _text_of(key) in _IMPORTERS
        return self.names.call(_name_of(function)) in _IMPORTERS

    def _is_builtins(self, node: ast.expr, depth: int = 0) -> bool:
        """Whether an expression is the builtins' module, or its namespace."""
        if depth > _DEEPEST:
            return False
        match node:
            case ast.Attribute(value=base, attr="__dict__"):
                return self._is_builtins(base, depth + 1)
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in _NAMESPACES:
                return not arguments or self._is_builtins(arguments[0], depth + 1)
            case ast.Call(func=ast.Name(id="getattr"), args=[_, name, *_]):
                return _text_of(name) in _BUILTINS
            case ast.Call(func=function, args=[name, *_]) if self._imports(function):
                return _text_of(name) in _BUILTINS
            case ast.Call(func=ast.Attribute(value=base, attr="get"), args=[key, *_]):
                return self._is_builtins(base, depth + 1) and _text_of(key) in _BUILTINS
            case ast.Subscript(slice=key):
                return _text_of(key) in _BUILTINS
            case ast.Attribute(attr=name):
                return name in _BUILTINS
        return isinstance(node, ast.Name) and node.id in self.names.builtins

    def _module(self, name: str, line: int) -> Iterator[Finding]:
        top = name.split(".", maxsplit=1)[0]
        if top in self.denied.imports:
            yield Finding(self.filename, line, f"denied import: {top}")

    def _builtin(self, name: str, line: int) -> Iterator[Finding]:
        if name in self.denied.calls and name not in self.names.imported:
            yield Finding(self.filename, line, f"denied builtin call: {name}")


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _text_of(node: ast.expr | None, depth: int = 0) -> str:
    """Return the value of a literal text or a concatenation such as ``"o" + "s"``, else ""."""
    if depth > _DEEPEST:
        return ""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text_of(left, depth + 1) + _text_of(right, depth + 1)
        case ast.JoinedStr(values=values):
            return "".join(_text_of(value, depth + 1) for value in values)
        case ast.FormattedValue(value=value):
            return _text_of(value, depth + 1)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(glue)), attr="join")):
            parts = node.args[0] if node.args else None
            texts = parts.elts if isinstance(parts, ast.List | ast.Tuple) else []
            return glue.join(_text_of(part, depth + 1) for part in texts)
        case ast.Subscript(value=value, slice=ast.Slice(lower=None, upper=None, step=step)):
            backwards = isinstance(step, ast.UnaryOp) and isinstance(step.op, ast.USub)
            return _text_of(value, depth + 1)[::-1] if backwards else ""
    return ""

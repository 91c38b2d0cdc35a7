"""Which names a scope binds where: what a released notebook must still be able to return."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

Scope = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Missing:
    """The names that a removed block leaves unbound, in the order in which they are returned."""

    names: tuple[str, ...]


def missing_names(tree: ast.Module, begin: int, end: int) -> Missing:
    """Return what the scope returns next and has not bound before these lines.

    A name that only an enclosing scope binds is left alone: to bind it here would hide it.
    """
    scope = _innermost(tree, begin, end)
    if scope is None:
        return Missing(())
    returned = _next_return(scope, end)
    if returned is None:
        return Missing(())
    before = {name for name, line in _bindings(scope) if line < begin}
    later = {name for name, line in _bindings(scope) if line >= begin}
    wanted = dict.fromkeys(_returned_names(returned))
    return Missing(tuple(name for name in wanted if name in later - before))


def _innermost(tree: ast.Module, begin: int, end: int) -> Scope | None:
    found: Scope | None = None
    for node in ast.walk(tree):
        if not isinstance(node, Scope) or not node.lineno <= begin <= end <= (node.end_lineno or 0):
            continue
        if found is None or node.lineno >= found.lineno:
            found = node
    return found


def _next_return(scope: Scope, after: int) -> ast.Return | None:
    returns = (node for node in _own_nodes(scope) if isinstance(node, ast.Return))
    return min((r for r in returns if r.lineno > after), key=lambda r: r.lineno, default=None)


def _returned_names(node: ast.Return) -> Iterator[str]:
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return (value.id for value in values if isinstance(value, ast.Name))


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Walk a scope without going into the scopes in it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, Scope | ast.ClassDef | ast.Lambda):
            yield from _own_nodes(child)


def _bindings(scope: Scope) -> Iterator[tuple[str, int]]:
    """Yield the names that a scope binds, with the lines."""
    arguments = scope.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    for argument in (*every, arguments.vararg, arguments.kwarg):
        if argument is not None:
            yield argument.arg, scope.lineno
    for node in _own_nodes(scope):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    yield (alias.asname or alias.name.split(".")[0]), node.lineno
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name, node.lineno

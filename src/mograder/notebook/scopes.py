"""The names that scopes bind, and those that a released notebook must keep bound to return."""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

Scope = ast.FunctionDef | ast.AsyncFunctionDef
Lines = tuple[int, int]
"""The first and the last line of a block, from 1."""

_Owner = Scope | ast.ClassDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_T = TypeVar("_T", bound=Hashable)


def closure(start: Iterable[_T], step: Callable[[_T], Iterable[_T]]) -> frozenset[_T]:
    """Return what ``step`` leads to from ``start``, until nothing is new."""
    found = set(start)
    waiting = list(found)
    while waiting:
        fresh = set(step(waiting.pop())) - found
        found |= fresh
        waiting += fresh
    return frozenset(found)


def names_read(*nodes: ast.AST) -> frozenset[str]:
    """Return the names that nodes read, also in nested scopes."""
    return _names(nodes, ast.Load)


def names_stored(*nodes: ast.AST) -> frozenset[str]:
    """Return the names that nodes assign, also in nested scopes."""
    return _names(nodes, ast.Store)


def _names(nodes: Iterable[ast.AST], context: type[ast.expr_context]) -> frozenset[str]:
    every = (each for node in nodes for each in ast.walk(node))
    found = (each for each in every if isinstance(each, ast.Name))
    return frozenset(each.id for each in found if isinstance(each.ctx, context))


def sentinels(tree: ast.Module, blocks: Sequence[Lines]) -> Mapping[Lines, tuple[str, ...]]:
    """Return for each removed block the names that must stay bound in its place.

    See compatibility-0.3.16.md 7.

    They are the names in the next ``return`` of the block's function that are not bound before the
    block. A name bound in an earlier removed block counts as bound only if it is kept for that
    block. A name that the function never binds belongs to an enclosing scope, which a binding would
    hide.
    """
    found: dict[Lines, tuple[str, ...]] = {}
    given: dict[int, set[str]] = {}
    for block in sorted(blocks):
        scope = _innermost(tree, block)
        if isinstance(scope, Scope):
            missing = _missing(scope, block, [each for each in blocks if each < block])
            before = {name for name, line in _bindings(scope) if line < block[0]}
            already = given.setdefault(id(scope), set())
            found[block] = tuple(name for name in missing if name not in already & before)
            already.update(found[block])
    return found


def bound_names(statements: Iterable[ast.stmt]) -> frozenset[str]:
    """Return the names that statements bind in their own scope."""
    module = ast.Module(body=list(statements), type_ignores=[])
    return frozenset(name for name, _ in _bound(_own_nodes(module)))


def bound_between(tree: ast.Module, block: Lines, removed: Sequence[Lines]) -> frozenset[str]:
    """Return the names that a cell binds in ``block`` and never outside of ``removed`` blocks."""
    scope = _innermost(tree, block)
    if not isinstance(scope, Scope) or scope not in tree.body:
        return frozenset()
    inside = {name for name, line in _bindings(scope) if _within(line, [block])}
    return frozenset(inside - {n for n, line in _bindings(scope) if not _within(line, removed)})


def _missing(scope: Scope, block: Lines, removed: Sequence[Lines]) -> tuple[str, ...]:
    begin, end = block
    returned = _next_return(scope, end)
    if returned is None:
        return ()
    before: set[str] = set()
    later: set[str] = set()
    hints = {  # `x: int` alone gives no value
        (node.target.id, node.lineno)
        for node in _own_nodes(scope)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.value
    }
    for name, line in {*_bindings(scope)} - hints:
        (before if line < begin and not _within(line, removed) else later).add(name)
    wanted = dict.fromkeys(returned_names(returned))
    return tuple(name for name in wanted if name in later - before - _elsewhere(scope))


def _within(line: int, blocks: Sequence[Lines]) -> bool:
    return any(first <= line <= last for first, last in blocks)


def _innermost(tree: ast.Module, block: Lines) -> _Owner | None:
    """Return the scope where a block begins; its end marker may follow the last statement."""
    begin = block[0]
    owners = (node for node in ast.walk(tree) if isinstance(node, _Owner))
    around = (node for node in owners if node.lineno <= begin <= (node.end_lineno or 0))
    return max(around, key=lambda node: node.lineno, default=None)


def _next_return(scope: Scope, after: int) -> ast.Return | None:
    returns = (node for node in _own_nodes(scope) if isinstance(node, ast.Return))
    return min((r for r in returns if r.lineno > after), key=lambda r: r.lineno, default=None)


def returned_names(node: ast.Return) -> Iterator[str]:
    """Return the names in a ``return`` of names, alone or in a tuple, without other values."""
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return (value.id for value in values if isinstance(value, ast.Name))


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope, without those of nested scopes.

    A comprehension is a nested scope, but a name bound by ``:=`` in it belongs to this one.
    """
    waiting = [(child, False) for child in ast.iter_child_nodes(scope)]
    while waiting:
        node, comprehended = waiting.pop()
        if not comprehended or isinstance(node, ast.NamedExpr):
            yield node
        if isinstance(node, ast.NamedExpr):
            yield node.target
        if isinstance(node, _Owner | ast.Lambda):
            continue
        comprehended = comprehended or isinstance(node, _COMPREHENSIONS)
        waiting += ((child, comprehended) for child in ast.iter_child_nodes(node))


def _elsewhere(scope: Scope) -> frozenset[str]:
    """Return the names that a scope declares ``global`` or ``nonlocal``."""
    declared = (n for n in _own_nodes(scope) if isinstance(n, ast.Global | ast.Nonlocal))
    return frozenset(name for node in declared for name in node.names)


def _bindings(scope: Scope) -> Iterator[tuple[str, int]]:
    """Yield the names that a scope binds, with their lines."""
    arguments = scope.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    for argument in (*every, arguments.vararg, arguments.kwarg):
        if argument is not None:
            yield argument.arg, scope.lineno
    yield from _bound(_own_nodes(scope))


def _bound(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in nodes:
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
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name, node.lineno

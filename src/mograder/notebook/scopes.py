"""The names that code binds and reads, and the dependencies between cells that follow from them.

In a released notebook, the names that a function returns stay bound where a block was removed. The
graph of cells is drawn from names as by marimo, but one with cycles and repeated definitions can be
built: both are findings.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TypeVar

from mograder.notebook.findings import Finding

Scope = ast.FunctionDef | ast.AsyncFunctionDef
Lines = tuple[int, int]
"""The first and the last line of a block, from 1."""

_Owner = Scope | ast.ClassDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_T = TypeVar("_T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class GraphCell:
    """A cell's first line in the file, and the names that it defines and uses."""

    line: int
    defined: frozenset[str]
    used: frozenset[str]


@dataclass(frozen=True, slots=True)
class CellGraph:
    """Cells by index; ``definers`` are the cells that define a name.

    ``order`` is the order in which marimo runs the cells, with cells in and behind cycles last, in
    the file's order.
    """

    cells: tuple[GraphCell, ...]
    definers: Mapping[str, tuple[int, ...]]
    children: tuple[frozenset[int], ...]
    order: tuple[int, ...]

    def below(self, index: int) -> frozenset[int]:
        """Return the cells that depend on a cell, directly or not; itself only in a cycle."""
        return closure(self.children[index], self.children.__getitem__)


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
    return frozenset(name for name, _ in _bound(own_nodes(module)))


def bound_between(tree: ast.Module, block: Lines, removed: Sequence[Lines]) -> frozenset[str]:
    """Return the names that a cell binds in ``block`` and never outside of ``removed`` blocks."""
    scope = _innermost(tree, block)
    if not isinstance(scope, Scope) or scope not in tree.body:
        return frozenset()
    inside = {name for name, line in _bindings(scope) if _within(line, [block])}
    return frozenset(inside - {n for n, line in _bindings(scope) if not _within(line, removed)})


def graph_of(cells: Sequence[GraphCell]) -> CellGraph:
    definers: dict[str, list[int]] = {}
    for index, cell in enumerate(cells):
        for name in cell.defined:
            definers.setdefault(name, []).append(index)
    children: list[set[int]] = [set() for _ in cells]
    for index, cell in enumerate(cells):
        for parent in {each for name in cell.used for each in definers.get(name, ())} - {index}:
            children[parent].add(index)
    return CellGraph(
        cells=tuple(cells),
        definers={name: tuple(places) for name, places in definers.items()},
        children=tuple(map(frozenset, children)),
        order=tuple(_order(children)),
    )


def graph_errors(graph: CellGraph, filename: str) -> Iterator[Finding]:
    """Yield findings for names that are defined twice, and for cells that depend on themselves."""
    for name, places in graph.definers.items():
        first, *others = (graph.cells[index].line for index in places)
        for line in others:
            message = f"{name!r} is defined in the cell at line {first} as well, "
            hint = "Rename one of them, or begin it with an underscore."
            yield Finding(filename, line, f"{message}so marimo runs neither.", hint)
    for index, cell in enumerate(graph.cells):
        if index in graph.below(index):
            message = "this cell needs names of cells that need its own, so marimo runs neither."
            yield Finding(filename, cell.line, message, "Move what both need into a third cell.")


def _missing(scope: Scope, block: Lines, removed: Sequence[Lines]) -> tuple[str, ...]:
    begin, end = block
    returns = (n for n in own_nodes(scope) if isinstance(n, ast.Return) and n.lineno > end)
    returned = min(returns, key=lambda each: each.lineno, default=None)
    if returned is None:
        return ()
    before: set[str] = set()
    later: set[str] = set()
    hints = {  # `x: int` alone gives no value
        (node.target.id, node.lineno)
        for node in own_nodes(scope)
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


def returned_names(node: ast.Return) -> Iterator[str]:
    """Return the names in a ``return`` of names, alone or in a tuple, without other values."""
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return (value.id for value in values if isinstance(value, ast.Name))


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
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
    declared = (n for n in own_nodes(scope) if isinstance(n, ast.Global | ast.Nonlocal))
    return frozenset(name for node in declared for name in node.names)


def _bindings(scope: Scope) -> Iterator[tuple[str, int]]:
    arguments = scope.args
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    for argument in (*every, arguments.vararg, arguments.kwarg):
        if argument is not None:
            yield argument.arg, scope.lineno
    yield from _bound(own_nodes(scope))


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


def _order(children: Sequence[Iterable[int]]) -> list[int]:
    """Return the cells sorted as by marimo: parents first, ties by their place in the file."""
    missing = [0 for _ in children]
    for child in (each for some in children for each in some):
        missing[child] += 1
    ready = [index for index, count in enumerate(missing) if not count]
    heapify(ready)
    order: list[int] = []
    while ready:
        order.append(heappop(ready))
        for child in children[order[-1]]:
            missing[child] -= 1
            if not missing[child]:
                heappush(ready, child)
    return [*order, *(index for index, count in enumerate(missing) if count)]

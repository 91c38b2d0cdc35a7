"""The dependencies between a notebook's cells, as marimo draws them from their names.

Unlike marimo's own graph, one with cycles and repeated definitions can be built; both are findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from mograder.notebook.findings import Finding
from mograder.notebook.scopes import closure


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

"""The names of cells and the graph between them are marimo's own."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from marimo._ast.compiler import compile_cell
from marimo._runtime.dataflow import DirectedGraph, topological_sort
from marimo._types.ids import CellId_t

from mograder.notebook.cells import parse_cells
from mograder.notebook.parsing import NotPython, cell_names
from mograder.notebook.scopes import GraphCell, graph_errors, graph_of
from tests.unit.notebook.strategies import notebooks

REPOSITORY = Path(__file__).parents[3]
WHOLE = sorted(
    [*REPOSITORY.glob("examples/course/*/*/*.py"), *REPOSITORY.glob("tests/data/legacy/*/*.py")]
)


@pytest.mark.parametrize(
    ("code", "defined", "used"),
    [
        ("x = y + _z", "x", "y"),
        ("_x = y", "", "y"),
        ("[w := i for i in r]", "w", "r"),
        ("def f():\n    global g\n    g = h", "f g", "h"),
        ("def f(a=b):\n    return a + c", "f", "b c"),
        ("import a.b as c, d.e\nfrom m import _n", "c d", ""),
        ("print(x)\nx = 3", "x", "print x"),
        ("for i in k:\n    pass", "i", "k"),
        ("match v:\n    case [q, *r]:\n        pass", "q r", "v"),
        ("del x", "", "x"),
        ("await x", "", "x"),
        ("# nothing", "", ""),
    ],
)
def test_the_names_of_a_cell(code: str, defined: str, used: str) -> None:
    names = cell_names(code)
    assert sorted(names.defined) == defined.split()
    assert sorted(names.used) == used.split()


def test_names_with_a_leading_underscore_are_the_cells_own() -> None:
    names = cell_names("_a = 1\nb = _c")
    assert names.private == {"_a"}
    assert names.private_used == {"_c"}


@pytest.mark.parametrize(
    ("code", "line", "reason"),
    [
        ("x = 1\nfrom a import *", 2, "import *"),
        ("if x:\n    return 1", 2, "'return' outside function"),
        ("x = = 1", 1, "invalid syntax"),
        ("yield 1", 1, "'yield' outside function"),
        ("(" * 250 + ")" * 250, 1, "too many nested parentheses"),
        ("x = " + "-" * 5000 + "1", 1, ""),
        ("x = '\0'", 1, "null bytes"),
    ],
)
def test_code_that_marimo_cannot_run_is_refused(code: str, line: int, reason: str) -> None:
    with pytest.raises(NotPython) as refused:
        cell_names(code)
    assert reason in refused.value.reason
    assert refused.value.line == line


@pytest.mark.parametrize(
    "code",
    [
        "x = " + " + ".join(['"\U0001f600" * 4096'] * 300),
        "".join(f"{' ' * n}try:\n{' ' * n} a\n{' ' * n}finally:\n" for n in range(18))
        + " " * 18
        + "a",
        "def f():\n try:\n" + "  return\n" * 1500 + " finally:\n" + "  a\n" * 1500,
    ],
    ids=["constants", "nested finally", "many ways out"],
)
def test_code_is_not_compiled_to_more_than_its_length(code: str) -> None:
    spent = time.process_time()
    tracemalloc.start()
    try:
        cell_names(code)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 50_000_000
    assert time.process_time() - spent < 3


def test_the_parts_of_a_try_are_all_looked_at() -> None:
    code = "try:\n a\nexcept b:\n c\nelse:\n d\nfinally:\n e = f @ g\n"
    assert sorted(cell_names(code).used) == ["a", "b", "c", "d", "f", "g"]
    assert cell_names("try:\n a\nfinally:\n b\n").used == {"a", "b"}
    for last in ("break", "return", "yield"):
        for handlers in ("", "except* b:\n pass\n", "except b:\n pass\n"):
            with pytest.raises(NotPython):
                cell_names(f"try:\n a\n{handlers}finally:\n {last}\n")


def marimos_graph(codes: list[str]) -> tuple[list[set[int]], list[int]]:
    """Parents and order by marimo itself; the cells' numbers are their ids."""
    graph = DirectedGraph()
    for index, code in enumerate(codes):
        cell_id = CellId_t(str(index))
        graph.register_cell(cell_id, compile_cell(code, cell_id=cell_id))
    parents = [{int(each) for each in graph.parents[CellId_t(str(n))]} for n in range(len(codes))]
    return parents, [int(each) for each in topological_sort(graph, list(graph.cells))]


def our_graph(codes: list[str]) -> tuple[list[set[int]], list[int]]:
    names = [cell_names(code) for code in codes]
    graph = graph_of([GraphCell(1, each.defined, each.used) for each in names])
    parents: list[set[int]] = [set() for _ in codes]
    for index, children in enumerate(graph.children):
        for child in children:
            parents[child].add(index)
    looped = {index for index in range(len(codes)) if index in graph.below(index)}
    behind = looped.union(*(graph.below(index) for index in looped))
    return parents, [index for index in graph.order if index not in behind]


def readable(text: str) -> list[str]:
    """The cells of a notebook that marimo can run."""
    found = []
    for cell in parse_cells(text, "x.py").cells:
        try:
            cell_names(cell.code)
        except NotPython:
            continue
        found.append(cell.code)
    return found


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_the_graph_of_whole_notebooks_is_marimos(path: Path) -> None:
    codes = readable(path.read_text(encoding="utf-8"))
    assert our_graph(codes) == marimos_graph(codes)


@settings(max_examples=max(20, settings().max_examples // 5))
@given(notebooks(marked=True))
def test_the_graph_of_any_notebook_is_marimos(text: str) -> None:
    codes = readable(text)
    assert our_graph(codes) == marimos_graph(codes)


def graph_told(*cells: tuple[str, str]) -> list[str]:
    """The errors of a graph of cells, each with the names it defines and uses."""
    made = [
        GraphCell(10 * number, frozenset(defined.split()), frozenset(used.split()))
        for number, (defined, used) in enumerate(cells, start=1)
    ]
    return [str(finding) for finding in graph_errors(graph_of(made), "hw.py")]


def test_a_name_of_two_cells_is_an_error_at_the_later_ones() -> None:
    found = graph_told(("x", ""), ("x", ""), ("y", "x"), ("x", ""))
    assert [each.split(": ")[0] for each in found] == ["hw.py:20", "hw.py:40"]
    assert "'x' is defined in the cell at line 10 as well" in found[0]


def test_every_cell_of_a_cycle_is_told_but_none_behind_it() -> None:
    found = graph_told(("a", "c"), ("b", "a"), ("c", "b"), ("d", "c"), ("", ""))
    assert [each.split(": ")[0] for each in found] == ["hw.py:10", "hw.py:20", "hw.py:30"]
    assert graph_told(("a", ""), ("b", "a")) == []


def test_cells_run_after_those_that_they_depend_on_else_as_in_the_file() -> None:
    made = [("b", "a"), ("", ""), ("a", ""), ("c", "d"), ("d", "c")]
    graph = graph_of([GraphCell(1, frozenset(d.split()), frozenset(u.split())) for d, u in made])
    assert graph.order == (1, 2, 0, 3, 4)

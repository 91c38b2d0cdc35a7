"""Mutants of an author's solution: the notebook with one small change that makes it wrong. Pure.

A check that passes for a mutant does not notice that mistake. Only code in solution blocks is
changed, and of that only statements on which a check depends. A changed cell is written anew from
its syntax tree, without comments.
"""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mograder.notebook.cells import (
    Cell,
    CellKind,
    LineEdit,
    NotebookText,
    plain_text,
    replace_lines,
)
from mograder.notebook.grading.grading_plan import GradingPlan, Role, checks_below, needed_names
from mograder.notebook.parsing import parse_python
from mograder.notebook.quality.mutation_rules import Mutation, changes_of
from mograder.notebook.scopes import bound_names, closure, names_read
from mograder.notebook.source.solution_markers import BlockKind, find_blocks


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed notebook; ``line`` is that of the change in the source, in the cell ``cell``.

    ``kind`` is a word for the change; ``diff`` shows it as lines that begin with ``-`` and ``+``.
    """

    cell: int
    line: int
    kind: str
    diff: str
    text: str


def mutants_of(notebook: NotebookText, plan: GradingPlan, filename: str) -> tuple[Mutant, ...]:
    """Return the mutants of a source, in the order of the file.

    Raises:
        InvalidInput: The markers in the source are wrong.
    """
    blocks = find_blocks(notebook.text, filename)
    spans = [(each.begin, each.end) for each in blocks if each.kind is BlockKind.SOLUTION]
    names = needed_names(plan)
    found: dict[str, Mutant] = {}
    tree = parse_python(plain_text(notebook.text), filename)
    for planned in plan.cells:
        if planned.role is not Role.STUDENT or not checks_below(plan, planned.index):
            continue
        cell = notebook.cells[planned.index]
        node = next(each for each in tree.body if cell.first <= each.lineno <= cell.last)
        statements = _relevant(node, cell, names)
        for change in (change for each in statements for change in changes_of(each)):
            if any(_is_within(change.old, span) for span in spans):
                mutant = _mutant(notebook, cell, node, change)
                found.setdefault(mutant.text, mutant)
    return tuple(each for each in found.values() if each.diff)


def choose(mutants: Sequence[Mutant], most: int, seed: int) -> tuple[Mutant, ...]:
    """Return at most ``most`` mutants, spread over the lines; the same for the same seed."""
    if len(mutants) <= most:
        return tuple(mutants)
    numbers = random.Random(seed)  # noqa: S311 - a choice that can be repeated
    by_line: dict[int, list[int]] = defaultdict(list)
    for index, mutant in enumerate(mutants):
        by_line[mutant.line].append(index)
    for indexes in by_line.values():
        numbers.shuffle(indexes)
    lines = list(by_line.values())
    numbers.shuffle(lines)
    chosen: list[int] = []
    while len(chosen) < most:
        for indexes in lines:
            if indexes and len(chosen) < most:
                chosen.append(indexes.pop())
    return tuple(mutants[index] for index in sorted(chosen))


def _relevant(node: ast.stmt, cell: Cell, names: frozenset[str]) -> Iterator[ast.stmt]:
    """Yield the statements of a cell that the value of one of these names depends on."""
    if cell.kind in (CellKind.FUNCTION, CellKind.CLASS):
        yield node
        return
    statements: list[ast.stmt] = getattr(node, "body", [])
    own = bound_names(statements)
    facts = [(each, bound_names([each]) | (_changed(each) & own)) for each in statements]
    wanted = closure(
        names,
        lambda name: names_read(*(each for each, bound in facts if name in bound)),
    )
    for each, bound in facts:
        if bound & wanted and not isinstance(each, ast.Return | ast.Import | ast.ImportFrom):
            yield each


def _changed(statement: ast.stmt) -> frozenset[str]:
    """Return the names whose objects a statement may change: of its calls and subscripts."""
    found = set()
    for node in ast.walk(statement):
        match node:
            case ast.Expr(value=ast.Call(func=function, args=args)):
                found |= {each.id for each in args if isinstance(each, ast.Name)}
                if isinstance(function, ast.Attribute):
                    found |= names_read(function.value)
            case (
                ast.Subscript(value=value, ctx=ast.Store())
                | ast.Attribute(value=value, ctx=ast.Store())
            ):
                found |= names_read(value)
    return frozenset(found)


def _is_within(node: ast.expr | ast.stmt, span: tuple[int, int]) -> bool:
    return span[0] < node.lineno and (node.end_lineno or node.lineno) < span[1]


def _mutant(notebook: NotebookText, cell: Cell, node: ast.stmt, change: Mutation) -> Mutant:
    before = ast.unparse(node).split("\n")
    _Swap(change.old, change.new).visit(node)
    after = ast.unparse(node).split("\n")
    _Swap(change.new, change.old).visit(node)
    text = replace_lines(notebook.lines, [LineEdit(cell.first, cell.last, tuple(after))])
    return Mutant(cell.index, change.old.lineno, change.kind, _diff(before, after), text)


class _Swap(ast.NodeTransformer):
    """Puts a node in the place of another one."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old = old
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        return self._new if node is self._old else self.generic_visit(node)


def _diff(old: Sequence[str], new: Sequence[str]) -> str:
    """Return the lines that differ as a diff, without the indent that they share."""
    most = min(len(old), len(new))
    head = next((at for at in range(most) if old[at] != new[at]), most)
    tail = next((at for at in range(most - head) if old[-1 - at] != new[-1 - at]), most - head)
    sides = (("- ", old[head : len(old) - tail]), ("+ ", new[head : len(new) - tail]))
    indents = (len(line) - len(line.lstrip()) for _, lines in sides for line in lines)
    indent = min(indents, default=0)  # 1e300 + 1 is 1e300
    return "\n".join(f"{mark}{line[indent:]}" for mark, lines in sides for line in lines)

"""Mutants of an author's solution: the notebook with one small change that makes it wrong. Pure.

A check that passes for a mutant does not notice that mistake. Only code in solution blocks is
changed, and of that only statements on which a check depends. All lines keep their numbers, so that
places in a mutant are places in the source.
"""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mograder.notebook.cells import Cell, CellKind, NotebookText, plain_text, split_lines
from mograder.notebook.grading.grading_plan import GradingPlan, Role
from mograder.notebook.parsing import NotPython, parse_python
from mograder.notebook.quality.mutation_rules import Mutation, changes_of
from mograder.notebook.quality.needed_cells import checks_below, needed_names
from mograder.notebook.scopes import bound_names
from mograder.notebook.source.solution_markers import BlockKind, find_blocks


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed notebook; ``line`` is that of the change in the file, in the cell ``cell``.

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
    plain = plain_text(notebook.text)
    blocks = find_blocks(notebook.text, filename)
    spans = [(each.begin, each.end) for each in blocks if each.kind is BlockKind.SOLUTION]
    names = needed_names(plan)
    texts = _Texts(plain)
    found: dict[str, Mutant] = {}
    tree = parse_python(plain, filename)
    cells = {cell.index: cell for cell in notebook.cells}
    for planned in plan.cells:
        if planned.role is not Role.STUDENT or not checks_below(plan, planned.index):
            continue
        cell = cells[planned.index]
        statements = _relevant(_statements(tree, cell), cell, names)
        changes = (change for each in statements for change in _within(each, spans))
        for mutant in filter(None, (texts.mutant(cell.index, change) for change in changes)):
            found.setdefault(mutant.text, mutant)
    return tuple(found.values())


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


def _statements(tree: ast.Module, cell: Cell) -> list[ast.stmt]:
    """Return the statements of a cell in the file's tree, those of a function's body as one."""
    for node in tree.body:
        if cell.first <= node.lineno <= cell.last:
            is_own = cell.kind in (CellKind.FUNCTION, CellKind.CLASS)
            return [node] if is_own else list(getattr(node, "body", []))
    return []


def _relevant(
    statements: Sequence[ast.stmt], cell: Cell, names: frozenset[str]
) -> Iterator[ast.stmt]:
    """Yield the statements that the value of one of these names depends on."""
    if cell.kind in (CellKind.FUNCTION, CellKind.CLASS):
        yield from statements
        return
    wanted = set(names)
    own = bound_names(statements)
    facts = [
        (each, bound_names([each]) | (_changed(each) & own), _read(each)) for each in statements
    ]
    while True:
        more = {name for _, bound, read in facts if bound & wanted for name in read} - wanted
        if not more:
            break
        wanted |= more
    yield from (
        each
        for each, bound, _ in facts
        if bound & wanted and not isinstance(each, ast.Return | ast.Import | ast.ImportFrom)
    )


def _changed(statement: ast.stmt) -> frozenset[str]:
    """Return the names whose objects a statement may change: of its calls and subscripts."""
    found = set()
    for node in ast.walk(statement):
        match node:
            case ast.Expr(value=ast.Call(func=function, args=args)):
                found |= {each.id for each in args if isinstance(each, ast.Name)}
                if isinstance(function, ast.Attribute):
                    found |= _read(function.value)
            case (
                ast.Subscript(value=value, ctx=ast.Store())
                | ast.Attribute(value=value, ctx=ast.Store())
            ):
                found |= _read(value)
    return frozenset(found)


def _read(node: ast.AST) -> frozenset[str]:
    return frozenset(
        each.id
        for each in ast.walk(node)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    )


def _within(statement: ast.stmt, spans: Iterable[tuple[int, int]]) -> Iterator[Mutation]:
    """Yield the changes of a statement that stand within solution blocks."""
    places = list(spans)
    for change in changes_of(statement):
        first, last = change.start[0], change.end[0]
        if any(begin < first and last < end for begin, end in places):
            yield change


class _Texts:
    """Makes the texts of mutants from that of the source, with LF line ends."""

    def __init__(self, plain: str) -> None:
        self._lines = [line.encode("utf-8", "surrogatepass") for line in split_lines(plain)]

    def mutant(self, cell: int, change: Mutation) -> Mutant | None:
        """Return a mutant, None if the changed text is no Python or the same."""
        (first, begin), (last, end) = change.start, change.end
        lines = self._lines[first - 1 : last]
        head, tail = lines[0][:begin], lines[-1][end:]
        lines[-1] = lines[-1][:end]
        lines[0] = lines[0][begin:]
        old = b"".join(lines).decode("utf-8", "surrogatepass")
        if change.before:
            if change.before not in old:
                return None
            new = old.replace(change.before, change.text, 1)
        else:
            new = change.text + "\n" * old.count("\n")
        changed = head + new.encode("utf-8", "surrogatepass") + tail
        parts = [*self._lines[: first - 1], changed, *self._lines[last:]]
        text = b"".join(parts).decode("utf-8", "surrogatepass")
        if new == old or not _is_python(text):
            return None
        before = b"".join(self._lines[first - 1 : last])
        return Mutant(cell, first, change.kind, _diff(before, changed), text)


def _diff(before: bytes, after: bytes) -> str:
    """Return changed lines as a diff, without the indent that they share."""
    old, new = (each.decode("utf-8", "replace").rstrip().split("\n") for each in (before, after))
    new = [line for line in new if line.strip()]
    indent = min(len(line) - len(line.lstrip()) for line in (*old, *new) if line.strip())
    same = 0
    while same < min(len(old), len(new)) - 1 and old[-1 - same] == new[-1 - same]:
        same += 1
    old, new = old[: len(old) - same], new[: len(new) - same]
    return "\n".join(
        [*(f"- {each[indent:]}" for each in old), *(f"+ {each[indent:]}" for each in new)]
    )


def _is_python(text: str) -> bool:
    try:
        parse_python(text)
    except NotPython:
        return False
    return True

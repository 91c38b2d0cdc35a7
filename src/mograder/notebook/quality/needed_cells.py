"""The cells that checks need, those that depend on a cell, and a notebook of some cells only. Pure.

Dependencies are those of a plan's cells: by names, as marimo draws them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from mograder.notebook.cells import LineEdit, NotebookText, replace_lines
from mograder.notebook.grading.grading_plan import GradingPlan, Role


def with_checks(plan: GradingPlan) -> frozenset[int]:
    """Return the cells that hold checks which run, also checks that run beside the answers."""
    return frozenset(part.cell for part in (*plan.checks, *plan.beside))


def checks_below(plan: GradingPlan, cell: int) -> frozenset[int]:
    """Return the cells with checks that depend on a cell, directly or not; itself, if it has."""
    return with_checks(plan) & cells_below(plan, cell)


def cells_below(plan: GradingPlan, cell: int) -> frozenset[int]:
    """Return a cell with all cells that depend on it, directly or not."""
    users = _users(plan)
    found, waiting = {cell}, [cell]
    while waiting:
        fresh = users.get(waiting.pop(), frozenset()) - found
        found |= fresh
        waiting += fresh
    return frozenset(found)


def needed_cells(plan: GradingPlan, cells: Iterable[int]) -> frozenset[int]:
    """Return cells with all the cells that they depend on."""
    by_name = _definers(plan)
    uses = {cell.index: cell.uses for cell in plan.cells}
    found = set(cells)
    waiting = list(found)
    while waiting:
        index = waiting.pop()
        sources = {each for name in uses[index] for each in by_name.get(name, ())}
        fresh = sources - found
        found |= fresh
        waiting += fresh
    return frozenset(found)


def needed_names(plan: GradingPlan) -> frozenset[str]:
    """Return the names of students' cells that checks depend on, directly or through cells."""
    cells = needed_cells(plan, with_checks(plan))
    used = {name for cell in plan.cells if cell.index in cells for name in cell.uses}
    students = {name for cell in plan.cells if cell.role is Role.STUDENT for name in cell.defines}
    return frozenset(used & students)


def only_cells(notebook: NotebookText, cells: Collection[int]) -> str:
    """Return the text of a notebook without the other cells."""
    others = (each for each in notebook.cells if each.index not in cells)
    return replace_lines(notebook.lines, [LineEdit(each.first, each.last) for each in others])


def _definers(plan: GradingPlan) -> Mapping[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for cell in plan.cells:
        for name in cell.defines:
            found[name] = (*found.get(name, ()), cell.index)
    return found


def _users(plan: GradingPlan) -> Mapping[int, frozenset[int]]:
    """Return for each cell those that use one of its names."""
    found: dict[int, set[int]] = {}
    by_name = _definers(plan)
    for cell in plan.cells:
        for name in cell.uses:
            for source in by_name.get(name, ()):
                found.setdefault(source, set()).add(cell.index)
    return {index: frozenset(users) for index, users in found.items()}

"""The cells that checks need, those that depend on a cell, and a notebook of some cells only. Pure.

Dependencies are those of a plan's cells: by names, as marimo draws them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from mograder.notebook.cells import LineEdit, NotebookText, replace_lines
from mograder.notebook.grading.grading_plan import GradingPlan, Role
from mograder.notebook.scopes import closure


def with_checks(plan: GradingPlan) -> frozenset[int]:
    """Return the cells that hold checks which run, also checks that run beside the answers."""
    return frozenset(part.cell for part in (*plan.checks, *plan.beside))


def checks_below(plan: GradingPlan, cell: int) -> frozenset[int]:
    """Return the cells with checks that depend on a cell, directly or not; itself, if it has."""
    return with_checks(plan) & cells_below(plan, cell)


def cells_below(plan: GradingPlan, cell: int) -> frozenset[int]:
    """Return a cell with all cells that depend on it, directly or not."""
    users: dict[str, list[int]] = defaultdict(list)
    for each in plan.cells:
        for name in each.uses:
            users[name].append(each.index)
    defines = {each.index: each.defines for each in plan.cells}
    return closure([cell], lambda index: (one for name in defines[index] for one in users[name]))


def needed_cells(plan: GradingPlan, cells: Iterable[int]) -> frozenset[int]:
    """Return cells with all the cells that they depend on."""
    definers: dict[str, list[int]] = defaultdict(list)
    for each in plan.cells:
        for name in each.defines:
            definers[name].append(each.index)
    uses = {each.index: each.uses for each in plan.cells}
    return closure(cells, lambda index: (one for name in uses[index] for one in definers[name]))


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

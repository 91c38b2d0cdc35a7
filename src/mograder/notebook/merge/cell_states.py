"""The cells of a merge, each in its states: in the old release, in the new one, and in the copy.

Without the old release, the hashes in the copy's header tell which cells are the author's: it has
those of all cells that students must not change (compatibility-0.3.16.md 7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from mograder.notebook.cell_pairs import Pairs, code_of, pair_cells, same_code
from mograder.notebook.cells import Cell, NotebookText
from mograder.notebook.header_edit import read_key
from mograder.notebook.points import (
    TO_DO,
    GuardedCell,
    cell_hash,
    cell_labels,
    guarded_cells,
    is_editable,
)
from mograder.notebook.source.release import SUBMIT

CELL_HASHES = "mograder-cell-hashes"
_PLACEHOLDER = re.compile(r"pass|\w+ = \.\.\.|mo\.md\(r?\"\"\"|\"\"\"\)|" + re.escape(TO_DO))


@dataclass(slots=True)
class CellStates:
    """One cell in up to three notebooks.

    ``alone`` is whether the student left it as the author wrote it, ``kept`` whether the author
    left it as it was. ``added_beside`` are the author's cells that an earlier merge put below it.
    """

    base: Cell | None = None
    new: Cell | None = None
    mine: Cell | None = None
    alone: bool = False
    kept: bool = False
    required: bool = False
    """Whether the new release's cell must be in the result as it was released."""
    old_guarded: GuardedCell | None = None
    """The cell in the old release, with the names that decide about marks."""
    doubled: bool = False
    """Whether this is a further copy that the student made of an author's cell."""
    old_place: int | None = None
    """The cell's place in the old release, where that is known."""
    added_beside: list[Cell] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether the copy has the new release's cell already."""
        return self.new is not None and self.mine is not None and same_code(self.new, self.mine)


def is_required(guarded: GuardedCell) -> bool:
    """Whether a release's cell must be in each copy: a check, the marks, or a form to submit."""
    cell = guarded.cell
    return not is_editable(cell) and (bool(guarded.labels) or is_submit_cell(cell))


def is_submit_cell(cell: Cell) -> bool:
    """Whether a cell belongs to the form with which students submit from the notebook."""
    return any(line.strip() == SUBMIT for line in cell.code.split("\n"))


def states_by_release(
    base: NotebookText, new: NotebookText, mine: Sequence[Cell]
) -> list[CellStates]:
    """Return the states of all cells, where the release that the copy came from is known."""
    to_new = pair_cells(base.cells, new.cells, _both_answers)
    there = _already_there(base.cells, new.cells, mine)
    old_of = {found: one for one, found in to_new.items()}
    taken = {old_of[one] for one in there if one in old_of}
    rest = [index for index in range(len(base.cells)) if index not in taken]
    free = [index for index in range(len(mine)) if index not in there.values()]
    found = pair_cells([base.cells[i] for i in rest], [mine[i] for i in free])
    to_mine = {rest[one]: free[other] for one, other in found.items()}
    to_mine |= {old_of[one]: own for one, own in there.items() if one in old_of}
    states = [
        _three(old, _at(new.cells, to_new, old.index), _at(mine, to_mine, old.index))
        for old in base.cells
    ]
    fresh = (cell for cell in new.cells if cell.index not in old_of)
    states += [CellStates(new=cell, mine=_at(mine, there, cell.index)) for cell in fresh]
    _pair_new_checks(states, mine)
    states += _own_cells(mine, states)
    guarded = {each.cell.index: each for each in guarded_cells(base)}
    for each in states:
        each.old_guarded = None if each.base is None else guarded[each.base.index]
    return _with_required(states, new)


def states_by_hashes(new: NotebookText, mine: Sequence[Cell], header: str) -> list[CellStates]:
    """Return the states of all cells by the hashes in the copy's header, which may have none.

    What cannot be known counts as changed by both, so that nothing is lost.
    """
    hashes = {each.strip() for each in read_key(header, CELL_HASHES).split(",")} - {""}
    known = partial(_is_known, hashes)
    to_mine = pair_cells(new.cells, mine, _may_be_one)
    states = []
    for cell in new.cells:
        own = _at(mine, to_mine, cell.index)
        kept = known(cell) or (own is not None and _only_answered(cell, own))
        alone = own is not None and known(own)
        states.append(CellStates(new=cell, mine=own, alone=alone, kept=kept))
    paired = set(to_mine.values())
    for index, own in enumerate(mine):
        if index not in paired:
            states.append(CellStates(mine=own, alone=known(own)))
    for each in states:
        each.base = each.mine if each.alone else each.new if each.kept else None
    guarded = {code_of(each.cell): each for each in guarded_cells(new)}
    for each in states:
        each.old_guarded = guarded.get(code_of(each.base)) if each.base is not None else None
    return _with_required(states, new)


def _both_answers(one: Cell, other: Cell) -> bool:
    return is_editable(one) == is_editable(other)


def _is_known(hashes: set[str], cell: Cell) -> bool:
    return not is_editable(cell) and cell_hash(cell.code) in hashes


def _may_be_one(new: Cell, own: Cell) -> bool:
    """Whether a copy's cell may be a released one: never an answer that of a fixed cell."""
    return is_editable(new) or not is_editable(own)


def _only_answered(new: Cell, own: Cell) -> bool:
    """Whether the only change of an answer's cell is the answer: all other lines are there."""
    given = (line.strip() for line in new.code.split("\n"))
    wanted = {line for line in given if line and not _PLACEHOLDER.fullmatch(line)}
    return is_editable(new) and wanted <= {line.strip() for line in own.code.split("\n")}


def _at(cells: Sequence[Cell], pairs: Pairs, index: int) -> Cell | None:
    found = pairs.get(index)
    return None if found is None else cells[found]


def _three(old: Cell, new: Cell | None, own: Cell | None) -> CellStates:
    return CellStates(
        base=old,
        old_place=old.index,
        new=new,
        mine=own,
        alone=own is not None and same_code(old, own),
        kept=new is not None and same_code(old, new),
    )


def _already_there(base: Sequence[Cell], new: Sequence[Cell], mine: Sequence[Cell]) -> Pairs:
    """Return the new release's changed and added cells that the copy has, as after a merge."""
    old = set(map(code_of, base))
    having: dict[str, list[int]] = {}
    for index, own in reversed(list(enumerate(mine))):
        having.setdefault(code_of(own), []).append(index)
    return {
        cell.index: having[code_of(cell)].pop()
        for cell in new
        if code_of(cell) not in old and having.get(code_of(cell))
    }


def _pair_new_checks(states: Iterable[CellStates], mine: Sequence[Cell]) -> None:
    """Pair added checks with a student's cell of the same label, which would be a second one."""
    waiting = [each for each in states if each.new is not None and each.mine is None]
    waiting = [each for each in waiting if each.base is None]
    taken = {each.mine.index for each in states if each.mine is not None}
    free = [own for own in mine if own.index not in taken and not is_editable(own)]
    by_label = {label: own for own in reversed(free) for label in cell_labels(own)}
    for each in waiting:
        if each.new is None or is_editable(each.new):
            continue
        own = next((by_label[label] for label in cell_labels(each.new) if label in by_label), None)
        if own is not None:
            each.mine = own
            by_label = {label: cell for label, cell in by_label.items() if cell is not own}


def _own_cells(mine: Sequence[Cell], states: Sequence[CellStates]) -> list[CellStates]:
    """Return the states of the copy's other cells: the student's, and copies of the author's."""
    taken = {each.mine.index for each in states if each.mine is not None}
    by_code = {code_of(each.base): each for each in states if each.base is not None}
    found = []
    for own in mine:
        if own.index in taken:
            continue
        of = by_code.get(code_of(own)) if code_of(own) else None
        if of is None:
            found.append(CellStates(mine=own))
        else:
            found.append(CellStates(base=of.base, mine=own, alone=True, kept=of.kept, doubled=True))
    return found


def _with_required(states: list[CellStates], new: NotebookText) -> list[CellStates]:
    required = {each.cell.index for each in guarded_cells(new) if is_required(each)}
    for each in states:
        each.required = each.new is not None and each.new.index in required
    return states

"""The decision about each cell in a merge, seen alone: its states, and which are written.

A cell has up to three states: in the old release, in the new one, and in the copy. Without the old
release, the hashes in the copy's header tell which cells are the author's: it has those of all
cells that students must not change (compatibility-0.3.16.md 7).

The cells that are written are released ones, the student's, and those that are comments only. A
cell that does not run is a comment and not a disabled cell, because marimo counts the names of
disabled cells too, and runs no cell whose name is defined twice.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from mograder.notebook.cell_pairs import (
    Pairs,
    code_of,
    names_in,
    names_of,
    pair_cells,
    pair_releases,
    same_code,
    told_apart,
)
from mograder.notebook.cells import (
    Cell,
    CellKind,
    NotebookText,
    lines_outside,
    statements_of,
    tree_of,
)
from mograder.notebook.header_edit import read_key
from mograder.notebook.parsing import CellNames
from mograder.notebook.points import (
    TO_DO,
    GuardedCell,
    cell_hash,
    cell_labels,
    guarded_cells,
    is_editable,
    labels_in,
    only_imports_more,
    plain_code,
)
from mograder.notebook.scopes import bound_names
from mograder.notebook.source.release import SUBMIT

BOTH_CHANGED = "You and the author changed this cell. Yours runs; the author's is beside it."
CHECK_CHANGED = "This cell runs as it was released. Your version of it is beside it, as a comment."
AUTHOR_REMOVED = "The new release has no such cell any more. You changed it, so it stays."

AUTHORS = "# === MOGRADER: NEW VERSION BY THE AUTHOR ({hash}) ==="
_AUTHORS_NOTE = "# It does not run. Take over what you need, then delete this cell."
_AUTHORS_MARK = re.compile(r"# === MOGRADER: NEW VERSION BY THE AUTHOR \((?P<hash>\w{8})\) ===")
STUDENTS = "# === MOGRADER: YOUR VERSION ==="
_STUDENTS_NOTE = "# The cell above runs as it was released. Your version of it does not run."
ADDITIONS = "# === MOGRADER: YOUR ADDITIONS to the cell above ==="
OUTSIDE = "# === MOGRADER: YOUR LINES from outside of all cells ==="
_WAS_OUTSIDE = "marimo drops lines outside of all cells, so these are a comment now."
_NOT_RUN = CellNames()
_INDENT = "    "

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
        return self.new is not None and self.mine is not None and same_code(self.new, self.mine)


def states_by_release(
    base: NotebookText, new: NotebookText, mine: Sequence[Cell]
) -> list[CellStates]:
    """Return the states of all cells, where the release that the copy came from is known."""
    to_new = pair_releases(base.cells, new.cells)
    there = _already_there(base.cells, new.cells, mine)
    old_of = {found: one for one, found in to_new.items()}
    taken = {old_of[one] for one in there if one in old_of}
    rest = [index for index in range(len(base.cells)) if index not in taken]
    free = [index for index in range(len(mine)) if index not in there.values()]
    found = pair_cells([base.cells[i] for i in rest], [mine[i] for i in free])
    to_mine = {rest[one]: free[other] for one, other in found.items()}
    to_mine |= {old_of[one]: own for one, own in there.items() if one in old_of}
    guarded = {each.cell.index: each for each in guarded_cells(base)}
    states = []
    for old in base.cells:
        made = _at(new.cells, to_new, old.index)
        own = _at(mine, to_mine, old.index)
        states.append(
            CellStates(
                base=old,
                old_place=old.index,
                new=made,
                mine=own,
                alone=own is not None and same_code(old, own),
                kept=made is not None and same_code(old, made),
            )
        )
    fresh = (cell for cell in new.cells if cell.index not in old_of)
    states += [CellStates(new=cell, mine=_at(mine, there, cell.index)) for cell in fresh]
    _pair_new_checks(states, mine)
    states += _own_cells(mine, states)
    for each in states:
        each.old_guarded = None if each.base is None else guarded[each.base.index]
    return _with_required(states, new)


def states_by_hashes(new: NotebookText, mine: Sequence[Cell], header: str) -> list[CellStates]:
    """Return the states of all cells by the hashes in the copy's header, which may have none.

    What cannot be known counts as changed by both, so that nothing is lost.
    """
    hashes = {each.strip() for each in read_key(header, CELL_HASHES).split(",")} - {""}

    def known(cell: Cell) -> bool:
        return not is_editable(cell) and cell_hash(cell.code) in hashes

    # An answer of the copy's is never a fixed cell.
    to_mine = pair_cells(new.cells, mine, lambda new, own: is_editable(new) or not is_editable(own))
    states = []
    for cell in new.cells:
        own = _at(mine, to_mine, cell.index)
        given = {line.strip() for line in cell.code.split("\n")}
        wanted = {line for line in given if line and not _PLACEHOLDER.fullmatch(line)}
        there = {line.strip() for line in own.code.split("\n")} if own is not None else None
        # Of an answer's cell, only the answer may be changed: all other lines are there.
        answered = there is not None and is_editable(cell) and wanted <= there
        kept = known(cell) or answered
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


def _at(cells: Sequence[Cell], pairs: Pairs, index: int) -> Cell | None:
    found = pairs.get(index)
    return None if found is None else cells[found]


def _already_there(base: Sequence[Cell], new: Sequence[Cell], mine: Sequence[Cell]) -> Pairs:
    """Return the new release's changed and added cells that the copy has, as after a merge."""
    old = set(told_apart(base))
    having: dict[tuple[str, str], list[int]] = {}
    for index, key in reversed(list(enumerate(told_apart(mine)))):
        having.setdefault(key, []).append(index)
    return {
        cell.index: having[key].pop()
        for cell, key in zip(new, told_apart(new), strict=True)
        if key not in old and having.get(key)
    }


def _pair_new_checks(states: Iterable[CellStates], mine: Sequence[Cell]) -> None:
    """Pair added checks with a student's cell of the same label, which would be a second one."""
    taken = {each.mine.index for each in states if each.mine is not None}
    free = [own for own in mine if own.index not in taken and not is_editable(own)]
    by_label = {label: own for own in reversed(free) for label in cell_labels(own)}
    for each in states:
        if each.mine or each.base or each.new is None or is_editable(each.new):
            continue
        labels = cell_labels(each.new)
        each.mine = next((by_label[label] for label in labels if label in by_label), None)
        by_label = {label: own for label, own in by_label.items() if own is not each.mine}


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
    """Tell which cells must be in each copy: checks, the marks, and the form to submit."""
    required = {
        each.cell.index
        for each in guarded_cells(new)
        if not is_editable(each.cell)
        and (each.labels or SUBMIT in map(str.strip, each.cell.code.split("\n")))
    }
    for each in states:
        each.required = each.new is not None and each.new.index in required
    return states


class Outcome(StrEnum):
    NOTHING = "nothing"
    REPLACED = "replaced"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(slots=True)
class Decision:
    """What the result has of one cell: ``pieces`` in order, none if the cell is left out.

    ``reason`` tells the student of a conflict; empty without one.
    """

    states: CellStates
    pieces: list[Piece] = field(default_factory=list)
    change: Outcome = Outcome.NOTHING
    reason: str = ""

    @property
    def can_yield(self) -> bool:
        """Whether the author's cell can be put in as a comment instead."""
        changes = (Outcome.REPLACED, Outcome.ADDED)
        return self.change in changes and not self.states.required

    def keep_own(self, texts: Texts, reason: str) -> None:
        """Leave the copy's cell as it is; the author's new one, if any, becomes a comment."""
        own, new = self.states.mine, self.states.new
        self.pieces = [] if own is None else [_own_piece(texts.mine, own)]
        if new is not None:
            self.pieces.append(_beside_piece(new))
        self.change, self.reason = Outcome.NOTHING, reason


@dataclass(frozen=True, slots=True)
class Texts:
    """The new release and the copy."""

    new: NotebookText
    mine: NotebookText


@dataclass(frozen=True, slots=True)
class Piece:
    """A cell of the result: its lines without ends, and the names in what runs of it.

    ``released`` is whether it is the new release's cell, which runs.
    """

    lines: tuple[str, ...]
    names: CellNames
    code: str
    cell: Cell | None = None
    released: bool = False
    beside: bool = False
    """Whether this is the author's cell as a comment."""

    @property
    def is_setup(self) -> bool:
        """Whether marimo reads it as the first cell only."""
        return self.cell is not None and self.cell.kind is CellKind.SETUP


def decide(states: list[CellStates], texts: Texts) -> list[Decision]:
    guarded = {each.cell.index: each for each in guarded_cells(texts.mine, texts.new)}
    decisions = [_Deciding(each, texts, guarded).decide() for each in states]
    for each in decisions:
        # The author's cells that earlier merges put beside others may still say more.
        if each.change is not Outcome.REMOVED and not any(piece.beside for piece in each.pieces):
            each.pieces += (_own_piece(texts.mine, cell) for cell in each.states.added_beside)
    return decisions


@dataclass(frozen=True, slots=True)
class _Deciding:
    states: CellStates
    texts: Texts
    guarded: dict[int, GuardedCell]
    """The copy's cells with the names that decide about marks, by index."""

    def decide(self) -> Decision:
        states = self.states
        if states.new is None:
            if states.alone and not (states.doubled and states.kept):
                return Decision(states, [], Outcome.REMOVED)
            gone = states.base is not None and not states.alone
            return self._own(AUTHOR_REMOVED if gone else "")
        if states.mine is None:
            return self._without_own()
        if states.same:
            return self._released(Outcome.NOTHING)
        if states.alone:
            return self._released(Outcome.REPLACED)
        if states.required:
            return self._required()
        if states.kept:
            return self._own()
        return self._own(BOTH_CHANGED, beside=True)

    def _without_own(self) -> Decision:
        if self.states.kept and not self.states.required:
            return Decision(self.states)  # deleted by the student
        return self._released(Outcome.ADDED)

    def _required(self) -> Decision:
        own, new, old = self.states.mine, self.states.new, self.states.old_guarded
        if own is None or new is None:
            return self._without_own()
        if self.states.kept and old and only_imports_more(self.guarded[own.index], old):
            return self._own()
        decision = self._released(Outcome.REPLACED)
        code, aside = _remains_of(own, old, new)
        if code:
            decision.pieces.append(additions_piece(code))
        if aside:
            lines = (STUDENTS, _STUDENTS_NOTE, *_commented(own.code))
            decision.pieces.append(_written(lines, _NOT_RUN))
            decision.reason = CHECK_CHANGED
        return decision

    def _released(self, change: Outcome) -> Decision:
        new = self.states.new
        pieces = [] if new is None else [replace(_own_piece(self.texts.new, new), released=True)]
        return Decision(self.states, pieces, change)

    def _own(self, reason: str = "", *, beside: bool = False) -> Decision:
        own, new = self.states.mine, self.states.new
        pieces = [] if own is None else [_own_piece(self.texts.mine, own)]
        if beside and new is not None:
            pieces.append(_beside_piece(new))
        return Decision(self.states, pieces, reason=reason)


def keep_outside(own: NotebookText, releases: Iterable[NotebookText]) -> list[Decision]:
    """Return the cell that keeps the lines of a student from outside of all cells, if any."""
    given = {line for each in releases for line in lines_outside(each)}
    lines = [line for line in lines_outside(own) if line not in given]
    if not lines:
        return []
    piece = _written((OUTSIDE, *_commented("\n".join(lines))), _NOT_RUN)
    return [Decision(CellStates(), [piece], reason=_WAS_OUTSIDE)]


def drop_repeated(decisions: list[Decision]) -> None:
    """Drop the author's cells of earlier merges that this merge writes or runs itself."""
    live = {
        _beside_piece(each.cell).code
        for decision in decisions
        for each in decision.pieces
        if each.released and each.cell is not None
    }
    live |= {each.code for decision in decisions for each in decision.pieces if each.beside}
    for decision in decisions:
        earlier = {cell.index for cell in decision.states.added_beside}
        decision.pieces = [
            each
            for each in decision.pieces
            if each.cell is None or each.cell.index not in earlier or each.code not in live
        ]


def _own_piece(notebook: NotebookText, cell: Cell) -> Piece:
    return Piece(notebook.lines_of(cell), names_in(cell), code_of(cell), cell)


def _beside_piece(cell: Cell) -> Piece:
    body = _commented(cell.code)
    head = (AUTHORS.format(hash=cell_hash("\n".join(body))), _AUTHORS_NOTE)
    return _written((*head, *body), _NOT_RUN, beside=True)


def additions_piece(code: str) -> Piece:
    """Return a cell of the statements that the student added to an author's cell."""
    return _written((ADDITIONS, *code.split("\n")), names_of(code))


def is_beside(cell: Cell) -> bool:
    """Whether a cell is the author's, put there as a comment by a merge, and was left alone."""
    lines = code_of(cell).split("\n")
    found = _AUTHORS_MARK.fullmatch(lines[0])
    if found is None or lines[1:2] != [_AUTHORS_NOTE]:
        return False
    return cell_hash("\n".join(lines[2:])) == found["hash"]


def without_imports(piece: Piece, names: Collection[str], other: Cell) -> Piece | None:
    """Return a student's cell whose imports of these names are comments, if ``other`` has the same.

    Return None if that is not so for each of the names, or the import is part of a larger line.
    """
    cell = piece.cell
    if cell is None or cell.kind is not CellKind.CELL or cell.code_first < cell.body_first:
        return None
    if cell.return_last and cell.last > cell.return_last:  # comments below the cell's end
        return None
    theirs = set(map(ast.dump, imports_in(other.code)))
    lines = cell.code.split("\n")
    doubled = [each for each in imports_in(cell.code) if not bound_names([each]).isdisjoint(names)]
    bound = bound_names(doubled)
    if not set(names) <= bound or not set(map(ast.dump, doubled)) <= theirs:
        return None
    for each in doubled:
        if not _is_alone(each, lines):
            return None
        for number in range(each.lineno - 1, each.end_lineno or each.lineno):
            lines[number] = f"# {lines[number]}"
    code = "\n".join(lines)
    if names_of(code).defined != piece.names.defined - bound:
        return None
    head = piece.lines[: cell.body_first - cell.first]
    body = tuple(f"{_INDENT}{line}" if line else "" for line in lines)
    written = (*head, *body, f"{_INDENT}return")
    return Piece(written, names_of(code), plain_code(code), cell)


def _remains_of(own: Cell, old: GuardedCell | None, new: Cell) -> tuple[str, bool]:
    """Return what is left of the student's version of a cell beside the new release's.

    It is the statements that still run, and whether the rest is kept as a comment.
    """
    before = old.cell if old is not None else new
    added = _additions(own.code, before.code)
    if added is None:
        return "", True
    given = {ast.dump(node) for node in statements_of(new.code)}
    taken = names_in(new).defined | names_in(new).private | names_in(before).private
    lines = own.code.split("\n")
    parts = []
    for node in added:
        part = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        names = names_of(part)
        every = names.defined | names.private | names.private_used
        if ast.dump(node) not in given and not any(labels_in(part)) and every.isdisjoint(taken):
            parts.append(part)
    code = "\n".join(parts)
    kept = {line.strip() for text in (code, before.code, new.code) for line in text.split("\n")}
    return code, not {line.strip() for line in lines} <= kept


def _additions(code: str, before: str) -> list[ast.stmt] | None:
    """Return the statements that were added to a cell's code; None if others were changed."""
    tree = tree_of(code)
    if tree is None:
        return None
    expected = [ast.dump(node) for node in statements_of(before)]
    added = []
    for node in tree.body:
        if expected and ast.dump(node) == expected[0]:
            expected.pop(0)
        else:
            added.append(node)
    lines = code.split("\n")
    return added if not expected and all(_is_alone(node, lines) for node in added) else None


def _is_alone(node: ast.stmt, lines: list[str]) -> bool:
    """Whether no other statement is in the lines of a statement."""
    last = lines[(node.end_lineno or node.lineno) - 1].encode("utf-8", "surrogatepass")
    behind = last[node.end_col_offset or 0 :].strip()
    return node.col_offset == 0 and (not behind or behind.startswith(b"#"))


def imports_in(code: str) -> list[ast.stmt]:
    return [node for node in statements_of(code) if isinstance(node, ast.Import | ast.ImportFrom)]


def _commented(code: str) -> tuple[str, ...]:
    return tuple(f"# {line}" if line.strip() else "#" for line in code.strip("\n").split("\n"))


def _written(code: tuple[str, ...], names: CellNames, *, beside: bool = False) -> Piece:
    """Return a new cell of this code, as marimo writes cells."""
    body = (f"{_INDENT}{line}" if line else "" for line in code)
    lines = ("@app.cell", "def _():", *body, f"{_INDENT}return")
    return Piece(lines, names, plain_code("\n".join(code)), beside=beside)

"""What becomes of each cell in a merge, seen alone: which of its states are written, and how.

The cells that are written are released ones, the student's, and those that are comments only. A
cell that does not run is a comment and not a disabled cell, because marimo counts the names of
disabled cells too, and runs no cell whose name is defined twice.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from mograder.notebook.cell_pairs import code_of, names_in, names_of
from mograder.notebook.cells import Cell, CellKind, NotebookText, parse_python, statements_of
from mograder.notebook.merge.cell_states import CellStates
from mograder.notebook.parsing import CellNames
from mograder.notebook.points import (
    GuardedCell,
    cell_hash,
    guarded_cells,
    labels_in,
    only_imports_more,
)
from mograder.notebook.scopes import bound_names

BOTH_CHANGED = "You and the author changed this cell. Yours runs; the author's is beside it."
CHECK_CHANGED = "This cell runs as it was released. Your version of it is beside it, as a comment."
AUTHOR_REMOVED = "The new release has no such cell any more. You changed it, so it stays."

AUTHORS = "# === MOGRADER: NEW VERSION BY THE AUTHOR ({hash}) ==="
_AUTHORS_NOTE = "# It does not run. Take over what you need, then delete this cell."
_AUTHORS_MARK = re.compile(r"# === MOGRADER: NEW VERSION BY THE AUTHOR \((?P<hash>\w{8})\) ===")
STUDENTS = "# === MOGRADER: YOUR VERSION ==="
_STUDENTS_NOTE = "# The cell above runs as it was released. Your version of it does not run."
ADDITIONS = "# === MOGRADER: YOUR ADDITIONS to the cell above ==="
_NOT_RUN = CellNames()
_INDENT = "    "


class Outcome(StrEnum):
    """What the merge changed of an author's cell."""

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
    """Return what becomes of each cell, in the same order."""
    guarded = {each.cell.index: each for each in guarded_cells(texts.mine, texts.new)}
    decisions = [_Deciding(each, texts, guarded).decide() for each in states]
    _keep_earlier(decisions, texts)
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
            return self._without_new()
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

    def _without_new(self) -> Decision:
        states = self.states
        if states.alone and not (states.doubled and states.kept):
            return Decision(states, [], Outcome.REMOVED)
        return self._own(AUTHOR_REMOVED if states.base is not None and not states.alone else "")

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
        remains = _remains_of(own, old, new)
        if remains.code:
            decision.pieces.append(additions_piece(remains.code))
        if remains.aside:
            decision.pieces.append(_aside_piece(own))
            decision.reason = CHECK_CHANGED
        return decision

    def _released(self, change: Outcome) -> Decision:
        new = self.states.new
        pieces = [] if new is None else [_released_piece(self.texts.new, new)]
        return Decision(self.states, pieces, change)

    def _own(self, reason: str = "", *, beside: bool = False) -> Decision:
        own, new = self.states.mine, self.states.new
        pieces = [] if own is None else [_own_piece(self.texts.mine, own)]
        if beside and new is not None:
            pieces.append(_beside_piece(new))
        return Decision(self.states, pieces, reason=reason)


def _keep_earlier(decisions: list[Decision], texts: Texts) -> None:
    """Keep the author's cells that earlier merges put beside cells, where they still say more."""
    for decision in decisions:
        if decision.change is Outcome.REMOVED or any(each.beside for each in decision.pieces):
            continue
        for cell in decision.states.added_beside:
            decision.pieces.append(_own_piece(texts.mine, cell))


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


def _released_piece(notebook: NotebookText, cell: Cell) -> Piece:
    """Return a cell of the new release as it is."""
    return Piece(notebook.lines_of(cell), names_in(cell), code_of(cell), cell, released=True)


def _own_piece(notebook: NotebookText, cell: Cell) -> Piece:
    """Return a cell of the copy as it is."""
    return Piece(notebook.lines_of(cell), names_in(cell), code_of(cell), cell)


def _beside_piece(cell: Cell) -> Piece:
    """Return the author's cell as a comment."""
    body = _commented(cell.code)
    head = (AUTHORS.format(hash=cell_hash("\n".join(body))), _AUTHORS_NOTE)
    return _written((*head, *body), _NOT_RUN, beside=True)


def _aside_piece(cell: Cell) -> Piece:
    """Return the student's version of a check as a comment."""
    return _written((STUDENTS, _STUDENTS_NOTE, *_commented(cell.code)), _NOT_RUN)


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
    return Piece(written, names_of(code), code.strip(), cell)


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of a student's changes to a cell that is put back as released.

    ``code`` are statements that still run, and ``aside`` is whether the rest is kept as a comment.
    """

    code: str
    aside: bool


def _remains_of(own: Cell, old: GuardedCell | None, new: Cell) -> Remains:
    """Return what is left of the student's version of a cell beside the new release's."""
    before = old.cell if old is not None else new
    added = _additions(own.code, before.code)
    if added is None:
        return Remains("", aside=True)
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
    return Remains(code, aside=not {line.strip() for line in lines} <= kept)


def _additions(code: str, before: str) -> list[ast.stmt] | None:
    """Return the statements that were added to a cell's code; None if others were changed."""
    tree = parse_python(code)
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
    """Return the imports at the top level of a cell's code."""
    return [node for node in statements_of(code) if isinstance(node, ast.Import | ast.ImportFrom)]


def _commented(code: str) -> tuple[str, ...]:
    return tuple(f"# {line}" if line.strip() else "#" for line in code.strip("\n").split("\n"))


def _written(code: tuple[str, ...], names: CellNames, *, beside: bool = False) -> Piece:
    """Return a new cell of this code, as marimo writes cells."""
    body = (f"{_INDENT}{line}" if line else "" for line in code)
    lines = ("@app.cell", "def _():", *body, f"{_INDENT}return")
    return Piece(lines, names, "\n".join(code).strip(), beside=beside)

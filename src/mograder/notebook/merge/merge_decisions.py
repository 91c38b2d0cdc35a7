"""What becomes of each cell in a merge, seen alone: which of its states the result has."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mograder.notebook.cells import NotebookText
from mograder.notebook.merge.cell_states import CellStates
from mograder.notebook.merge.merge_pieces import (
    Piece,
    additions_piece,
    aside_piece,
    beside_piece,
    own_piece,
    released_piece,
    remains_of,
)
from mograder.notebook.points import GuardedCell, guarded_cells, only_imports_more

BOTH_CHANGED = "You and the author changed this cell. Yours runs; the author's is beside it."
CHECK_CHANGED = "This cell runs as it was released. Your version of it is beside it, as a comment."
AUTHOR_REMOVED = "The new release has no such cell any more. You changed it, so it stays."


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
        self.pieces = [] if own is None else [own_piece(texts.mine, own)]
        if new is not None:
            self.pieces.append(beside_piece(new))
        self.change, self.reason = Outcome.NOTHING, reason


@dataclass(frozen=True, slots=True)
class Texts:
    """The new release and the copy."""

    new: NotebookText
    mine: NotebookText


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
        remains = remains_of(own, old, new)
        if remains.code:
            decision.pieces.append(additions_piece(remains.code))
        if remains.aside:
            decision.pieces.append(aside_piece(own))
            decision.reason = CHECK_CHANGED
        return decision

    def _released(self, change: Outcome) -> Decision:
        new = self.states.new
        pieces = [] if new is None else [released_piece(self.texts.new, new)]
        return Decision(self.states, pieces, change)

    def _own(self, reason: str = "", *, beside: bool = False) -> Decision:
        own, new = self.states.mine, self.states.new
        pieces = [] if own is None else [own_piece(self.texts.mine, own)]
        if beside and new is not None:
            pieces.append(beside_piece(new))
        return Decision(self.states, pieces, reason=reason)


def _keep_earlier(decisions: list[Decision], texts: Texts) -> None:
    """Keep the author's cells that earlier merges put beside cells, where they still say more."""
    for decision in decisions:
        if decision.change is Outcome.REMOVED or any(each.beside for each in decision.pieces):
            continue
        for cell in decision.states.added_beside:
            decision.pieces.append(own_piece(texts.mine, cell))


def drop_repeated(decisions: list[Decision]) -> None:
    """Drop the author's cells of earlier merges that this merge writes or runs itself."""
    live = {
        beside_piece(each.cell).code
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

"""Cells of a merge that would keep each other from running, and what is done about them.

marimo runs no cell whose name another cell defines too, and none that needs itself. So the author's
new cells yield where they would do that to the student's, unless they decide about marks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from mograder.notebook.cell_pairs import code_of, names_in
from mograder.notebook.cells import Cell, NotebookText
from mograder.notebook.merge.merge_decisions import (
    Decision,
    Outcome,
    Piece,
    Texts,
    additions_piece,
    imports_in,
    without_imports,
)
from mograder.notebook.parsing import CellNames
from mograder.notebook.scopes import CellGraph, GraphCell, bound_names, graph_of


class Unsettled(Exception):
    """A student's cell that cannot run beside the new release's; ``line`` is in the copy."""

    def __init__(self, line: int, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason
        self.hint = f"{hint}; then the update can be made."


def settle(decisions: Sequence[Decision], texts: Texts) -> None:
    """Change decisions until all cells run that ran in the copy, as far as names tell.

    Raises: Unsettled if a cell that decides about marks and a student's exclude each other.
    """
    settling = _Settling(decisions, texts)
    while settling.improved():
        pass
    settling.tell_lost_names()


class _Settling:
    def __init__(self, decisions: Sequence[Decision], texts: Texts) -> None:
        self._decisions = decisions
        self._texts = texts
        mine, new = _of_notebook(texts.mine), _of_notebook(texts.new)
        self._before = frozenset[str]().union(*(names.defined for _, names in mine))
        self._released = frozenset[str]().union(*(names.defined for _, names in new))
        names, cycles = zip(_faults(mine), _faults(new), strict=True)
        self._known_names = frozenset[str]().union(*names)
        self._known_cycles = frozenset[str]().union(*cycles)

    def improved(self) -> bool:
        """Make one change; return False if there is nothing to change any more."""
        return (
            self._part_names()
            or self._break_cycles()
            or self._free_setup()
            or self._bring_back()
            or self._keep_dependents()
        )

    def tell_lost_names(self) -> None:
        """Tell the student of names that the new release does not define any more."""
        lost = self._before - self._present()
        for decision, piece in self._live():
            missing = sorted(piece.names.used & lost)
            if missing and not piece.released and not decision.reason:
                decision.reason = (
                    f"This cell uses {_listed(missing)}, which the new release has no more."
                )

    def _live(self) -> Iterator[tuple[Decision, Piece]]:
        for decision in self._decisions:
            for piece in decision.pieces:
                yield decision, piece

    def _part_names(self) -> bool:
        """Part the first cells that newly define one name."""
        for name, owners in self._shared().items():
            released = [(each, piece) for each, piece in owners if piece.released]
            own = [(each, piece) for each, piece in owners if not piece.released]
            for decision, piece in own:
                if self._without_imports(decision, piece, name, released):
                    return True
            for decision, _ in reversed(released):
                if decision.can_yield:
                    reason = (
                        f"The author's cell defines {name!r}, which a cell of yours defines too."
                    )
                    decision.keep_own(self._texts, reason)
                    return True
            reason = f"this cell defines {name!r}, which a cell of the new release defines too"
            raise Unsettled(
                _line_of(own), reason, "Rename it, or begin its name with an underscore"
            )
        return False

    def _shared(self) -> Mapping[str, list[tuple[Decision, Piece]]]:
        """Return the cells that define each name which more than one does, and did not before."""
        owners: dict[str, list[tuple[Decision, Piece]]] = {}
        for decision, piece in self._live():
            for name in piece.names.defined - self._known_names:
                owners.setdefault(name, []).append((decision, piece))
        return {name: owners[name] for name in sorted(owners) if len(owners[name]) > 1}

    def _without_imports(
        self,
        decision: Decision,
        piece: Piece,
        name: str,
        released: Sequence[tuple[Decision, Piece]],
    ) -> bool:
        """Make a student's import a comment where the new release has the same one."""
        for _, other in released:
            shared = piece.names.defined & other.names.defined
            made = without_imports(piece, shared, other.cell) if other.cell is not None else None
            if made is not None and name in shared:
                index = decision.pieces.index(piece)
                decision.pieces[index] = made
                decision.reason = decision.reason or (
                    f"The new release imports {_listed(sorted(shared))}, so your own import of it "
                    "is a comment now."
                )
                return True
        return False

    def _break_cycles(self) -> bool:
        pieces = list(self._live())
        graph = _graph([piece.names for _, piece in pieces])
        inside = [pieces[index] for index in _in_cycles(graph)]
        new = [each for each in inside if each[1].code not in self._known_cycles]
        if not new:
            return False
        for decision, piece in reversed(inside):
            if piece.released and decision.can_yield:
                decision.keep_own(self._texts, _IN_CYCLE)
                return True
        reason = "this cell needs names of a new cell that needs its own"
        raise Unsettled(_line_of(inside), reason, "Define what the new cell needs without them")

    def _free_setup(self) -> bool:
        """Let no setup cell use names of other cells, and let there be one setup cell only."""
        setups = [(each, piece) for each, piece in self._live() if piece.is_setup]
        others = (piece for _, piece in self._live() if not piece.is_setup)
        defined = frozenset[str]().union(*(piece.names.defined for piece in others))
        if len(setups) < 2 and not any(
            piece.released and piece.names.used & defined - self._released for _, piece in setups
        ):
            return False
        for decision, piece in setups:
            if piece.released and decision.can_yield:
                decision.keep_own(self._texts, _SETUP)
                return True
        reason = "the setup cell cannot stand beside the new release's"
        raise Unsettled(_line_of(setups), reason, "Move what you need of it into another cell")

    def _present(self) -> frozenset[str]:
        return frozenset[str]().union(*(piece.names.defined for _, piece in self._live()))

    def _bring_back(self) -> bool:
        """Keep an author's old cell that the student's cells need."""
        used = (piece.names.used for _, piece in self._live() if not piece.released)
        wanted = (self._before - self._present()).intersection(chain.from_iterable(used))
        for decision in self._decisions:
            own = decision.states.mine
            gone = decision.change in (Outcome.REMOVED, Outcome.REPLACED)
            if own is None or not gone or not decision.states.alone or decision.states.doubled:
                continue
            needed = sorted(names_in(own).defined & wanted)
            if needed and self._brought_back(decision, own, needed):
                return True
        return False

    def _brought_back(self, decision: Decision, own: Cell, needed: list[str]) -> bool:
        if decision.change is Outcome.REPLACED and not decision.can_yield:
            # Of a cell that decides about marks, only the imports of these names are kept.
            kept = [each for each in imports_in(own.code) if bound_names([each]) & set(needed)]
            made = additions_piece("\n".join(map(ast.unparse, kept)))
            if not kept or made.names.defined & self._present():
                return False
            decision.pieces.append(made)
            return True
        elsewhere = (piece for each, piece in self._live() if each is not decision)
        if any(piece.names.defined & names_in(own).defined for piece in elsewhere):
            return False
        decision.keep_own(
            self._texts, f"Your cells use {_listed(needed)} of this cell, so it stays as it was."
        )
        return True

    def _keep_dependents(self) -> bool:
        """Keep the old one of a cell whose new one needs a name of a cell that yielded."""
        present = self._present()
        for decision, piece in self._live():
            missing = sorted((piece.names.used & self._released) - present)
            own = decision.states.mine
            if missing and piece.released and decision.can_yield and own is not None:
                decision.keep_own(
                    self._texts,
                    f"The author's new version needs {_listed(missing)} of a cell "
                    "that is beside yours.",
                )
                return True
        return False


_IN_CYCLE = "The author's new version needs names of your cells that need its own."
_SETUP = "The author's setup cell cannot run in your copy."


def _line_of(owners: Sequence[tuple[Decision, Piece]]) -> int:
    """Return the line in the copy of the first cell that is the student's, or comes from it."""
    own = (each.cell or decision.states.mine for decision, each in owners if not each.released)
    return next((cell.first for cell in own if cell is not None), 1)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _of_notebook(notebook: NotebookText) -> list[tuple[str, CellNames]]:
    return [(code_of(cell), names_in(cell)) for cell in notebook.cells]


def _faults(cells: Sequence[tuple[str, CellNames]]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names that several cells define, and the codes of the cells in cycles."""
    graph = _graph([names for _, names in cells])
    doubled = (name for name, owners in graph.definers.items() if len(owners) > 1)
    cycles = (cells[index][0] for index in _in_cycles(graph))
    return frozenset(doubled), frozenset(cycles)


def _graph(cells: Iterable[CellNames]) -> CellGraph:
    return graph_of([GraphCell(0, names.defined, names.used) for names in cells])


def _in_cycles(graph: CellGraph) -> list[int]:
    """Return the cells that need themselves; a graph without cycles costs one look."""
    place = {index: at for at, index in enumerate(graph.order)}
    edges = ((parent, child) for parent, some in enumerate(graph.children) for child in some)
    if all(place[parent] < place[child] for parent, child in edges):
        return []
    return [index for index in range(len(graph.cells)) if index in graph.below(index)]

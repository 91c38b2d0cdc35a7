"""A new release brought into a student's copy, cell by cell. Pure: three texts in, a result out.

The author's cells that the student left alone are replaced, and the student's cells stay where they
are. A cell that both changed stays as the student has it, with the author's beside it as a comment.
Checks, marks and the header are always those of the new release.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mograder.core.errors import InvalidInput
from mograder.notebook.cell_pairs import code_of
from mograder.notebook.cells import Cell, NotebookText, parse_cells, plain_text
from mograder.notebook.header_edit import read_key
from mograder.notebook.integrity import first_line
from mograder.notebook.merge.merge_decisions import (
    CELL_HASHES,
    CellStates,
    Decision,
    Outcome,
    Piece,
    Texts,
    decide,
    drop_repeated,
    is_beside,
    keep_outside,
    states_by_hashes,
    states_by_release,
)
from mograder.notebook.merge.merge_faults import Unsettled, settle
from mograder.notebook.points import is_marks_cell, labels_in

COPY = "the copy"
_MOST_CELLS = 2_000
"""Largest number of cells of a copy that is merged; students control it."""


class NotMergeable(InvalidInput):
    """A copy that is left as it is, with the reason in its message."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A place that the student has to look at.

    ``cell`` says which cell it is, in words; ``line`` is the line in the result, from 1.
    """

    cell: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Merge:
    """The result of a merge.

    ``replaced``, ``added`` and ``removed`` describe the author's cells that differ from the copy's,
    in the order of the notebook. ``changed`` is whether ``text`` differs from the copy.
    """

    text: str
    replaced: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    changed: bool = False


def merge(base: str | None, new: str, mine: str) -> Merge:
    """Return a student's copy with what the author changed between two releases.

    ``base`` is the release that the copy came from, None if it is not known; then the hashes in the
    copy's header tell which cells are the author's. The result has LF line ends, unless it is one
    of the texts.

    Raises:
        NotMergeable: A text is not a notebook, or a cell of the student's and one that decides
            about marks would keep each other from running.
    """
    try:
        return _merge(base, new, mine)
    except (RecursionError, ValueError) as error:  # Python writes no endless integer either
        told = "its code is nested too deeply, or has a number that is too long"
        raise NotMergeable(f"{COPY}: {told}.") from error


def describe(cell: Cell) -> str:
    """Return which cell it is, in words: the label of its check, its name, or its first words."""
    label = next((label for label, _ in labels_in(cell.code)), "")
    if is_marks_cell(cell):
        return "the marks"
    if label or cell.name.strip("_"):
        return label or cell.name
    lines = [line.strip() for line in code_of(cell).split("\n")]
    if lines[0].startswith("mo.md(") and len(lines) > 1:
        return next(filter(None, lines[1:]), lines[0])[:60]
    return first_line(cell) or "an empty cell"


def _merge(base: str | None, new: str, mine: str) -> Merge:
    own = _notebook(mine, COPY)
    if base == new:
        return Merge(mine)
    released = _notebook(new, "the new release")
    if len(own.cells) > _MOST_CELLS:
        raise NotMergeable(f"{COPY}: it has more than {_MOST_CELLS} cells.")
    old = None if base is None else _notebook(base, "the old release")
    cells, beside = _without_beside(own.cells)
    if old is None:
        states = states_by_hashes(released, cells, own.text)
    else:
        states = states_by_release(old, released, cells)
    for each in states:
        if each.mine is not None:
            each.added_beside = beside.get(each.mine.index, [])
    texts = Texts(released, own)
    decisions = decide(_in_order(states), texts)
    decisions += keep_outside(own, [each for each in (released, old) if each is not None])
    try:
        settle(decisions, texts)
    except Unsettled as error:
        raise NotMergeable(
            f"{COPY}:{error.line}: {error.reason}.",
            hint=error.hint,
        ) from error
    drop_repeated(decisions)
    return _result(decisions, texts, new, mine)


def _notebook(text: str, what: str) -> NotebookText:
    try:
        return parse_cells(plain_text(text), what)
    except InvalidInput as error:
        raise NotMergeable(error.message, hint=error.hint) from error


def _without_beside(cells: Sequence[Cell]) -> tuple[list[Cell], dict[int, list[Cell]]]:
    """Part the author's cells that an earlier merge put beside others, by the cell above them."""
    own: list[Cell] = []
    beside: dict[int, list[Cell]] = {}
    for cell in cells:
        if own and is_beside(cell):
            beside.setdefault(own[-1].index, []).append(cell)
        else:
            own.append(cell)
    return own, beside


def _in_order(states: Sequence[CellStates]) -> list[CellStates]:
    """Return the cells in the order of the result: the student's, unless only the author's changed.

    A cell that is missing in that order comes after the nearest one that precedes it in the other,
    and a new one of the author's also after what the student has put below that.
    """

    def by(cell_of: Callable[[CellStates], Cell | None]) -> list[CellStates]:
        there = ((cell.index, at) for at, each in enumerate(states) if (cell := cell_of(each)))
        return [states[at] for _, at in sorted(there)]

    pairs = {each.old_place: each for each in states if each.old_place is not None}
    there = [(each.new, each.mine) for _, each in sorted(pairs.items())]
    news = [new.index for new, _ in there if new]
    own = [mine.index for new, mine in there if new and mine]
    moved_by_author, moved_by_student = news != sorted(news), own != sorted(own)
    out, second = by(lambda each: each.mine), by(lambda each: each.new)
    if moved_by_author and not moved_by_student:
        out, second = second, out
    placed = {id(each) for each in out}
    before: CellStates | None = None
    for each in second:
        if id(each) not in placed:
            at = 0 if before is None else next(i for i, x in enumerate(out) if x is before) + 1
            while each.mine is None and 0 < at < len(out) and out[at].new is None:
                at += 1
            out.insert(at, each)
        before = each
    return out


def _result(decisions: Sequence[Decision], texts: Texts, new: str, mine: str) -> Merge:
    told = {
        change: tuple(_describe(each) for each in decisions if each.change is change)
        for change in Outcome
    }
    # marimo reads a setup cell as the first cell only.
    decisions = sorted(decisions, key=lambda d: not any(each.is_setup for each in d.pieces))
    pieces = [piece for each in decisions for piece in each.pieces]
    text, conflicts = _written(decisions, texts.new)
    places = [each.cell.index for each in pieces if each.released and each.cell is not None]
    if len(places) == len(pieces) and places == list(range(len(texts.new.cells))):
        text = new  # nothing but the new release's cells, in their order
    if text != new:
        _check(text, pieces)
    if text == plain_text(mine):
        text = mine
    return Merge(
        text=text,
        replaced=told[Outcome.REPLACED],
        added=told[Outcome.ADDED],
        removed=told[Outcome.REMOVED],
        conflicts=tuple(conflicts),
        changed=text != mine,
    )


def _written(decisions: Sequence[Decision], new: NotebookText) -> tuple[str, list[Conflict]]:
    """Return the text of the result, with the new release's header and end, and the conflicts."""
    first = new.cells[0].first if new.cells else len(new.lines) + 1
    out = [line.rstrip("\n") for line in new.lines[: first - 1]]
    head, conflicts = len(out), []
    for decision in decisions:
        for index, piece in enumerate(decision.pieces):
            if len(out) > head:
                out += ["", ""]
            if decision.reason and index == min(1, len(decision.pieces) - 1):
                conflicts.append(Conflict(_describe(decision), len(out) + 1, decision.reason))
            out += piece.lines
    rest = new.lines[new.cells[-1].last :] if new.cells else ()
    return "\n".join([*out, ""]) + "".join(rest), conflicts


def _describe(decision: Decision) -> str:
    states = decision.states
    cell = states.new or states.mine
    return "lines outside of all cells" if cell is None else describe(cell)


def _check(text: str, pieces: Sequence[Piece]) -> None:
    """Check that marimo reads the cells from the result that were put in."""
    found = _notebook(text, "the result")
    if [code_of(cell) for cell in found.cells] != [piece.code for piece in pieces]:
        raise NotMergeable(
            f"{COPY}: its cells would not be the same in the merged notebook.",
            hint="Open it in marimo and save it, then the update can be made.",
        )


_FRAME = re.compile(
    r"""import\ marimo(\ as\ \w+)?|from\ marimo\ import\ .*|__generated_with\ ?=.*|app\ ?=.*App\(.*
    |@app\.\w+.*|(async\ )?def\ _\(.*|return.*|if\ __name__\ ?==.*|app\.run\(\)|with\ app\.setup.*
    |\#\ ///.*|\#\ (requires-python|dependencies)\b.*|[\W_]*""",
    re.VERBOSE,
)
"""Lines that any two marimo notebooks may have in common."""

_ENOUGH = 0.6
"""Smallest share of a release's lines in a copy that came from it."""


def fitting_release(mine: str, releases: Sequence[str]) -> int | None:
    """Return the position of the release that a copy came from, the first of equal ones, or None.

    The copy's header has the hashes of its release's cells; without them, the release must have
    none either. Of several the one with most of its lines in the copy is returned. Texts are not
    parsed: a student's text is not trusted.
    """
    hashes = read_key(mine, CELL_HASHES)
    same = [each for each, text in enumerate(releases) if read_key(text, CELL_HASHES) == hashes]
    lines = frozenset(map(str.strip, mine.splitlines()))
    shares = {}
    for each in same:
        stripped = map(str.strip, releases[each].splitlines())
        own = {line for line in stripped if not _FRAME.fullmatch(line)}
        shares[each] = len(own & lines) / len(own) if own else 0.0
    best = max(same, key=lambda each: (shares[each], -each), default=None)
    if best is None or (not hashes and shares[best] < _ENOUGH):
        return None
    return best

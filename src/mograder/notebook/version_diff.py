"""Two versions of a notebook: their difference, and a cell of the earlier put into the later. Pure.

Cells are compared with cells, lines with lines, and answers with those of the release: one that
does not differ is still open. Both texts may be a student's: what is compared is bounded, and a
text that is no notebook is compared by its lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.notebook.cell_pairs import (
    NAMELESS,
    Aligner,
    Pairs,
    code_of,
    match_cells,
    moved_cells,
    pair_cells,
    same_code,
)
from mograder.notebook.cells import (
    Cell,
    CellKind,
    LineEdit,
    NotebookText,
    guard_line,
    headings_above,
    parse_cells,
    replace_lines,
    statements_of,
)
from mograder.notebook.points import (
    asks_for_answer,
    cell_labels,
    is_answer_name,
    key_of,
    plain_code,
)
from mograder.notebook.scopes import bound_names
from mograder.notebook.title import headings_of

_AROUND = 3
"""Unchanged lines that are shown before and after a changed one."""

_MOST_CELLS = 400
_CHARACTERS = 60_000
"""Most cells and characters of a difference that are told, which bounds the page's size."""

_LONGEST_LINE = 2000
_LONGEST_NAME = 200
_OF_A_LINE = 16
"""Characters that a line counts at least."""

_OPENINGS = {CellKind.SETUP: "setup"}

_WHOLE = "Put the whole version back instead."
_BETWEEN = ("", "")
"""The empty lines that marimo writes between two cells."""


class CellChange(StrEnum):
    SAME = "same"
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


class LineChange(StrEnum):
    """What became of a line; ``FOLDED`` is for unchanged ones, with their number as its text."""

    SAME = "same"
    ADDED = "added"
    REMOVED = "removed"
    FOLDED = "folded"


@dataclass(frozen=True, slots=True)
class Line:
    change: LineChange
    text: str


@dataclass(frozen=True, slots=True)
class CellDifference:
    """One cell: its change and, unless it is the same, its lines.

    ``before`` and ``after`` are its indexes in the two texts, None where it is not there; ``name``
    is "" for a cell without one, and ``line`` its first line in the file, in the later text if it
    is there. ``moved`` is whether its place among the cells that stayed is another one; ``heading``
    is the nearest one above it or in it, "" if there is none.
    """

    change: CellChange
    before: int | None
    after: int | None
    name: str
    line: int
    moved: bool = False
    lines: tuple[Line, ...] = ()
    heading: str = ""


@dataclass(frozen=True, slots=True)
class VersionDifference:
    """The difference between two texts: of cells, in the later text's order, and of other lines.

    ``outside`` are the lines outside of cells, if they differ. ``problem`` says why the texts were
    compared by lines only, which ``outside`` then holds; else it is "". ``cut`` is whether more
    differs.
    """

    cells: tuple[CellDifference, ...] = ()
    outside: tuple[Line, ...] = ()
    problem: str = ""
    cut: bool = False

    @property
    def none(self) -> bool:
        return not self.outside and not self.differing

    @property
    def differing(self) -> tuple[CellDifference, ...]:
        """The cells that were changed, moved, added or removed."""
        return tuple(
            each for each in self.cells if each.change is not CellChange.SAME or each.moved
        )

    def count(self, change: CellChange) -> int:
        return sum(each.change is change for each in self.cells)

    @property
    def moved(self) -> int:
        return sum(each.moved for each in self.cells)


@dataclass(frozen=True, slots=True)
class CodeChange:
    """The same as a change that an open editor can make: the code of the cell at ``index``."""

    index: int
    before: str
    after: str

    def is_in(self, text: str, filename: str) -> bool:
        """Return whether a notebook has a cell with the new code, in whatever form it is saved."""
        wanted = plain_code(self.after)
        return any(code_of(cell) == wanted for cell in _parsed(text, filename).cells)


@dataclass(frozen=True, slots=True)
class PutBack:
    """A notebook's text with one cell put back.

    ``replaced`` is whether it took the place of a present cell; ``twice`` are the names that it
    and another cell define, so that marimo runs neither until one of them is changed. ``change`` is
    None if more than a cell's code changes.
    """

    text: str
    replaced: bool
    twice: tuple[str, ...] = ()
    change: CodeChange | None = None


def version_difference(before: str, after: str) -> VersionDifference:
    aligner = Aligner()
    try:
        old, new = parse_cells(before, "the earlier version"), parse_cells(after, "this version")
    except InvalidInput as error:
        lines = _difference(_lines_of(before), _lines_of(after), aligner)
        return VersionDifference(outside=lines, problem=error.message)
    cells = tuple(_cells(old, new, match_cells(old.cells, new.cells), aligner))
    return VersionDifference(cells, _difference(_outside(old), _outside(new), aligner))


def told_difference(before: str, after: str) -> VersionDifference:
    """Return of a difference the cells that differ, and lines, that are told to people.

    A student chooses how much differs: millions of lines would take gigabytes of the hub that reads
    them from a process of their own, and hold it up.
    """
    found, room = version_difference(before, after), _Room(_CHARACTERS)
    outside = room.lines(found.outside)
    cells = tuple(
        replace(each, name=each.name[:_LONGEST_NAME], lines=room.lines(each.lines))
        for each in found.differing[:_MOST_CELLS]
    )
    cut = room.cut or len(found.differing) > len(cells)
    return VersionDifference(cells, outside, found.problem, cut)


@dataclass(slots=True)
class _Room:
    """The characters that may still be told; ``cut`` is whether there were more."""

    left: int
    cut: bool = False

    def lines(self, lines: Sequence[Line]) -> tuple[Line, ...]:
        """Return as many of the lines as there is room for, none of them too long."""
        told: list[Line] = []
        for line in lines:
            text = line.text
            if len(text) > _LONGEST_LINE:
                text, self.cut = f"{text[:_LONGEST_LINE]} …", True
            self.left -= max(len(text) + 1, _OF_A_LINE)
            if self.left < 0:
                self.cut = True
                break
            told.append(Line(line.change, text))
        return tuple(told)


def lines_changed(before: str, after: str) -> tuple[int, int]:
    """Return the numbers of lines that are only in the later text, and only in the earlier one.

    Lines are counted and not aligned, which is quick for texts of any size; a line that was moved
    does not count.
    """
    old, new = (Counter(_lines_of(text)) for text in (before, after))
    return (new - old).total(), (old - new).total()


def _lines_of(text: str) -> list[str]:
    """Return the lines without their ends, which are LF, CRLF or CR only, as in Python."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return plain.removesuffix("\n").split("\n") if plain else []


def cell_title(cell: Cell) -> str:
    return _OPENINGS.get(cell.kind, "" if cell.name in NAMELESS else cell.name)


def unanswered(student: str, release: str, filename: str) -> tuple[str, ...]:
    """Return what is not answered: the keys of questions, or the headings above written answers.

    Raises: InvalidInput if one of the texts is not a notebook.
    """
    own, released = (parse_cells(text, filename).cells for text in (student, release))
    found: dict[str, None] = {}
    # Several answers may be handed out alike.
    for index, place in sorted(pair_cells(released, own).items()):
        cell = released[index]
        if asks_for_answer(cell) and same_code(cell, own[place]):
            above = (headings_above(released[:index]) or [""])[-1]
            key = "" if is_answer_name(cell.name) else _key_below(released[index:])
            found[key or above or cell.name.strip("_") or f"Cell {index + 1}"] = None
    return tuple(found)


def _key_below(cells: Sequence[Cell]) -> str:
    """Return the key of the check below an answer, "" if another question begins before it."""
    for cell in cells:
        if labels := cell_labels(cell):
            return key_of(labels[0])
        if headings_of(cell.code):
            break
    return ""


def put_back_cell(present: str, earlier: str, cell: int, filename: str) -> PutBack:
    """Return the present text with the earlier text's cell of this index.

    It replaces the present cell that it became. If that was removed, it is added behind the cell
    that it followed. All other cells stay byte for byte.

    Raises:
        InvalidInput: One of the texts is not a notebook, or would not be one afterwards.
        NotFound: The earlier text has no such cell.
        Conflict: The present text has the cell as it was.
    """
    now, then = _parsed(present, filename), _parsed(earlier, filename)
    if not 0 <= cell < len(then.cells):
        raise NotFound("The earlier version has no such cell.")
    wanted = then.cells[cell]
    pairs = match_cells(then.cells, now.cells)
    lines = then.lines_of(wanted)
    place = pairs.get(cell)
    if place is None:
        moved = moved_cells(pairs)
        behind = (pairs[at] for at in range(cell - 1, -1, -1) if at in pairs and at not in moved)
        edit = _insertion(now, next(behind, None), wanted, lines)
    else:
        own = now.cells[place]
        edit = LineEdit(own.first, own.last, lines)
        if now.lines_of(own) == lines or (
            same_code(own, wanted) and _change(now, own, then, wanted) is not None
        ):
            raise Conflict("This cell is in your notebook as it was then.")
    text = replace_lines(now.lines, [edit])
    result = _parsed(text, filename)
    if len(result.cells) != len(now.cells) + (place is None):
        raise InvalidInput("This cell cannot be put back alone.", hint=_WHOLE)
    change = None if place is None else _change(now, now.cells[place], then, wanted)
    itself = next((each for each in result.cells if each.code == wanted.code), None)
    others = (each for each in result.cells if each is not itself)
    every = (bound_names(statements_of(each.code)) for each in others)
    names = bound_names(statements_of(wanted.code)) & frozenset[str]().union(*every)
    twice = {name for name in names if not name.startswith("_")}
    return PutBack(text, place is not None, tuple(sorted(twice)), change)


def _cells(
    old: NotebookText, new: NotebookText, pairs: Pairs, aligner: Aligner
) -> Iterator[CellDifference]:
    """Yield the later text's cells, each removed one after those that it followed."""
    moved = moved_cells(pairs)
    partners = {after: before for before, after in pairs.items()}
    headings = headings_above(old.cells), headings_above(new.cells)
    removed: dict[int, list[CellDifference]] = {}
    place = -1
    for cell in old.cells:
        if cell.index not in pairs:
            lines = _difference(_code(cell), (), aligner)
            title, heading = cell_title(cell), headings[0][cell.index]
            gone = CellDifference(
                CellChange.REMOVED, cell.index, None, title, cell.first, False, lines, heading
            )
            removed.setdefault(place, []).append(gone)
        elif cell.index not in moved:
            place = pairs[cell.index]
    yield from removed.get(-1, ())
    for cell in new.cells:
        before = partners.get(cell.index)
        there = None if before is None else old.cells[before]
        lines = _compared(there, cell, aligner)
        change = CellChange.CHANGED if lines else CellChange.SAME
        yield CellDifference(
            change=CellChange.ADDED if before is None else change,
            before=before,
            after=cell.index,
            name=cell_title(cell),
            line=cell.first,
            moved=before in moved,
            lines=lines,
            heading=headings[1][cell.index],
        )
        yield from removed.get(cell.index, ())


def _compared(before: Cell | None, after: Cell, aligner: Aligner) -> tuple[Line, ...]:
    if before is None:
        return _difference((), _code(after), aligner)
    ours, theirs = _code(before), _code(after)
    if _head(before) != _head(after):
        ours, theirs = _head(before) + ours, _head(after) + theirs
    return _difference(ours, theirs, aligner)


def _head(cell: Cell) -> list[str]:
    """Return what the editor shows of a cell besides its code, as lines to compare."""
    own = cell.kind in (CellKind.CELL, CellKind.UNPARSABLE) and cell_title(cell)
    facts = (
        (own, f"# named {cell.name}"),
        (cell.hidden, "# hidden"),
        (cell.disabled, "# disabled"),
    )
    return [line for holds, line in facts if holds]


def _code(cell: Cell) -> list[str]:
    return _lines_of(cell.code.strip("\n"))


def _outside(notebook: NotebookText) -> list[str]:
    """Return the lines outside of cells, without empty ones and the version of marimo."""
    inside = {line for cell in notebook.cells for line in range(cell.first, cell.last + 1)}
    numbered = enumerate((each.rstrip("\r\n") for each in notebook.lines), start=1)
    found = (line for number, line in numbered if number not in inside and line.strip())
    return [line for line in found if not line.startswith("__generated_with")]


def _difference(old: Sequence[str], new: Sequence[str], aligner: Aligner) -> tuple[Line, ...]:
    """Return the lines of both, or nothing if they are equal.

    Where they are too long to be aligned, all lines of the one are removed and those of the other
    added, between what both begin and end with.
    """
    if list(old) == list(new):
        return ()
    lines: list[Line] = []
    one = other = 0
    for left, right in (*aligner.align(old, new), (len(old), len(new))):
        lines += (Line(LineChange.REMOVED, text) for text in old[one:left])
        lines += (Line(LineChange.ADDED, text) for text in new[other:right])
        if left < len(old):
            lines.append(Line(LineChange.SAME, old[left]))
        one, other = left + 1, right + 1
    return tuple(_folded(lines))


def _folded(lines: Sequence[Line]) -> Iterator[Line]:
    """Yield the lines with long stretches of unchanged ones folded."""
    near = set[int]()
    for number, line in enumerate(lines):
        if line.change is not LineChange.SAME:
            near.update(range(number - _AROUND, number + _AROUND + 1))
    folded = 0
    for number, line in enumerate(lines):
        if number not in near:
            folded += 1
            continue
        if folded:
            yield Line(LineChange.FOLDED, str(folded))
            folded = 0
        yield line
    if folded:
        yield Line(LineChange.FOLDED, str(folded))


def _change(now: NotebookText, cell: Cell, then: NotebookText, wanted: Cell) -> CodeChange | None:
    """Return the change of the code, if the cell keeps its kind, name and options."""
    kept = cell.name == wanted.name and now.lines[cell.first - 1] == then.lines[wanted.first - 1]
    if not kept or CellKind.UNPARSABLE in (cell.kind, wanted.kind):
        return None
    return CodeChange(cell.index, cell.code, wanted.code)


def _parsed(text: str, filename: str) -> NotebookText:
    try:
        return parse_cells(text, filename)
    except InvalidInput as error:
        raise InvalidInput(f"One cell cannot be put back: {error.message}", hint=_WHOLE) from error


def _insertion(
    now: NotebookText, behind: int | None, wanted: Cell, lines: Sequence[str]
) -> LineEdit:
    """Return the edit that adds a cell behind another one, or as the first one."""
    if behind is not None and wanted.kind is not CellKind.SETUP:
        place = now.cells[behind].last + 1
        return LineEdit(place, place - 1, (*_BETWEEN, *lines))
    first = now.cells[0] if now.cells else None
    if first is not None and first.kind is CellKind.SETUP:
        return LineEdit(first.last + 1, first.last, (*_BETWEEN, *lines))
    place = guard_line(now) if first is None else first.first
    return LineEdit(place, place - 1, (*lines, *_BETWEEN))

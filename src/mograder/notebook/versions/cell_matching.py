"""Which cell of a notebook's earlier text is which cell of a later one. Pure.

Cells are matched by their code, then by their name, the names that they define, the likeness of
their lines, and last by their place. Students decide how many cells there are and how alike they
look, so every step is bounded, and each cell is matched at most once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from mograder.notebook.cells import Cell, CellKind, parse_python
from mograder.notebook.scopes import bound_names

MOST_ALIGNED = 40_000
"""Pairs of elements that are compared at most; half a second where a student chose the worst."""


@dataclass(slots=True)
class Aligner:
    """Aligns sequences; of all together, at most ``left`` more pairs of elements are compared."""

    left: int = MOST_ALIGNED

    def align(
        self, ours: Sequence[Hashable], theirs: Sequence[Hashable]
    ) -> Iterator[tuple[int, int]]:
        """Yield the places of equal elements that are in the same order in both sequences.

        Equal elements at both ends are always found, those between them while pairs are left.
        """
        short = min(len(ours), len(theirs))
        head = next((at for at in range(short) if ours[at] != theirs[at]), short)
        rest = short - head
        tail = next((at for at in range(rest) if ours[-1 - at] != theirs[-1 - at]), rest)
        yield from ((at, at) for at in range(head))
        left, right = ours[head : len(ours) - tail], theirs[head : len(theirs) - tail]
        yield from ((head + one, head + other) for one, other in self._between(left, right))
        yield from ((len(ours) - at, len(theirs) - at) for at in range(tail, 0, -1))

    def _between(
        self, ours: Sequence[Hashable], theirs: Sequence[Hashable]
    ) -> Iterator[tuple[int, int]]:
        count = len(ours) * len(theirs)
        if not 0 < count <= self.left:
            return
        self.left -= count
        matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
        for one, other, size in matcher.get_matching_blocks():
            yield from ((one + step, other + step) for step in range(size))


_MOST_COMPARED = 10_000
"""Pairs of cells that are compared line by line at most."""

_MOST_SPELLED = 200
"""Pairs of cells that are compared character by character at most."""

_ALIKE = 0.5
"""Smallest share (0 to 1) of common lines, or of common characters, of one cell at two times."""

_SHORT = 400
"""Characters up to which two cells are compared character by character."""

_TELLING = 5
"""Characters from which a cell that is a part of another one's code is taken for what it was."""

_NAMELESS = frozenset(("", "_", "__"))

Pairs = dict[int, int]
"""Indexes of cells in the later text by those in the earlier one."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A cell and what it is recognised by."""

    cell: Cell
    code: str
    names: frozenset[str]
    lines: Counter[str]

    @classmethod
    def of(cls, cell: Cell) -> _Known:
        """Return what a cell is recognised by."""
        tree = parse_python(cell.code)
        names = frozenset[str]() if tree is None else bound_names(tree.body)
        lines = (line.strip() for line in cell.code.splitlines())
        return cls(
            cell=cell,
            code=cell.code.strip(),
            names=frozenset(name for name in names if not name.startswith("_")),
            lines=Counter(line for line in lines if line),
        )


def match_cells(before: Sequence[Cell], after: Sequence[Cell]) -> Pairs:
    """Return the index of the later cell by that of the earlier one, for cells that are in both."""
    pairs = _equal(before, after)
    ours = {cell.index: _Known.of(cell) for cell in before if cell.index not in pairs}
    known = set(pairs.values())
    theirs = {cell.index: _Known.of(cell) for cell in after if cell.index not in known}
    for sign in (_setup, _name, _defined):
        _by_sign(ours, theirs, pairs, sign)
    _by_likeness(ours, theirs, pairs)
    _by_place(before, after, pairs)
    return pairs


def moved_cells(pairs: Pairs) -> frozenset[int]:
    """Return the earlier indexes of the fewest cells that were moved, if all others stayed."""
    olds = sorted(pairs)
    tails: list[int] = []
    ends: list[int] = []
    previous: dict[int, int] = {}
    for old in olds:
        place = bisect_left(tails, pairs[old])
        if place:
            previous[old] = ends[place - 1]
        tails[place : place + 1] = [pairs[old]]
        ends[place : place + 1] = [old]
    stayed = set[int]()
    at = ends[-1] if ends else None
    while at is not None:
        stayed.add(at)
        at = previous.get(at)
    return frozenset(olds) - stayed


def _equal(before: Sequence[Cell], after: Sequence[Cell]) -> Pairs:
    """Return the pairs of cells with the same code: those in the same order first."""
    ours, theirs = ([_identity(cell) for cell in cells] for cells in (before, after))
    pairs = {before[one].index: after[other].index for one, other in Aligner().align(ours, theirs)}
    known = set(pairs.values())
    free: dict[tuple[bool, str], list[int]] = {}
    for cell in reversed(after):
        if cell.index not in known:
            free.setdefault(_identity(cell), []).append(cell.index)
    for cell in before:
        if cell.index not in pairs and cell.code.strip() and (left := free.get(_identity(cell))):
            pairs[cell.index] = left.pop()
    return pairs


def _identity(cell: Cell) -> tuple[bool, str]:
    return cell.kind is CellKind.SETUP, cell.code.strip()


def _setup(known: _Known) -> object:
    return known.cell.kind is CellKind.SETUP or None


def _name(known: _Known) -> object:
    return None if known.cell.name in _NAMELESS else known.cell.name


def _defined(known: _Known) -> object:
    return known.names or None


def _by_sign(
    ours: dict[int, _Known],
    theirs: dict[int, _Known],
    pairs: Pairs,
    sign: Callable[[_Known], object],
) -> None:
    """Pair the cells with the same sign, where one earlier and one later cell have it."""
    found: dict[object, list[int]] = {}
    for index, known in theirs.items():
        found.setdefault(sign(known), []).append(index)
    wanted = Counter(sign(known) for known in ours.values())
    for index, known in list(ours.items()):
        mark = sign(known)
        if mark is not None and wanted[mark] == 1 and len(found.get(mark, ())) == 1:
            pairs[index] = found[mark][0]
            del ours[index], theirs[found[mark][0]]


def _by_likeness(ours: dict[int, _Known], theirs: dict[int, _Known], pairs: Pairs) -> None:
    """Pair the cells that are most alike; of equally alike ones, those nearest to each other."""
    count = len(ours) * len(theirs)
    if count > _MOST_COMPARED:
        return
    ranked = sorted(
        (-alike, abs(old - new), old, new)
        for old, known in ours.items()
        for new, other in theirs.items()
        if (alike := _alike(known, other, spell=count <= _MOST_SPELLED)) >= _ALIKE
    )
    for _, _, old, new in ranked:
        if old in ours and new in theirs:
            pairs[old] = new
            del ours[old], theirs[new]


def _alike(one: _Known, other: _Known, *, spell: bool) -> float:
    """Return how alike two cells are, from 0 to 1; with ``spell``, short ones by characters."""
    if one.names & other.names:
        return 0.5 + len(one.names & other.names) / len(one.names | other.names) / 2
    total = one.lines.total() + other.lines.total()
    shared = 2 * (one.lines & other.lines).total() / total if total else 0.0
    if shared >= _ALIKE or not spell:
        return shared
    short, long = sorted((one.code, other.code), key=len)
    if len(short) >= _TELLING and short in long:
        return _ALIKE
    if len(long) > _SHORT:
        return shared
    matcher = SequenceMatcher(None, one.code, other.code, autojunk=False)
    bound = min(matcher.real_quick_ratio(), matcher.quick_ratio())
    return max(shared, matcher.ratio() if bound >= _ALIKE else 0.0)


def _by_place(before: Sequence[Cell], after: Sequence[Cell], pairs: Pairs) -> None:
    """Pair the cells between two pairs of neighbours where as many are left on both sides."""
    moved = moved_cells(pairs)
    stayed = [(old, new) for old, new in sorted(pairs.items()) if old not in moved]
    known = set(pairs.values())
    ends = ((-1, -1), *stayed, (len(before), len(after)))
    for (old, new), (next_old, next_new) in pairwise(ends):
        lost = [each for each in range(old + 1, next_old) if each not in pairs]
        fresh = [each for each in range(new + 1, next_new) if each not in known]
        if len(lost) == len(fresh):
            pairs.update(_of_one_kind(before, after, lost, fresh))


def _of_one_kind(
    before: Sequence[Cell], after: Sequence[Cell], lost: Sequence[int], fresh: Sequence[int]
) -> Iterator[tuple[int, int]]:
    for old, new in zip(lost, fresh, strict=True):
        setups = [each[at].kind is CellKind.SETUP for each, at in ((before, old), (after, new))]
        names = {before[old].name, after[new].name} - _NAMELESS
        if setups[0] == setups[1] and len(names) < 2:
            yield old, new

"""The pairs of cells of two notebooks that are the same cell in two states. Pure.

Cells have no identity in a file. So identical cells are paired first, those that stayed before
those that were moved, then cells of one check label, one name, mostly the same variables, one
question, mostly the same words, and at last cells at the same place between paired ones. Of two
versions of one notebook, short cells of mostly the same characters are paired, too.

Students decide how many cells there are and how alike they look, so every step is bounded.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise

from mograder.notebook.cells import Cell, CellKind
from mograder.notebook.parsing import CellNames, NotPython, cell_names
from mograder.notebook.points import cell_labels, is_editable, key_of, plain_code

Pairs = dict[int, int]
"""Positions in the second sequence of cells, by those in the first."""

_WORD = re.compile(r"\w+")
_LONGEST = 4_000
"""Largest number of a cell's characters whose words are compared."""

_MOST_COMPARED = 10_000
"""Largest number of pairs whose words are compared: students control how many cells there are."""

_ALIKE = 0.6
_ALIKE_IN_PLACE = 0.25
"""Smallest shares of common words, anywhere and at the same place."""

_MOST_DEFINED = 10
"""Cells of one variable that are looked at: marimo runs none of several."""

MOST_ALIGNED = 40_000
"""Pairs of elements that are compared at most; half a second where a student chose the worst."""

_REMEMBERED = 2_000
_NO_NAMES = CellNames()

_MOST_SPELLED = 200
"""Pairs of cells that are compared character by character at most."""

_SPELLED_ALIKE = 0.5
"""Smallest share (0 to 1) of common characters of one cell at two times."""

_SHORT = 400
"""Characters up to which two cells are compared character by character."""

NAMELESS = frozenset(("", "_"))


def pair_cells(
    first: Sequence[Cell],
    second: Sequence[Cell],
    may: Callable[[Cell, Cell], bool] = lambda one, other: True,
) -> Pairs:
    """Return the pairs of cells; ``may`` refuses pairs of cells that are not identical."""
    return _Pairing(first, second, may).pairs()


def match_cells(before: Sequence[Cell], after: Sequence[Cell]) -> Pairs:
    """Return the index of the later cell by that of the earlier one, for cells that are in both.

    Beyond what two notebooks' cells tell, short cells of mostly the same characters are the same,
    and those between two pairs of neighbours where as many are left on both sides: both texts are
    of one notebook.
    """
    pairs = pair_cells(before, after)
    _by_characters(before, after, pairs)
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


def same_code(one: Cell, other: Cell) -> bool:
    """Whether cells have the same code; how marimo writes them is ignored."""
    return code_of(one) == code_of(other)


def code_of(cell: Cell) -> str:
    """Return a cell's code in the form in which cells are compared."""
    return plain_code(cell.code)


def names_in(cell: Cell) -> CellNames:
    """Return the names of a cell; none where marimo cannot run it."""
    return _NO_NAMES if cell.kind is CellKind.UNPARSABLE else names_of(cell.code)


@lru_cache(_REMEMBERED)
def names_of(code: str) -> CellNames:
    """Return the names of a cell's code; none where marimo cannot run it."""
    try:
        return cell_names(code)
    except NotPython:
        return _NO_NAMES


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


class _Pairing:
    def __init__(
        self, first: Sequence[Cell], second: Sequence[Cell], may: Callable[[Cell, Cell], bool]
    ) -> None:
        self._first = first
        self._second = second
        self._may = may
        self._found: Pairs = {}
        self._left = dict.fromkeys(range(len(first)))
        self._right = dict.fromkeys(range(len(second)))

    def pairs(self) -> Pairs:
        self._in_order()
        self._by_key(lambda cell: [code_of(cell)], identical=True)
        for keys in (_setup, cell_labels, _own_name):
            self._by_key(keys)
        self._by_names()
        self._by_key(lambda cell: map(key_of, cell_labels(cell)))
        self._by_words()
        self._by_place()
        return self._found

    def _pair(self, one: int, other: int) -> None:
        self._found[one] = other
        del self._left[one]
        del self._right[other]

    def _in_order(self) -> None:
        """Pair identical cells that stayed: answers that are still open are often all alike."""
        ours, theirs = (list(map(code_of, cells)) for cells in (self._first, self._second))
        for one, other in Aligner().align(ours, theirs):
            self._pair(one, other)

    def _by_key(
        self, keys: Callable[[Cell], Iterable[Hashable]], *, identical: bool = False
    ) -> None:
        """Pair the first free cells that have a key in common."""
        having: dict[Hashable, dict[int, None]] = {}
        for other in self._right:
            for key in keys(self._second[other]):
                having.setdefault(key, {})[other] = None
        for one in tuple(self._left):
            wanted = (each for key in keys(self._first[one]) for each in having.get(key, ()))
            free = (each for each in wanted if each in self._right)
            found = next((each for each in free if identical or self._fits(one, each)), None)
            if found is not None:
                self._pair(one, found)
                for key in keys(self._second[found]):
                    having[key].pop(found, None)

    def _by_names(self) -> None:
        """Pair cells that define most of a cell's variables."""
        having: dict[str, list[int]] = {}
        for other in self._right:
            for name in names_in(self._second[other]).defined:
                having.setdefault(name, []).append(other)
        for one in tuple(self._left):
            names = names_in(self._first[one]).defined
            count = Counter(
                each for name in sorted(names) for each in having.get(name, ())[:_MOST_DEFINED]
            )
            free = [each for each in count if each in self._right and self._fits(one, each)]
            best = max(free, key=lambda each: (count[each], -each), default=None)
            if best is not None and 2 * count[best] > len(names):
                self._pair(one, best)

    def _by_words(self) -> None:
        """Pair cells of mostly the same words, the most alike first."""
        if len(self._left) * len(self._right) > _MOST_COMPARED:
            return
        alike = [
            (-share, one, other)
            for one in self._left
            for other in self._right
            if (share := _share(self._first[one], self._second[other])) >= _ALIKE
            and self._fits(one, other)
        ]
        for _, one, other in sorted(alike):
            if one in self._left and other in self._right:
                self._pair(one, other)

    def _by_place(self) -> None:
        """Pair cells between the same paired ones: a little alike ones, and an answer with any."""
        for missing, found in list(self._gaps()):
            for one in missing:
                free = [each for each in found if each in self._right and self._fits(one, each)]
                shares = {each: _share(self._first[one], self._second[each]) for each in free}
                best = max(free, key=lambda each: (shares[each], -each), default=None)
                if best is None:
                    continue
                only = len(missing) == len(free) == 1 and is_editable(self._first[one])
                if only or shares[best] >= _ALIKE_IN_PLACE:
                    self._pair(one, best)

    def _gaps(self) -> Iterator[tuple[list[int], list[int]]]:
        """Yield unpaired neighbours of the first cells, with those at their place in the second."""
        missing: list[int] = []
        before = -1
        for one in range(len(self._first) + 1):
            if one in self._left:
                missing.append(one)
                continue
            behind = self._found.get(one, len(self._second))
            found = [each for each in range(before + 1, behind) if each in self._right]
            if missing and 0 < len(missing) * len(found) <= _MOST_COMPARED:
                yield missing, found
            missing, before = [], behind

    def _fits(self, one: int, other: int) -> bool:
        return self._may(self._first[one], self._second[other])


def _setup(cell: Cell) -> tuple[str, ...]:
    return ("setup",) if cell.kind is CellKind.SETUP else ()


def _own_name(cell: Cell) -> tuple[str, ...]:
    return (cell.name,) if cell.name.strip("_") and cell.kind is not CellKind.SETUP else ()


def _share(one: Cell, other: Cell) -> float:
    """Return the share (0 to 1) of words that two cells have in common."""
    first, second = _words(one.code[:_LONGEST]), _words(other.code[:_LONGEST])
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


@lru_cache(_REMEMBERED)
def _words(code: str) -> Counter[str]:
    return Counter(_WORD.findall(code))


def _by_characters(before: Sequence[Cell], after: Sequence[Cell], pairs: Pairs) -> None:
    """Pair the short cells that are most alike; of equally alike ones, those nearest."""
    known = set(pairs.values())
    lost = [each for each in range(len(before)) if each not in pairs]
    fresh = [each for each in range(len(after)) if each not in known]
    if len(lost) * len(fresh) > _MOST_SPELLED:
        return
    ranked = sorted(
        (-alike, abs(old - new), old, new)
        for old in lost
        for new in fresh
        if (alike := _alike(before[old].code.strip(), after[new].code.strip())) >= _SPELLED_ALIKE
    )
    for _, _, old, new in ranked:
        if old not in pairs and new not in known:
            pairs[old] = new
            known.add(new)


def _alike(one: str, other: str) -> float:
    if max(len(one), len(other)) > _SHORT:
        return 0.0
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


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
        names = {before[old].name, after[new].name} - NAMELESS
        if setups[0] == setups[1] and len(names) < 2:
            yield old, new

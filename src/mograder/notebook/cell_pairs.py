"""The pairs of cells of two notebooks that are the same cell in two states. Pure.

Cells have no identity in a file. So identical cells are paired first, those that stayed before
those that were moved, then cells of one check label, one name, mostly the same variables, one
question, mostly the same words, and at last cells at the same place between paired ones. Of two
versions of one notebook, short cells of mostly the same characters are paired, too.

Answers are handed out alike, so neither their code nor their words tell which is which: identical
ones are paired by their names and by the question's text above them.

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
from itertools import pairwise, product

from mograder.notebook.cells import Cell, CellKind
from mograder.notebook.parsing import CellNames, NotPython, cell_names
from mograder.notebook.points import (
    cell_labels,
    is_answer_name,
    is_editable,
    key_of,
    labels_in,
    plain_code,
)

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

_ALL = 0.9
"""Smallest share of a text's words in one that only says more."""

_MOST_DEFINED = 10
"""Cells of one variable that are looked at: marimo runs none of several."""

_MOST_TEXTS = 10
"""Texts of one question that are looked at."""

MOST_ALIGNED = 40_000
"""Pairs of elements that are compared at most; half a second where a student chose the worst."""

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
    """Return the pairs of cells; ``may`` refuses some."""
    return _Pairing(first, second, may).pairs()


def pair_releases(old: Sequence[Cell], new: Sequence[Cell]) -> Pairs:
    """Return the pairs of the cells of two releases, without answers to different questions.

    An answer's name or variables tell its question, or else the texts above it do.
    """
    pairs = pair_cells(old, new, lambda one, other: is_editable(one) == is_editable(other))
    before, after = _texts_above(old), _texts_above(new)

    def asked(one: int, other: int) -> bool:
        named = old[one].name == new[other].name not in NAMELESS
        if named or not is_editable(old[one]) or not (before[one] and after[other]):
            return True
        if not names_in(old[one]).defined.isdisjoint(names_in(new[other]).defined):
            return True
        kept = ((each, pairs.get(each)) for each in before[one])
        return any(at in after[other] and _is_one_text(old[each], new[at]) for each, at in kept)

    return {one: other for one, other in pairs.items() if asked(one, other)}


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
    return plain_code(cell.code)


def names_in(cell: Cell) -> CellNames:
    """Return the names of a cell; none where marimo cannot run it."""
    return _NO_NAMES if cell.kind is CellKind.UNPARSABLE else names_of(cell.code)


def told_apart(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Return a key of each cell: its code, and for an answer its name or its question's text."""
    found = []
    for cell, texts in zip(cells, _texts_above(cells), strict=True):
        asked = code_of(cells[texts[0]]) if texts else ""
        name = "" if cell.name in NAMELESS else cell.name
        found.append((code_of(cell), (name or asked) if is_editable(cell) else ""))
    return found


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
        count = len(left) * len(right)
        if 0 < count <= self.left:
            self.left -= count
            matcher = SequenceMatcher(None, left, right, autojunk=False)
            for one, other, size in matcher.get_matching_blocks():
                yield from ((head + one + step, head + other + step) for step in range(size))
        yield from ((len(ours) - at, len(theirs) - at) for at in range(tail, 0, -1))


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
        self._by_key(lambda cell: () if is_editable(cell) else (code_of(cell),))
        self._by_key(lambda cell: ("setup",) if cell.kind is CellKind.SETUP else ())
        self._by_key(cell_labels)
        self._by_key(_own_name)
        self._by_names()
        self._by_key(lambda cell: map(key_of, cell_labels(cell)))
        self._by_words()
        self._by_question()
        self._by_place()
        self._by_key(lambda cell: [code_of(cell)])
        return self._found

    def _pair(self, one: int, other: int) -> None:
        self._found[one] = other
        del self._left[one]
        del self._right[other]

    def _in_order(self) -> None:
        """Pair identical cells that stayed and are no answers."""
        ours, theirs = (
            [at for at, cell in enumerate(cells) if not is_editable(cell)]
            for cells in (self._first, self._second)
        )
        self._align(ours, theirs, Aligner())

    def _align(self, ours: Sequence[int], theirs: Sequence[int], aligner: Aligner) -> None:
        first = [code_of(self._first[at]) for at in ours]
        second = [code_of(self._second[at]) for at in theirs]
        for one, other in list(aligner.align(first, second)):
            pair = mine, its = ours[one], theirs[other]
            # An answer of another name may stand directly below the same text.
            renamed = mine > 0 and self._found.get(mine - 1) == its - 1
            if self._named_alike(*pair) or renamed:
                self._pair(*pair)

    def _by_key(self, keys: Callable[[Cell], Iterable[Hashable]]) -> None:
        """Pair the first free cells that have a key in common."""
        having: dict[Hashable, dict[int, None]] = {}
        for other in self._right:
            for key in keys(self._second[other]):
                having.setdefault(key, {})[other] = None
        for one in tuple(self._left):
            wanted = (each for key in keys(self._first[one]) for each in having.get(key, ()))
            free = (each for each in wanted if each in self._right)
            found = next((each for each in free if self._fits(one, each)), None)
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

    def _by_question(self) -> None:
        """Pair identical cells below the same text, in order: open answers, above all."""
        groups: dict[int | None, tuple[list[int], list[int]]] = {}
        texts = _texts_above(self._first), _texts_above(self._second)
        known = set(self._found.values())
        for one in self._left:
            above = (self._found[each] for each in texts[0][one] if each in self._found)
            groups.setdefault(next(above, None), ([], []))[0].append(one)
        for other in self._right:
            above = (each for each in texts[1][other] if each in known)
            groups.setdefault(next(above, None), ([], []))[1].append(other)
        aligner = Aligner()
        for ours, theirs in groups.values():
            self._align(ours, theirs, aligner)

    def _by_words(self) -> None:
        """Pair cells of mostly the same words that are no answers, the most alike first."""
        given = [one for one in self._left if not is_editable(self._first[one])]
        if len(given) * len(self._right) > _MOST_COMPARED:
            return
        alike = [
            (-share, one, other)
            for one in given
            for other in self._right
            if (share := _share(self._first[one], self._second[other])) >= _ALIKE
            and self._fits(one, other)
        ]
        for _, one, other in sorted(alike):
            if one in self._left and other in self._right:
                self._pair(one, other)

    def _by_place(self) -> None:
        """Pair cells between the same paired ones: a little alike, and a sole answer with any."""
        for missing, found in list(self._gaps()):
            for one in missing:
                free = [each for each in found if each in self._right and self._fits(one, each)]
                shares = {each: _share(self._first[one], self._second[each]) for each in free}
                best = max(free, key=lambda each: (shares[each], -each), default=None)
                if best is None:
                    continue
                # Students may put further cells below their answer.
                answer = len(missing) == 1 and is_editable(self._first[one])
                if answer or shares[best] >= _ALIKE_IN_PLACE:
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
        return self._may(self._first[one], self._second[other]) and self._named_alike(one, other)

    def _named_alike(self, one: int, other: int) -> bool:
        names = {self._first[one].name, self._second[other].name}
        return len(names) < 2 or not all(map(is_answer_name, names))


def _texts_above(cells: Sequence[Cell]) -> list[list[int]]:
    """Return the places of the texts of the question that each cell belongs to, nearest first.

    They are those above the cell, up to the answer or check that precedes them.
    """
    found: list[list[int]] = []
    texts: list[int] = []
    ended = False
    for at, cell in enumerate(cells):
        found.append(texts)
        if is_editable(cell) or any(labels_in(cell.code)):
            ended = True
        elif "md(" in cell.code:
            texts = [at] if ended else [at, *texts][:_MOST_TEXTS]
            ended = False
    return found


def _own_name(cell: Cell) -> tuple[str, ...]:
    return (cell.name,) if cell.name.strip("_") and cell.kind is not CellKind.SETUP else ()


def _share(one: Cell, other: Cell) -> float:
    """Return the share (0 to 1) of words that two cells have in common."""
    first, second = _words(one.code[:_LONGEST]), _words(other.code[:_LONGEST])
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


def _is_one_text(one: Cell, other: Cell) -> bool:
    """Whether texts have mostly the same words, or one of them almost all words of the other."""
    first, second = _words(one.code[:_LONGEST]), _words(other.code[:_LONGEST])
    common = (first & second).total()
    return _share(one, other) >= _ALIKE or common >= _ALL * min(first.total(), second.total())


@lru_cache(2_000)
def _words(code: str) -> Counter[str]:
    return Counter(_WORD.findall(code))


def _by_characters(before: Sequence[Cell], after: Sequence[Cell], pairs: Pairs) -> None:
    """Pair the short cells that are most alike; of equally alike ones, those nearest."""
    known = set(pairs.values())
    lost = [each for each in range(len(before)) if each not in pairs]
    fresh = [each for each in range(len(after)) if each not in known]
    if len(lost) * len(fresh) > _MOST_SPELLED:
        return
    ranked = []
    for old, new in product(lost, fresh):
        codes = before[old].code.strip(), after[new].code.strip()
        if max(map(len, codes)) <= _SHORT:
            alike = SequenceMatcher(None, *codes, autojunk=False).ratio()
            if alike >= _SPELLED_ALIKE:
                ranked.append((-alike, abs(old - new), old, new))
    for _, _, old, new in sorted(ranked):
        if old not in pairs and new not in known:
            pairs[old] = new
            known.add(new)


def _by_place(before: Sequence[Cell], after: Sequence[Cell], pairs: Pairs) -> None:
    """Pair the cells between two pairs of neighbours where as many are left on both sides."""
    moved = moved_cells(pairs)
    stayed = [(old, new) for old, new in sorted(pairs.items()) if old not in moved]
    known = set(pairs.values())
    ends = ((-1, -1), *stayed, (len(before), len(after)))
    for (old, new), (next_old, next_new) in pairwise(ends):
        lost = [each for each in range(old + 1, next_old) if each not in pairs]
        fresh = [each for each in range(new + 1, next_new) if each not in known]
        for one, other in zip(lost, fresh, strict=True) if len(lost) == len(fresh) else ():
            cells = before[one], after[other]
            kinds = {each.kind is CellKind.SETUP for each in cells}
            if len(kinds) == 1 and len({each.name for each in cells} - NAMELESS) < 2:
                pairs[one] = other

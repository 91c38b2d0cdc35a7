"""The pairs of cells of a notebook's earlier and its later text that are the same cell. Pure.

Students decide how many cells there are and how alike they look, so every step is bounded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

from mograder.notebook.cells import Cell, CellKind
from mograder.notebook.merge.cell_pairs import Pairs, pair_cells

_MOST_SPELLED = 200
"""Pairs of cells that are compared character by character at most."""

_ALIKE = 0.5
"""Smallest share (0 to 1) of common characters of one cell at two times."""

_SHORT = 400
"""Characters up to which two cells are compared character by character."""

NAMELESS = frozenset(("", "_"))


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
        if (alike := _alike(before[old].code.strip(), after[new].code.strip())) >= _ALIKE
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

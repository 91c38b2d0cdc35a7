"""The alignment of sequences that students can make long and repetitive. Pure and bounded."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

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

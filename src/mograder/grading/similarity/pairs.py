"""Pairs and groups of submissions with much in common that few others have.

Compared is only text of the students: fingerprints of the release and of the author's solution do
not count, nor those that many submissions share. A pair is reported with the lines that match; its
shares alone say nothing about how they came about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations

from mograder.grading.similarity.fingerprints import CODE, PROSE, Place, Winnowing, fingerprints
from mograder.grading.similarity.terms import NotebookTerms

_COMMON_SHARE, _COMMON_LEAST = 0.1, 4
"""A fingerprint is common if more than this share of submissions has it, and more than so many."""

_GAP_LINES = 2
"""Matches at most so many lines apart are shown as one."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least similarity to report: common fingerprints, and their share of the smaller."""

    fingerprints: int
    share: float


THRESHOLDS: Mapping[Winnowing, Threshold] = {
    CODE: Threshold(fingerprints=10, share=0.4),
    PROSE: Threshold(fingerprints=8, share=0.35),
}


@dataclass(frozen=True, slots=True)
class Match:
    """Lines of one submission, and those of the other that are like them."""

    one: Place
    other: Place


@dataclass(frozen=True, slots=True)
class SimilarPair:
    """Two submissions, in alphabetical order of their students.

    ``code`` and ``prose`` are the shares (0 to 1) of the smaller one's own text that both have.
    """

    one: str
    other: str
    code: float
    prose: float
    matches: tuple[Match, ...]

    @property
    def share(self) -> float:
        """The larger of both shares."""
        return max(self.code, self.prose)


@dataclass(slots=True)
class _Common:
    """The common parts of two submissions, by kind of text."""

    shares: dict[Winnowing, float] = field(default_factory=dict)
    matches: list[Match] = field(default_factory=list)


def similar_pairs(
    submissions: Mapping[str, NotebookTerms], given: Iterable[NotebookTerms] = ()
) -> tuple[SimilarPair, ...]:
    """Return the similar pairs of students, those with the largest share first.

    ``given`` are the release and the author's solution.
    """
    found: dict[tuple[str, str], _Common] = defaultdict(_Common)
    texts = tuple(given)
    for kind, threshold in THRESHOLDS.items():
        known = {number for text in texts for number in _of(text, kind)}
        prints = {name: _own(_of(text, kind), known) for name, text in submissions.items()}
        for pair, shared in _shared(prints).items():
            smaller = min(len(prints[name]) for name in pair)
            share = len(shared) / smaller
            if len(shared) < threshold.fingerprints or share < threshold.share:
                continue
            found[pair].shares[kind] = share
            found[pair].matches += _matches(prints[pair[0]], prints[pair[1]], shared)
    pairs = (
        SimilarPair(
            *pair, each.shares.get(CODE, 0.0), each.shares.get(PROSE, 0.0), tuple(each.matches)
        )
        for pair, each in found.items()
    )
    return tuple(sorted(pairs, key=lambda pair: (-pair.share, pair.one, pair.other)))


def groups_of(pairs: Iterable[SimilarPair]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of students that pairs connect, the largest first."""
    group: dict[str, set[str]] = {}
    for pair in pairs:
        merged = group.get(pair.one, {pair.one}) | group.get(pair.other, {pair.other})
        group.update(dict.fromkeys(merged, merged))
    distinct = {tuple(sorted(each)) for each in group.values()}
    return tuple(sorted(distinct, key=lambda each: (-len(each), each)))


def _of(text: NotebookTerms, kind: Winnowing) -> Mapping[int, tuple[Place, ...]]:
    return fingerprints(text.code if kind is CODE else text.prose, kind)


def _own(
    prints: Mapping[int, tuple[Place, ...]], known: Set[int]
) -> Mapping[int, tuple[Place, ...]]:
    return {number: places for number, places in prints.items() if number not in known}


def _shared(
    prints: Mapping[str, Mapping[int, tuple[Place, ...]]],
) -> Mapping[tuple[str, str], Set[int]]:
    """Return the fingerprints that two submissions share, without those that many have."""
    owners: dict[int, list[str]] = defaultdict(list)
    for name in sorted(prints):
        for number in prints[name]:
            owners[number].append(name)
    most = max(_COMMON_LEAST, int(len(prints) * _COMMON_SHARE))
    shared: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number, names in owners.items():
        if len(names) <= most:
            for pair in combinations(names, 2):
                shared[pair].add(number)
    return shared


def _matches(
    one: Mapping[int, tuple[Place, ...]],
    other: Mapping[int, tuple[Place, ...]],
    shared: Iterable[int],
) -> Sequence[Match]:
    """Return the matching lines; those that follow one another in both texts are merged."""
    single = sorted((one[number][0], other[number][0]) for number in shared)
    merged: list[Match] = []
    for left, right in single:
        last = merged[-1] if merged else None
        if last and _follows(last.one, left) and _follows(last.other, right):
            merged[-1] = Match(_span(last.one, left), _span(last.other, right))
        else:
            merged.append(Match(left, right))
    return merged


def _follows(before: Place, after: Place) -> bool:
    return before.first <= after.first <= before.last + _GAP_LINES


def _span(one: Place, other: Place) -> Place:
    return Place(min(one.first, other.first), max(one.last, other.last))

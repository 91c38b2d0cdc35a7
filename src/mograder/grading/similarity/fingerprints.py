"""Fingerprints of a text's terms by winnowing (Schleimer, Wilkerson, Aiken, SIGMOD 2003).

Of each window of adjacent sequences of terms the one with the smallest hash is kept. Every common
run of ``length + window - 1`` terms then has a fingerprint in common, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mograder.grading.similarity.terms import Term

_BASE, _MODULUS = 1_000_003, (1 << 61) - 1


@dataclass(frozen=True, slots=True)
class Winnowing:
    """The length of a sequence in terms, and the number of sequences in a window."""

    length: int
    window: int


CODE = Winnowing(length=12, window=5)
PROSE = Winnowing(length=5, window=4)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The lines of one fingerprint in its file, both included."""

    first: int
    last: int


def fingerprints(
    parts: Iterable[Sequence[Term]], winnowing: Winnowing
) -> Mapping[int, tuple[Place, ...]]:
    """Return the places of each fingerprint; sequences do not reach over the end of a part."""
    found: dict[int, list[Place]] = {}
    for terms in parts:
        hashes = _hashes(terms, winnowing.length)
        for position in _selected(hashes, winnowing.window):
            last = terms[position + winnowing.length - 1].line
            found.setdefault(hashes[position], []).append(Place(terms[position].line, last))
    return {number: tuple(places) for number, places in found.items()}


def _hashes(terms: Sequence[Term], length: int) -> list[int]:
    if len(terms) < length:
        return []
    leading = pow(_BASE, length, _MODULUS)
    value = 0
    hashes = []
    for index, term in enumerate(terms):
        value = (value * _BASE + term.number + 1) % _MODULUS
        if index >= length:
            value = (value - leading * (terms[index - length].number + 1)) % _MODULUS
        if index >= length - 1:
            hashes.append(value)
    return hashes


def _selected(hashes: Sequence[int], window: int) -> Iterable[int]:
    """Return the positions of the smallest hash of each window, the last one of equals."""
    selected: dict[int, None] = {}
    for start in range(max(len(hashes) - window + 1, min(len(hashes), 1))):
        span = range(start, min(start + window, len(hashes)))
        selected[min(span, key=lambda at: (hashes[at], -at))] = None
    return selected

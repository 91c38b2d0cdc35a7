"""Pairs and groups of submissions with much in common that few others have.

Compared is only text of the students: fingerprints of the release and of the author's solution do
not count, nor those that many submissions share. A pair is reported with the lines that match; its
shares alone say nothing about how they came about. No program of a student is run; pure.

The terms of a text are normalised tokens of code, and words of prose. Names that are neither
keywords, builtins nor attributes become one token, so that renaming changes nothing; comments,
docstrings and layout are left out.

Fingerprints of the terms are made by winnowing (Schleimer, Wilkerson, Aiken, SIGMOD 2003). Of each
window of adjacent sequences of terms the one with the smallest hash is kept. Every common run of
``length + window - 1`` terms then has a fingerprint in common, wherever it stands.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import tokenize
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations, islice
from zlib import crc32

from mograder.core.errors import MograderError
from mograder.notebook.cells import Cell, parse_cells, tokens_of, tree_of

_COMMON_SHARE, _COMMON_LEAST = 0.1, 4
"""A fingerprint is common if more than this share of submissions has it, and more than so many."""

_GAP_LINES = 2
"""Matches at most so many lines apart are shown as one."""

_BASE, _MODULUS = 1_000_003, (1 << 61) - 1
_KEPT_NAMES = frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | frozenset(dir(builtins))
_LAYOUT = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    | {tokenize.ENCODING, tokenize.ENDMARKER}
)
_BEGINS_STATEMENT = frozenset(
    {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SYMBOL = re.compile(r"\w+|[^\w\s]")
_FEWEST_WORDS = 6
"""Fewest words of a string that counts as prose."""

_MOST_OF_CELL, _MOST = 20_000, 200_000
"""Terms of a cell, and of a notebook, that are compared at most: of code and of prose each."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term, as a number; ``line`` is its line in the notebook's file, from 1."""

    number: int
    line: int


@dataclass(frozen=True, slots=True)
class NotebookTerms:
    """The terms of a notebook's cells, by cell; a cell without any is left out.

    ``is_cut``: there are more, which are not compared.
    """

    code: tuple[tuple[Term, ...], ...]
    prose: tuple[tuple[Term, ...], ...]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """The length of a sequence in terms, and the number of sequences in a window.

    ``fingerprints`` and ``share`` are the least similarity to report: common fingerprints, and
    their share of the smaller text.
    """

    length: int
    window: int
    fingerprints: int
    share: float


CODE = Kind(length=12, window=5, fingerprints=10, share=0.4)
PROSE = Kind(length=5, window=4, fingerprints=8, share=0.35)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The lines of one fingerprint in its file, both included."""

    first: int
    last: int


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
        return max(self.code, self.prose)


def similar_pairs(
    submissions: Mapping[str, NotebookTerms], given: Iterable[NotebookTerms] = ()
) -> tuple[SimilarPair, ...]:
    """Return similar pairs of students, those with the largest share first.

    ``given`` are the release and the author's solution.
    """
    shares: dict[Kind, dict[tuple[str, str], float]] = {CODE: {}, PROSE: {}}
    matches: dict[tuple[str, str], list[Match]] = defaultdict(list)
    texts = tuple(given)
    for kind, found in shares.items():
        known = {number for text in texts for number in _of(text, kind)}
        prints = {
            name: {number: at for number, at in _of(text, kind).items() if number not in known}
            for name, text in submissions.items()
        }
        for pair, shared in _shared(prints).items():
            share = len(shared) / min(len(prints[name]) for name in pair)
            if len(shared) >= kind.fingerprints and share >= kind.share:
                found[pair] = share
                matches[pair] += _matches(prints[pair[0]], prints[pair[1]], shared)
    code, prose = shares.values()
    pairs = (
        SimilarPair(*pair, code.get(pair, 0.0), prose.get(pair, 0.0), tuple(lines))
        for pair, lines in matches.items()
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


def read_terms(text: str, filename: str, without: Collection[str] = ()) -> NotebookTerms:
    """Return the terms of a notebook; of its whole text where it has no cells that can be read.

    Cells with one of the lines ``without`` are left out.
    """
    try:
        cells: Sequence[Cell] = parse_cells(text, filename).cells
    except MograderError:
        parts = [(text, 1)]
    else:
        parts = [
            (cell.code, cell.code_first)
            for cell in cells
            if not any(line.strip() in without for line in cell.code.split("\n"))
        ]
    code, code_is_cut = _some(parts, code_terms)
    prose, prose_is_cut = _some(parts, prose_terms)
    return NotebookTerms(code, prose, code_is_cut or prose_is_cut)


def _some(
    parts: Iterable[tuple[str, int]], terms: Callable[[str, int], Iterator[Term]]
) -> tuple[tuple[tuple[Term, ...], ...], bool]:
    """Return as many terms of each part as are compared, and whether there are more."""
    found, left, is_cut = [], _MOST, False
    for text, first in parts:
        most = min(_MOST_OF_CELL, left)
        own = tuple(islice(terms(text, first), most + 1))
        is_cut = is_cut or len(own) > most
        found.append(own[:most])
        left -= len(found[-1])
    return tuple(filter(None, found)), is_cut


def code_terms(code: str, first: int = 1) -> Iterator[Term]:
    """Yield the terms of a cell's code whose first line is ``first`` in its file."""
    before, after_dot, line = tokenize.ENCODING, False, 1
    for token in tokens_of(code):
        line = max(line, token.end[0])
        is_text = token.type == tokenize.STRING
        is_documentation = is_text and before in _BEGINS_STATEMENT
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            before = token.type
        if token.type in _LAYOUT or is_documentation:
            continue
        written = token.string
        if token.type == tokenize.NAME:
            written = written if after_dot or written in _KEPT_NAMES else "name"
        elif token.type in (tokenize.NUMBER, tokenize.STRING):
            written = "''" if is_text else "0"
        after_dot = token.string == "."
        yield _term(written, first + token.start[0] - 1)
    if before != tokenize.ENDMARKER:  # the rest cannot be read as Python
        for number, rest in enumerate(code.splitlines()[line:], line + 1):
            for symbol in _SYMBOL.findall(rest):
                yield _term(symbol if symbol in _KEPT_NAMES else symbol[0], first + number - 1)


def prose_terms(code: str, first: int = 1) -> Iterator[Term]:
    tree = tree_of(code)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        found = list(islice(_WORD.finditer(node.value), _MOST_OF_CELL + 1))
        if len(found) < _FEWEST_WORDS:
            continue
        line, counted = first + node.lineno - 1, 0
        for word in found:
            line += node.value.count("\n", counted, word.start())
            counted = word.start()
            yield _term(word[0].casefold(), line)


def words_of(text: str) -> tuple[str, ...]:
    return tuple(word[0].casefold() for word in _WORD.finditer(text))


def fingerprints(parts: Iterable[Sequence[Term]], kind: Kind) -> Mapping[int, Place]:
    """Return the first place of each fingerprint; sequences do not reach over a part's end."""
    found: dict[int, Place] = {}
    for terms in parts:
        hashes = _hashes(terms, kind.length)
        for at in _selected(hashes, kind.window):
            place = Place(terms[at].line, terms[at + kind.length - 1].line)
            found.setdefault(hashes[at], place)
    return found


def _of(text: NotebookTerms, kind: Kind) -> Mapping[int, Place]:
    return fingerprints(text.code if kind is CODE else text.prose, kind)


def _shared(
    prints: Mapping[str, Mapping[int, Place]],
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
    one: Mapping[int, Place], other: Mapping[int, Place], shared: Iterable[int]
) -> Sequence[Match]:
    """Return the matching lines; those that follow one another in both texts are merged."""
    single = sorted((one[number], other[number]) for number in shared)
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


def _term(written: str, line: int) -> Term:
    return Term(crc32(written.encode("utf-8", "replace")), line)

"""The terms by which two students' texts are compared: normalised tokens of code, words of prose.

Names that are neither keywords, builtins nor attributes become one token, so that renaming changes
nothing; comments, docstrings and layout are left out.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import tokenize
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

from mograder.core.errors import MograderError
from mograder.notebook.cells import Cell, parse_cells, parse_python, tokens_of

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

_LONGEST = 400_000
"""Characters of a notebook that are compared at most."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term, as a number; ``line`` is its line in the notebook's file, from 1."""

    number: int
    line: int


@dataclass(frozen=True, slots=True)
class NotebookTerms:
    """The terms of a notebook's cells, by cell; a cell without any is left out."""

    code: tuple[tuple[Term, ...], ...]
    prose: tuple[tuple[Term, ...], ...]


def read_terms(text: str, filename: str, without: Collection[str] = ()) -> NotebookTerms:
    """Return the terms of a notebook; of its whole text where it has no cells that can be read.

    Cells with one of the lines ``without`` are left out.
    """
    shown = text[:_LONGEST]
    try:
        cells: Sequence[Cell] = parse_cells(shown, filename).cells
    except MograderError:
        parts = [(shown, 1)]
    else:
        parts = [
            (cell.code, cell.code_first)
            for cell in cells
            if not any(line.strip() in without for line in cell.code.split("\n"))
        ]
    code = (tuple(code_terms(text, first)) for text, first in parts)
    prose = (tuple(prose_terms(text, first)) for text, first in parts)
    return NotebookTerms(tuple(filter(None, code)), tuple(filter(None, prose)))


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
        written = _normalised(token, after_dot=after_dot)
        after_dot = token.string == "."
        yield _term(written, first + token.start[0] - 1)
    if before != tokenize.ENDMARKER:  # the rest cannot be read as Python
        for number, rest in enumerate(code.splitlines()[line:], line + 1):
            for symbol in _SYMBOL.findall(rest):
                yield _term(symbol if symbol in _KEPT_NAMES else symbol[0], first + number - 1)


def prose_terms(code: str, first: int = 1) -> Iterator[Term]:
    """Yield the words of the longer strings in a cell's code."""
    tree = parse_python(code)
    for node in ast.walk(tree) if tree is not None else ():
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        found = list(_WORD.finditer(node.value))
        if len(found) < _FEWEST_WORDS:
            continue
        line, counted = first + node.lineno - 1, 0
        for word in found:
            line += node.value.count("\n", counted, word.start())
            counted = word.start()
            yield _term(word[0].casefold(), line)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a text, without case and punctuation."""
    return tuple(word[0].casefold() for word in _WORD.finditer(text))


def _term(written: str, line: int) -> Term:
    return Term(crc32(written.encode("utf-8", "replace")), line)


def _normalised(token: tokenize.TokenInfo, *, after_dot: bool) -> str:
    if token.type == tokenize.NAME:
        return token.string if after_dot or token.string in _KEPT_NAMES else "name"
    if token.type == tokenize.NUMBER:
        return "0"
    if token.type == tokenize.STRING:
        return "''"
    return token.string

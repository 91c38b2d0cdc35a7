"""The markers that authors put around solutions and hidden tests (compatibility-0.3.16.md 7).

``### BEGIN SOLUTION`` … ``### END SOLUTION`` and ``### BEGIN HIDDEN TESTS`` … ``### END HIDDEN
TESTS``, each on a line of its own. As in 0.3.16, markers in strings count too, such as in the text
of a Markdown cell. A misspelt marker would publish a solution, so near misses are errors.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate, dropwhile

from mograder.notebook.cells import (
    NotebookText,
    parse_cells,
    plain_text,
    split_lines,
    tokens_of,
)
from mograder.notebook.findings import Finding, refuse


class BlockKind(StrEnum):
    """The kind of lines that a block hides."""

    SOLUTION = "SOLUTION"
    HIDDEN = "HIDDEN TESTS"


@dataclass(frozen=True, slots=True)
class Block:
    """One block: the lines (from 1) of its two markers."""

    kind: BlockKind
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class _Mark:
    line: int
    begins: bool
    kind: BlockKind

    def __str__(self) -> str:
        return f"### {'BEGIN' if self.begins else 'END'} {self.kind}"


_MARKS = {
    f"### {word} {kind}": (word == "BEGIN", kind) for word in ("BEGIN", "END") for kind in BlockKind
}
_NO_CODE = (tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.NL)
_NEARLY = re.compile(
    r"##+\s*(?i:(?P<word1>BEGIN|START|END|STOP)[\s_-]*(?P<what1>SOLUTIONS?|HIDDEN[\s_-]*TESTS?))\b.*"
    r"|##+\s*(?P<what2>SOLUTIONS?|HIDDEN[\s_-]*TESTS?)[\s_-]+(?P<word2>BEGIN|START|END|STOP)\b.*"
    r"|#\s*(?P<word3>BEGIN|END)[\s_-]+(?P<what3>SOLUTION|HIDDEN[\s_-]*TESTS)\b.*"
    r"|[^\w#`]*#[\W_]*(?i:(?P<word4>BEGIN|END)[\W_]+(?P<what4>SOLUTION|HIDDEN[\W_]+TESTS?))[\W_]*"
)
"""Near misses: with two or more ``#`` in any spelling; with one ``#`` only in capitals, or as all
words of the line, as in ``# --- BEGIN SOLUTION ---``, ``<!-- ### BEGIN SOLUTION -->`` and where a
block is commented out."""

_BEGIN = re.compile(
    rb"""(?:^|\r)[^A-Za-z`"'\r\n]*### BEGIN (?:SOLUTION|HIDDEN TESTS)[^\w`"'\r\n]*(?=\r|\n|\Z)"""
    rb'|(?:(?:^|\r)[ \t\f+|>-]*"|\\n)[ \t]*### BEGIN (?:SOLUTION|HIDDEN TESTS)[ \t]*(?:\\r)?\\n',
    re.MULTILINE,
)
"""A block's first line: its only words, as in a patch or a numbered listing, or in a JSON text of a
Jupyter notebook. Texts that tell of the mark quote it, or have more words in the line."""


def first_mark(data: bytes) -> int | None:
    """Return the line (from 1) at which a file of any kind begins a block, or None.

    Copies of a source have such lines: an editor's, an older version, an export.
    """
    data = data.replace(b"\0", b"")  # which are in every character of UTF-16
    found = _BEGIN.search(data)
    if found is None:
        return None
    return 1 + len(re.findall(rb"\r\n|\r|\n", data[: found.end()]))


@lru_cache(8)
def find_blocks(text: str, filename: str) -> tuple[Block, ...]:
    """Return the blocks of a notebook, in order.

    Raises:
        InvalidInput: Markers are nested, crossed, unmatched, unclosed, misspelt, or outside of a
            cell; the message has one line ``file:line: message`` for each mistake. Or the text is
            not a notebook.
    """
    lines = split_lines(text)
    marks = list(_marks(lines))
    misspelt = [
        (found, number)
        for number, line in enumerate(map(str.strip, lines), start=1)
        if line not in _MARKS and (found := _NEARLY.fullmatch(line))
    ]
    # Behind code on the same line, markers have no effect.
    misspelt += [
        (found, token.start[0])
        for token in tokens_of(plain_text(text))
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
        if (found := _NEARLY.fullmatch(token.string.strip()))
    ]
    findings = [_no_mark(found, filename, line) for found, line in misspelt]
    blocks = list(_pair(marks, filename, findings))
    if blocks and not findings:
        findings += _misplaced(blocks, parse_cells(text, filename), filename)
    refuse(findings)
    return tuple(blocks)


def _marks(lines: tuple[str, ...]) -> Iterator[_Mark]:
    for number, line in enumerate(lines, start=1):
        found = _MARKS.get(line.strip())
        if found is not None:
            yield _Mark(number, *found)


def _no_mark(found: re.Match[str], filename: str, line: int) -> Finding:
    word = next(filter(None, found.group("word1", "word2", "word3", "word4")))
    what = next(filter(None, found.group("what1", "what2", "what3", "what4")))
    kind = BlockKind.SOLUTION if what.upper().startswith("SOL") else BlockKind.HIDDEN
    meant = _Mark(line, word.upper() in ("BEGIN", "START"), kind)
    hint = f"Write exactly {str(meant)!r}, on a line of its own."
    return Finding(filename, line, f"{found[0][:60]!r} is not a marker.", hint)


def _pair(marks: list[_Mark], filename: str, findings: list[Finding]) -> Iterator[Block]:
    """Yield the blocks; append markers that do not match to ``findings``, which has near misses.

    An end below a near miss is not said to lack its beginning: the near miss may be it.
    """
    opened: _Mark | None = None
    above = 0
    for mark in marks:
        if mark.begins:
            if opened is not None:
                nested = f"{str(mark)!r} inside the {opened.kind} block of line {opened.line}."
                findings.append(Finding(filename, mark.line, nested, "Close that one first."))
            opened = mark
        elif opened is None:
            if not any(above < each.line < mark.line for each in findings):
                lone = f"{str(mark)!r} without its BEGIN."
                findings.append(Finding(filename, mark.line, lone, "Remove it, or add the BEGIN."))
        elif mark.kind is not opened.kind:
            crossed = f"{str(mark)!r} ends the {opened.kind} block of line {opened.line}."
            hint = f"End it with '### END {opened.kind}'."
            findings.append(Finding(filename, mark.line, crossed, hint))
            opened = None
        else:
            yield Block(mark.kind, opened.line, mark.line)
            opened = None
        above = mark.line
    if opened is not None:
        unclosed = f"{str(opened)!r} is never closed."
        hint = f"End it with '### END {opened.kind}'."
        findings.append(Finding(filename, opened.line, unclosed, hint))


def _misplaced(blocks: list[Block], notebook: NotebookText, filename: str) -> Iterator[Finding]:
    tokens = list(tokens_of(plain_text(notebook.text)))
    for block in blocks:
        begun, ended = notebook.cell_at(block.begin), notebook.cell_at(block.end)
        if begun is None or not begun.body_first <= block.begin <= begun.last:
            message = f"the {block.kind} block begins outside of a cell."
            yield Finding(filename, block.begin, message, "Put it into the cell's code.")
        elif begun is not ended:
            message = f"the {block.kind} block of line {block.begin} ends in another cell."
            yield Finding(filename, block.end, message, "Give each cell a block of its own.")
        elif begun.return_first and block.begin > begun.return_first:
            message = f"the {block.kind} block stands below the cell's return."
            yield Finding(filename, block.begin, message, "Move it above.")
        elif begun.return_first and block.end > begun.return_first:
            message = f"the {block.kind} block holds the cell's own return line."
            yield Finding(filename, block.end, message, "End the block before it.")
        elif min(accumulate(_steps(block, tokens), initial=0)) < 0:
            message = f"the {block.kind} block ends outside of the indented code it begins in."
            yield Finding(filename, block.begin, message, "Let it hold whole statements.")


def _steps(block: Block, tokens: Iterable[tokenize.TokenInfo]) -> Iterator[int]:
    """Yield the changes of the depth of indentation from a block's first line of code."""
    inside = (each for each in tokens if block.begin < each.start[0] < block.end)
    for token in dropwhile(lambda each: each.type in _NO_CODE, inside):
        yield (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)

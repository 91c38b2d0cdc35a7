"""The marks that authors put around what students must not see (compat.md 7).

``### BEGIN SOLUTION`` … ``### END SOLUTION`` and ``### BEGIN HIDDEN TESTS`` … ``### END HIDDEN
TESTS``, each on a line of its own. A mark that is nearly right would publish a solution, so
whatever looks like one and is none is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mograder.notebook.cells import Cell, NotebookText, parse_cells, split_lines
from mograder.notebook.findings import Finding, refuse


class BlockKind(StrEnum):
    """What a block hides."""

    SOLUTION = "SOLUTION"
    HIDDEN = "HIDDEN TESTS"


@dataclass(frozen=True, slots=True)
class Block:
    """One block: the lines (from 1) of its two marks."""

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
_NEARLY = re.compile(
    r"(?:##+\s*(?i:(?P<word>BEGIN|START|END|STOP)[\s_-]*(?P<what>SOLUTIONS?|HIDDEN[\s_-]*TESTS?))"
    r"|#\s*(?P<Word>BEGIN|END)[ _-](?P<What>SOLUTION|HIDDEN[ _-]TESTS))\b.*"
)
"""Two marks and more in any spelling, or a single one in capitals: that is no remark."""


def find_blocks(text: str, filename: str) -> tuple[Block, ...]:
    """Return the blocks of a notebook, in order.

    Raises:
        InvalidInput: Marks are nested, crossed, unmatched, unclosed, misspelt, or outside of a
            cell; one line ``file:line: message`` for each mistake. Or it is no notebook.
    """
    lines = split_lines(text)
    marks = list(_marks(lines))
    findings = list(_misspelt(lines, filename))
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


def _misspelt(lines: tuple[str, ...], filename: str) -> Iterator[Finding]:
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if stripped in _MARKS or not _NEARLY.fullmatch(stripped):
            continue
        hint = f"Write exactly {_meant(stripped)!r}, on a line of its own."
        yield Finding(filename, number, f"{stripped[:60]!r} is not a marker.", hint)


def _meant(stripped: str) -> str:
    found = _NEARLY.fullmatch(stripped)
    groups = {} if found is None else found.groupdict()
    word, what = groups.get("word") or groups["Word"], groups.get("what") or groups["What"]
    begins = word.upper() in ("BEGIN", "START")
    kind = BlockKind.SOLUTION if what.upper().startswith("SOL") else BlockKind.HIDDEN
    return str(_Mark(0, begins, kind))


def _pair(marks: list[_Mark], filename: str, findings: list[Finding]) -> Iterator[Block]:
    """Yield the blocks; what does not fit goes to the findings."""
    opened: _Mark | None = None
    for mark in marks:
        if mark.begins:
            if opened is not None:
                nested = f"{str(mark)!r} inside the {opened.kind} block of line {opened.line}."
                findings.append(Finding(filename, mark.line, nested, "Close that one first."))
            opened = mark
        elif opened is None:
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
    if opened is not None:
        unclosed = f"{str(opened)!r} is never closed."
        hint = f"End it with '### END {opened.kind}'."
        findings.append(Finding(filename, opened.line, unclosed, hint))


def _misplaced(blocks: list[Block], notebook: NotebookText, filename: str) -> Iterator[Finding]:
    for block in blocks:
        begun, ended = notebook.cell_at(block.begin), notebook.cell_at(block.end)
        if begun is None or not _inside(begun, block.begin):
            message = f"the {block.kind} block begins outside of a cell."
            yield Finding(filename, block.begin, message, "Put it into the cell's code.")
        elif begun is not ended:
            message = f"the {block.kind} block of line {block.begin} ends in another cell."
            yield Finding(filename, block.end, message, "Give each cell a block of its own.")
        elif begun.return_first and block.end > begun.return_first:
            message = f"the {block.kind} block holds the cell's own return line."
            yield Finding(filename, block.end, message, "End the block before it.")


def _inside(cell: Cell, line: int) -> bool:
    return cell.body_first <= line <= cell.last

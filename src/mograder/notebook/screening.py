"""What the scan for denied code says of a whole notebook: a student's, or the source of theirs.

A released notebook may hold what students should not write, such as the form that hands in and
asks the environment (compat.md 7). So the cells that are as released are nobody's fault, and an
author is told beforehand where an answer needs what students will be refused for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mograder.core.errors import InvalidInput
from mograder.core.settings_model import SafetySettings
from mograder.notebook.cells import Cell, CellKind, parse_cells
from mograder.notebook.findings import Finding
from mograder.notebook.hashes import cell_hash, is_editable
from mograder.notebook.markers import BlockKind, find_blocks
from mograder.notebook.safety import DEFAULT_DENIED, UNCHECKED, Denied, scan

_OBJECTION = "students may be refused for an answer like this one ({})."
_HINT = "Allow it in [safety] of mograder.toml, or let the answer do without."


@dataclass(frozen=True, slots=True)
class Screening:
    """What was found: code that the course ``denied``, and what could not be read at all.

    The second is no offence: students hand in work that is half done.
    """

    denied: tuple[Finding, ...] = ()
    unchecked: tuple[Finding, ...] = ()

    @property
    def unsafe(self) -> str:
        """0.3.16's sentence for a refused upload (compat.md 2.3), with lines; empty if none."""
        told = "; ".join(f"{each.message} (line {each.line})" for each in self.denied)
        return f"Unsafe code: {told}" if told else ""


def denied_by(settings: SafetySettings) -> Denied:
    """Return what a course denies: what we always do, less what it allows, and what it adds."""
    return Denied(
        imports=DEFAULT_DENIED.imports.difference(settings.allow_imports)
        | frozenset(settings.deny_imports),
        calls=DEFAULT_DENIED.calls.difference(settings.allow_calls)
        | frozenset(settings.deny_calls),
    )


def screen_submission(
    text: str, filename: str, *, release: str | None, denied: Denied = DEFAULT_DENIED
) -> Screening:
    """Scan a student's notebook, but for the cells that stand in its release word by word.

    Without a release everything is scanned: what the student's own header says of its cells is
    the student's word.
    """
    findings = scan(text, filename, denied)
    if findings and release is not None:
        own = _released_lines(text, release, filename)
        findings = tuple(each for each in findings if each.line not in own)
    unchecked = tuple(each for each in findings if each.message.startswith(UNCHECKED))
    return Screening(tuple(each for each in findings if each not in unchecked), unchecked)


def screen_source(text: str, filename: str, denied: Denied = DEFAULT_DENIED) -> tuple[Finding, ...]:
    """Tell an author which answers of a source need what students are denied."""
    try:
        findings = scan(text, filename, denied)
        if not findings:
            return ()
        blocks = find_blocks(text, filename)
        solved = {b.begin for b in blocks if b.kind is BlockKind.SOLUTION}
        cells = parse_cells(text, filename).cells
    except InvalidInput:
        return ()  # told by whoever makes the release of it
    theirs = [c for c in cells if is_editable(c) or solved.intersection(range(c.first, c.last + 1))]
    lines = frozenset(n for cell in theirs for n in range(cell.first, cell.last + 1))
    hidden = [b for b in blocks if b.kind is BlockKind.HIDDEN]
    lines -= {n for block in hidden for n in range(block.begin, block.end + 1)}
    told = (each for each in findings if each.line in lines)
    return tuple(
        replace(each, message=_OBJECTION.format(each.message), hint=_HINT) for each in told
    )


def _released_lines(text: str, release: str, filename: str) -> frozenset[int]:
    """Return the lines of a notebook that hold the code of its release's own cells."""
    try:
        cells = parse_cells(text, filename).cells
        released = parse_cells(release, filename).cells
    except InvalidInput:
        return frozenset()
    known = {cell_hash(cell.code) for cell in released}
    same = (cell for cell in cells if cell_hash(cell.code) in known)
    return frozenset(n for cell in same for n in _code_lines(cell))


def _code_lines(cell: Cell) -> Iterable[int]:
    """The lines that the code itself fills: decorators and default values are in no hash."""
    if cell.kind is CellKind.CELL and cell.code_first < cell.body_first:
        return ()
    return range(cell.code_first, cell.code_first + len(cell.code.splitlines()))

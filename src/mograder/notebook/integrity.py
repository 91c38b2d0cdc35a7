"""Whether a student's notebook still is the one that was released, but for the answers.

With the release at hand its cells are compared by what they check; without it, by the hashes
that the release carries in its header (compat.md 7). What a student changed in a check is never
run: :attr:`IntegrityReport.restored` has the checks and marks as they were released.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mograder.notebook.cells import Cell, LineEdit, NotebookText, parse_cells, replace_lines
from mograder.notebook.findings import Finding
from mograder.notebook.hashes import cell_hash, is_editable
from mograder.notebook.header import read_key
from mograder.notebook.marks import checks_in, is_marks_cell

_MARKS_LABEL = "the marks"
_HASHES = "mograder-cell-hashes"


class Level(StrEnum):
    """What the notebook was compared with."""

    SOURCE = "source"
    """The release itself."""
    HASH = "hash"
    """The hashes in the notebook's own header, which its owner could have changed as well."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """What was found; ``restored`` is the text to run, None when that is the text itself."""

    level: Level
    findings: tuple[Finding, ...]
    restored: str | None = None


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A cell that is not the student's to change, by the labels of its checks."""

    labels: tuple[str, ...]
    cell: Cell
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """What to call it."""
        return self.labels[0]


def check_integrity(student: str, release: str | None, filename: str) -> IntegrityReport:
    """Compare a student's notebook with its release, or with its own hashes if there is none.

    Raises:
        InvalidInput: The student's text is no notebook.
    """
    if release is None:
        return _by_hashes(student, filename)
    return _by_release(parse_cells(student, filename), parse_cells(release, filename), filename)


def _by_hashes(text: str, filename: str) -> IntegrityReport:
    stated = read_key(text, _HASHES)
    if not stated:
        return IntegrityReport(Level.NONE, ())
    notebook = parse_cells(text, filename)
    expected = stated.split(",")
    cells = [cell for cell in notebook.cells if not is_editable(cell)]
    there = Counter(cell_hash(cell.code) for cell in cells)
    missing = Counter(expected) - there
    if not missing:
        return IntegrityReport(Level.HASH, ())
    strange = Counter(cell_hash(cell.code) for cell in cells) - Counter(expected)
    findings: list[Finding] = []
    for cell in cells:
        if strange[cell_hash(cell.code)] and sum(missing.values()) > len(findings):
            message = "this cell is not as it was released."
            findings.append(Finding(filename, cell.first, message))
    lost = sum(missing.values()) - len(findings)
    if lost > 0:
        cells_are = "1 cell of the release is" if lost == 1 else f"{lost} cells of the release are"
        findings.append(Finding(filename, 1, f"{cells_are} not there any more."))
    return IntegrityReport(Level.HASH, tuple(findings))


def _by_release(student: NotebookText, release: NotebookText, filename: str) -> IntegrityReport:
    released = list(_guarded(release))
    pairs, others = _match(list(_guarded(student)), released)
    findings: list[Finding] = []
    edits: list[LineEdit] = []
    for theirs, ours in pairs:
        if not _same(theirs, ours):
            message = f"the cell for {ours.name!r} was changed; it runs as it was released."
            findings.append(Finding(filename, theirs.cell.first, message))
            edits.append(LineEdit(theirs.cell.first, theirs.cell.last, ours.lines))
    for foreign in others:
        copied = any(_same(foreign, ours) for ours in released)
        what = "there already" if copied else "not in the release"
        message = f"this check of {foreign.name!r} is {what}, and does not count."
        findings.append(Finding(filename, foreign.cell.first, message))
        if copied:  # what it defines would be defined twice
            edits.append(LineEdit(foreign.cell.first, foreign.cell.last))
    found = {id(ours) for _, ours in pairs}
    lost = [ours for ours in released if id(ours) not in found]
    for ours in lost:
        message = f"the cell for {ours.name!r} is gone; it runs as it was released."
        findings.append(Finding(filename, 1, message))
    findings += _moved(pairs, released, filename)
    restored = _restored(student, edits, lost) if edits or lost else None
    return IntegrityReport(Level.SOURCE, tuple(sorted(findings)), restored)


def _guarded(notebook: NotebookText) -> Iterator[_Guarded]:
    """Yield the cell of the marks, and those with checks."""
    labels: dict[int, list[str]] = {}
    for check in checks_in(notebook):
        labels.setdefault(check.cell.index, []).append(check.label)
    for cell in notebook.cells:
        known = [_MARKS_LABEL] if is_marks_cell(cell) else labels.get(cell.index, [])
        if known:
            lines = (line.rstrip("\r\n") for line in notebook.lines[cell.first - 1 : cell.last])
            yield _Guarded(tuple(known), cell, tuple(lines))


def _match(
    student: list[_Guarded], released: list[_Guarded]
) -> tuple[list[tuple[_Guarded, _Guarded]], list[_Guarded]]:
    """Say which cell is which, as it is first, by a common label then; and which are none."""
    pairs: list[tuple[_Guarded, _Guarded]] = []
    free = list(released)
    left = list(student)
    for alike in (_same, _akin):
        for theirs in tuple(left):
            ours = next((each for each in free if alike(theirs, each)), None)
            if ours is not None:
                pairs.append((theirs, ours))
                free.remove(ours)
                left.remove(theirs)
    pairs.sort(key=lambda pair: pair[0].cell.index)
    return pairs, left


def _same(theirs: _Guarded, ours: _Guarded) -> bool:
    return theirs.cell.code.strip() == ours.cell.code.strip()


def _akin(theirs: _Guarded, ours: _Guarded) -> bool:
    return not set(theirs.labels).isdisjoint(ours.labels)


def _moved(
    pairs: Sequence[tuple[_Guarded, _Guarded]], released: Sequence[_Guarded], filename: str
) -> Iterator[Finding]:
    """Tell of checks that stand in another order: marimo does not mind, a reader may."""
    latest = -1
    for theirs, ours in pairs:
        place = next(n for n, each in enumerate(released) if each is ours)
        if place < latest:
            yield Finding(filename, theirs.cell.first, f"the cell for {ours.name!r} was moved.")
        latest = max(latest, place)


def _restored(student: NotebookText, edits: Sequence[LineEdit], lost: Sequence[_Guarded]) -> str:
    """Return the text with the released cells; lost ones come before the last cell."""
    before = student.cells[-1].first if student.cells else len(student.lines) + 1
    added = [line for guarded in lost for line in (*guarded.lines, "", "")]
    replaced = any(edit.first <= before <= edit.last for edit in edits)
    if not added:
        return replace_lines(student.lines, edits)
    if not replaced:
        return replace_lines(student.lines, [*edits, LineEdit(before, before - 1, tuple(added))])
    merged = [
        LineEdit(e.first, e.last, (*added, *e.lines)) if e.first <= before <= e.last else e
        for e in edits
    ]
    return replace_lines(student.lines, merged)

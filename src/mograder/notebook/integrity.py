"""The integrity check: differences between a student's notebook and its release, except answers.

With the release, check cells are matched by label and other cells by hash; without it, all cells
are matched by the hashes in the notebook's own header (compatibility-0.3.16.md 7). A changed check,
a changed marks cell and a changed import of the checks are never run:
:attr:`IntegrityReport.restored` is the text with the released cells, and
:attr:`IntegrityReport.counted` names the cells whose checks count.

Answer cells have new hashes in every copy, so an unknown hash alone is not reported. Reported are
places where released cells are missing, with the cells found there instead.

The check reads the code and does not run it. It does not find an answer that replaces the runtime's
functions (``mograder.runtime.check.__code__ = …``), writes to the report, or reads the values that
a check compares with, nor changes to a check in the same cell as an answer, which students may
edit. A check under another name (``c = check; c("Q1", …)``) is not recognised, and does not count
because its cell does not. Without the release, a student who changes a check can change the header
too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from functools import partial

from mograder.notebook.cells import (
    Cell,
    CellKind,
    LineEdit,
    NotebookText,
    guard_line,
    parse_cells,
    replace_lines,
    strays,
)
from mograder.notebook.findings import Finding
from mograder.notebook.header_edit import read_key
from mograder.notebook.points import (
    CHECKERS,
    SOURCE_LABEL,
    GuardedCell,
    cell_hash,
    cell_labels,
    guarded_cells,
    is_editable,
    is_marks_cell,
    labels_in,
    only_imports_more,
    plain_code,
    text_call,
)

_ASSIGNMENT = "mograder-assignment"
_HASHES = "mograder-cell-hashes"
_SHOWN = 60

_MOST_COMPARED = 100_000
"""Largest number of hash pairs to align: students control the length of the header's list."""

CHANGED = "this cell is not as it was released."
MOVED = "this cell was moved."
TWICE = "this cell of the release stands here once more."


class Level(StrEnum):
    """The reference that a notebook was compared with."""

    SOURCE = "source"
    """The release itself."""
    HASH = "hash"
    """The hashes in the notebook's own header, which students could have changed too."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """The result of an integrity check.

    ``restored`` is the text to run, None if the student's text can run unchanged. ``counted`` holds
    the indexes of the cells in that text whose checks count; None without the release.
    """

    level: Level
    findings: tuple[Finding, ...]
    restored: str | None = None
    counted: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class _Gap:
    """Hashes of released cells that are missing, and the cells found in their place.

    ``line`` is the gap's line, from 1. ``exact`` is false if there were too many cells to align.
    """

    missing: tuple[str, ...]
    instead: tuple[Cell, ...]
    line: int
    exact: bool = True


def check_integrity(student: str, release: str | None, filename: str) -> IntegrityReport:
    """Compare a student's notebook with its release, or without one with its own hashes.

    Raises: InvalidInput if the student's text, or the release, is not a notebook.
    """
    notebook = parse_cells(student, filename)
    if release is not None:
        return _by_release(notebook, parse_cells(release, filename), filename)
    stated = read_key(student, _HASHES)
    if not stated:
        return IntegrityReport(Level.NONE, ())
    expected = [each.strip() for each in stated.split(",")]
    findings = [*compare(expected, notebook.cells, filename), *strays(notebook, filename)]
    return IntegrityReport(Level.HASH, tuple(sorted(findings)))


def describe_tampering(own: NotebookText, released: NotebookText) -> tuple[str, ...]:
    """Return what a notebook has changed of its release, in 0.3.16's words for graders.

    They are ``check(Q1)`` for each question with changed, missing or additional check cells,
    ``marks``, and ``cell: modified: …`` or ``cell: missing: …`` with the first line of another
    released cell (compatibility-0.3.16.md 9). Answers, and imports that were added, are no changes.
    A notebook whose header names another assignment was handed in by mistake, and is told first.
    :func:`check_integrity` reports to students, by cell.
    """
    theirs = list(guarded_cells(own, released))
    fixed = [each for each in guarded_cells(released) if not is_editable(each.cell)]
    pairs = _match(theirs, fixed)
    paired = {each.cell.index for each, _ in pairs}
    kept = {id(ours) for _, ours in pairs}
    changed = [
        (ours, "modified")
        for each, ours in pairs
        if not (_same(each, ours) or only_imports_more(each, ours))
    ]
    changed += [(ours, "missing") for ours in fixed if id(ours) not in kept]
    changed += [(each, "added") for each in _foreign(theirs, paired, released)]
    found: set[str] = set()
    for each, how in changed:
        if is_marks_cell(each.cell):
            found.add("marks")
        elif each.keys:
            found |= {f"check({key})" for key in each.keys}
        else:
            found.add(f"cell: {how}: {first_line(each.cell)}")
    made, asked = (read_key(each.text, _ASSIGNMENT) for each in (own, released))
    if made and asked and made != asked:
        found.add(f"a notebook of {made[:_SHOWN]}")
    return tuple(sorted(found, key=lambda word: (word.startswith("cell:"), word)))


def first_line(cell: Cell) -> str:
    """Return the first line of a cell's code that is not empty, shortened, for messages."""
    lines = (line.strip() for line in cell.code.splitlines())
    return next(filter(None, lines), "")[:_SHOWN]


def _by_release(student: NotebookText, release: NotebookText, filename: str) -> IntegrityReport:
    guarded = [each for each in guarded_cells(release) if not is_editable(each.cell)]
    released = [each for each in guarded if each.labels]
    theirs = list(guarded_cells(student, release))
    pairs = _match(theirs, released)
    findings: list[Finding] = []
    edits: list[LineEdit] = []
    for own, ours in pairs:
        same = _same(own, ours)
        changed = not (same or only_imports_more(own, ours))
        if changed:
            message = f"the cell for {ours.name!r} was changed; it runs as it was released."
            findings.append(Finding(filename, own.cell.first, message))
        # What marimo's saves change in a text of a check is no change, but it runs as released.
        if changed or (same and own.cell.code.strip() != ours.cell.code.strip()):
            edits.append(LineEdit(own.cell.first, own.cell.last, ours.lines))
    paired = {own.cell.index for own, _ in pairs}
    for foreign in _foreign(theirs, paired, release):
        copied = any(_same(foreign, ours) for ours in released)
        what = "there already" if copied else "not in the release"
        message = f"this check of {foreign.name!r} is {what}, and does not count."
        findings.append(Finding(filename, foreign.cell.first, message))
        if copied or is_marks_cell(foreign.cell):  # its names would be defined twice
            edits.append(LineEdit(foreign.cell.first, foreign.cell.last))
    found = {id(ours) for _, ours in pairs}
    lost = [ours for ours in released if id(ours) not in found]
    for ours in lost:
        message = f"the cell for {ours.name!r} is gone; it runs as it was released."
        findings.append(Finding(filename, 1, message))
    findings += _moved(pairs, released, filename)
    # Released cells without checks are not restored.
    fixed = [cell_hash(plain_code(each.cell.code)) for each in guarded if not each.labels]
    free = (cell for cell in student.cells if cell.index not in paired)
    findings += compare(fixed, [c for c in free if not any(labels_in(c.code))], filename)
    findings += strays(student, filename)
    restored = _restored(student, edits, lost) if edits or lost else None
    to_run = student if restored is None else parse_cells(restored, filename)
    counted = _counted(to_run, release)
    return IntegrityReport(Level.SOURCE, tuple(sorted(findings)), restored, counted)


def _match(
    theirs: list[GuardedCell], released: list[GuardedCell]
) -> list[tuple[GuardedCell, GuardedCell]]:
    """Pair cells with released ones: identical first, then by label, question and bound names."""
    pairs: list[tuple[GuardedCell, GuardedCell]] = []
    free = list(released)
    left = list(theirs)
    for alike in _LIKENESSES:
        for ours in tuple(free):
            own = next((each for each in left if alike(each, ours)), None)
            if own is not None:
                pairs.append((own, ours))
                free.remove(ours)
                left.remove(own)
    pairs.sort(key=lambda pair: pair[0].cell.index)
    return pairs


def _same(own: GuardedCell, ours: GuardedCell) -> bool:
    kinds = {own.cell.kind, ours.cell.kind}
    apart = {CellKind.SETUP}
    if text_call(ours.cell.code) is None:  # marimo saves a text as unparsable if it spoils it
        apart.add(CellKind.UNPARSABLE)
    if len(kinds) > 1 and kinds & apart:
        return False  # marimo saves a cell of one function as such
    return plain_code(own.cell.code) == plain_code(ours.cell.code)


def _of_one_name(own: GuardedCell, ours: GuardedCell) -> bool:
    if own.cell.kind is CellKind.SETUP and ours.cell.kind is CellKind.SETUP:
        return True
    shared = own.names & ours.names
    return bool(shared & CHECKERS) or 2 * len(shared) > len(ours.names)


_LIKENESSES: tuple[Callable[[GuardedCell, GuardedCell], bool], ...] = (
    _same,
    lambda own, ours: not set(own.labels).isdisjoint(ours.labels),
    lambda own, ours: not own.keys.isdisjoint(ours.keys),
    _of_one_name,
)


def _foreign(
    theirs: Sequence[GuardedCell], paired: set[int], release: NotebookText
) -> Iterator[GuardedCell]:
    """Yield unpaired cells with checks or marks, except checks of the release's editable cells."""
    open_labels = _open_labels(release)
    for own in theirs:
        labels = set(own.labels) - {SOURCE_LABEL}
        if own.cell.index not in paired and labels and not labels <= open_labels:
            yield own


def _open_labels(release: NotebookText) -> frozenset[str]:
    """Return the labels of the checks in the release's editable cells."""
    return frozenset[str]().union(*map(cell_labels, filter(is_editable, release.cells)))


def _moved(
    pairs: Sequence[tuple[GuardedCell, GuardedCell]], released: Sequence[GuardedCell], filename: str
) -> Iterator[Finding]:
    """Yield findings for check cells in another order, which marimo ignores."""
    places = {id(each): place for place, each in enumerate(released)}
    latest = -1
    for own, ours in pairs:
        if places[id(ours)] < latest:
            yield Finding(filename, own.cell.first, f"the cell for {ours.name!r} was moved.")
        latest = max(latest, places[id(ours)])


def _restored(student: NotebookText, edits: Sequence[LineEdit], lost: Sequence[GuardedCell]) -> str:
    """Return the text with the released cells; missing ones are put before the last cell."""
    start = student.cells[0].first if student.cells else guard_line(student)
    end = student.cells[-1].first if student.cells else start
    if student.cells and student.cells[-1].kind is CellKind.SETUP:
        end = student.cells[-1].last + 1
    added: dict[int, list[str]] = {}
    for guarded in lost:  # a setup cell must be the first cell
        place = start if guarded.cell.kind is CellKind.SETUP else end
        added.setdefault(place, []).extend((*guarded.lines, "", ""))
    merged = [
        LineEdit(edit.first, edit.last, (*added.pop(edit.first, ()), *edit.lines)) for edit in edits
    ]
    merged += (LineEdit(place, place - 1, tuple(lines)) for place, lines in added.items())
    return replace_lines(student.lines, merged)


def _counted(notebook: NotebookText, release: NotebookText) -> frozenset[int]:
    """Return the indexes of cells that are unchanged, or have only labels of editable cells."""
    codes = {cell.code.strip() for cell in release.cells if not is_editable(cell)}
    open_labels = _open_labels(release)
    return frozenset(
        cell.index
        for cell in notebook.cells
        if cell.code.strip() in codes
        or ((own := cell_labels(cell)) and open_labels.issuperset(own))
    )


def compare(expected: Sequence[str], cells: Sequence[Cell], filename: str) -> list[Finding]:
    """Return findings about released cells that were changed, moved or removed.

    ``expected`` holds the hashes of the released fixed cells (of their code as it is, or in one
    form), ``cells`` all cells of the student, both in order. Editable and added cells are not
    reported.
    """
    fixed = [cell for cell in cells if not is_editable(cell)]
    released = Counter(expected)
    hash_of = partial(_hash, released)
    hashes = list(map(hash_of, fixed))
    missing = released - Counter(hashes)
    strange = Counter(hashes) - released
    findings: list[Finding] = []
    for gap in _gaps(expected, fixed, hashes):
        taken = missing & Counter(gap.missing)
        missing -= taken
        gone = taken.total()
        new = [cell for cell in gap.instead if not released[hash_of(cell)]]
        # Hidden cells, and those with checks or marks, do not look like answers.
        looks = (cell for cell in new if cell.hidden or _is_check(cell))
        changed = sorted(looks, key=_is_check, reverse=True)[:gone]
        findings += (Finding(filename, cell.first, CHANGED) for cell in changed)
        if (lost := gone - len(changed)) > 0:
            cells_are = "1 cell of the release was"
            if lost > 1:
                cells_are = f"{lost} cells of the release were"
            message = f"{cells_are} changed or taken out near here."
            findings.append(Finding(filename, gap.line, message))
        known = (cell for cell in gap.instead if gap.exact and released[hash_of(cell)])
        for cell in known:
            what = TWICE if strange[hash_of(cell)] else MOVED
            findings.append(Finding(filename, cell.first, what))
    return sorted(findings)


def _hash(released: Container[str], cell: Cell) -> str:
    """Return the hash of a cell as it is if that is released, else of its code in one form."""
    found = cell_hash(cell.code)
    return found if found in released else cell_hash(plain_code(cell.code))


def _gaps(expected: Sequence[str], fixed: Sequence[Cell], hashes: Sequence[str]) -> Iterator[_Gap]:
    if len(expected) * len(hashes) > _MOST_COMPARED:
        yield _Gap(tuple(expected), tuple(fixed), 1, exact=False)
        return
    matcher = SequenceMatcher(None, expected, hashes, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != "equal":
            line = fixed[min(j1, len(fixed) - 1)].first if fixed else 1
            yield _Gap(tuple(expected[i1:i2]), tuple(fixed[j1:j2]), line)


def _is_check(cell: Cell) -> bool:
    return is_marks_cell(cell) or any(True for _ in labels_in(cell.code))

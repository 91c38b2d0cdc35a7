"""Whether a student's notebook still is the one that was released, but for the answers.

With the release at hand, cells are compared by what they check, and the rest by fingerprint;
without it, all by the fingerprints in the notebook's own header (compat.md 7). What a student
changed in a check, in the marks or in what brings the checks is never run:
:attr:`IntegrityReport.restored` has it as it was released, and :attr:`IntegrityReport.counted`
says which cells' checks are the teacher's.

What integrity cannot know, because it reads and does not run: an answer that replaces the
runtime's functions from within (``mograder.runtime.check.__code__ = …``), that writes to the
report, or that reads what a check compares with; and a check in the same cell as an answer, which
is the student's to change. Another name for a check (``c = check; c("Q1", …)``) is not seen as a
check, and its result does not count, because its cell is not among those counted. Without the
release, whoever changes a check can change the header as well.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mograder.notebook.alignment import compare
from mograder.notebook.cells import (
    Cell,
    CellKind,
    LineEdit,
    NotebookText,
    parse_cells,
    parse_python,
    replace_lines,
)
from mograder.notebook.findings import Finding
from mograder.notebook.hashes import cell_hash, is_editable
from mograder.notebook.header import read_key
from mograder.notebook.marks import is_marks_cell, key_of, labels_in
from mograder.notebook.scopes import bound_names
from mograder.notebook.strays import strays

_MARKS_LABEL = "the marks"
_SOURCE_LABEL = "the import of the checks"
_HASHES = "mograder-cell-hashes"
_RUNTIME = "mograder"
_CHECKERS = frozenset(("check", "grader", "Grader"))


class Level(StrEnum):
    """What the notebook was compared with."""

    SOURCE = "source"
    """The release itself."""
    HASH = "hash"
    """The hashes in the notebook's own header, which its owner could have changed as well."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """What was found.

    ``restored`` is the text to run, None when that is the text itself. ``counted`` are the
    indexes of the cells in that text whose checks count; None when nobody can tell.
    """

    level: Level
    findings: tuple[Finding, ...]
    restored: str | None = None
    counted: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Tampering:
    """The questions whose checks were changed, removed or doubled, sorted; and the marks."""

    checks: tuple[str, ...]
    marks: bool


UNTOUCHED = Tampering((), marks=False)
"""All is as it was handed out, or nobody can compare it."""


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A cell that is not the student's to change, by the labels of its checks."""

    labels: tuple[str, ...]
    cell: Cell
    lines: tuple[str, ...]
    names: frozenset[str]

    @property
    def name(self) -> str:
        """What to call it."""
        return self.labels[0] if self.labels else "no check"

    @property
    def keys(self) -> frozenset[str]:
        """The questions of its checks."""
        return frozenset(map(key_of, self.labels))


def check_integrity(student: str, release: str | None, filename: str) -> IntegrityReport:
    """Compare a student's notebook with its release, or with its own hashes if there is none.

    Raises:
        InvalidInput: The student's text, or the release, is no notebook.
    """
    if release is None:
        return _by_hashes(student, filename)
    return _by_release(parse_cells(student, filename), parse_cells(release, filename), filename)


def find_tampering(student: str, release: str, filename: str) -> Tampering:
    """Compare the check cells of a notebook with those of its release, by their code.

    For graders: by question, and whether the marks were touched (compat.md 2.3, submit). What a
    validation tells its student, cell by cell, is :func:`check_integrity`.

    Raises:
        InvalidInput: One of the texts is no notebook.
    """
    own, released = parse_cells(student, filename), parse_cells(release, filename)
    ours, theirs = _check_codes(released), _check_codes(own)
    differing = [*(theirs - ours), *(ours - theirs)]
    keys = {key_of(label) for code in differing for label, _ in labels_in(code)}
    return Tampering(tuple(sorted(keys)), _mark_codes(own) != _mark_codes(released))


def _by_hashes(text: str, filename: str) -> IntegrityReport:
    notebook = parse_cells(text, filename)
    stated = read_key(text, _HASHES)
    if not stated:
        return IntegrityReport(Level.NONE, ())
    expected = [each.strip() for each in stated.split(",")]
    findings = [*compare(expected, notebook.cells, filename), *strays(notebook, filename)]
    return IntegrityReport(Level.HASH, tuple(sorted(findings)))


def _by_release(student: NotebookText, release: NotebookText, filename: str) -> IntegrityReport:
    released = [each for each in _known(release) if each.labels and not is_editable(each.cell)]
    theirs = list(_known(student))
    pairs = _match(theirs, released)
    findings: list[Finding] = []
    edits: list[LineEdit] = []
    for own, ours in pairs:
        if not _same(own, ours) and not _only_imports_more(own, ours):
            message = f"the cell for {ours.name!r} was changed; it runs as it was released."
            findings.append(Finding(filename, own.cell.first, message))
            edits.append(LineEdit(own.cell.first, own.cell.last, ours.lines))
    paired = {own.cell.index for own, _ in pairs}
    for foreign in _foreign(theirs, paired, release):
        copied = any(_same(foreign, ours) for ours in released)
        what = "there already" if copied else "not in the release"
        message = f"this check of {foreign.name!r} is {what}, and does not count."
        findings.append(Finding(filename, foreign.cell.first, message))
        if copied or is_marks_cell(foreign.cell):  # what it defines would be defined twice
            edits.append(LineEdit(foreign.cell.first, foreign.cell.last))
    found = {id(ours) for _, ours in pairs}
    lost = [ours for ours in released if id(ours) not in found]
    for ours in lost:
        message = f"the cell for {ours.name!r} is gone; it runs as it was released."
        findings.append(Finding(filename, 1, message))
    findings += _moved(pairs, released, filename)
    findings += _others(student, release, paired, filename)
    findings += strays(student, filename)
    restored = _restored(student, edits, lost) if edits or lost else None
    to_run = student if restored is None else parse_cells(restored, filename)
    counted = _counted(to_run, release)
    return IntegrityReport(Level.SOURCE, tuple(sorted(findings)), restored, counted)


def _known(notebook: NotebookText) -> Iterator[_Guarded]:
    """Yield all cells, with the labels of what they check; no labels for all that check nothing."""
    for cell in notebook.cells:
        tree = parse_python(cell.code)
        labels = tuple(label for label, _ in labels_in(cell.code))
        names = frozenset() if tree is None else bound_names(tree.body)
        nodes = () if tree is None else ast.walk(tree)
        if not names.isdisjoint(_CHECKERS) or any(map(_imports_runtime, nodes)):
            labels = (*labels, _SOURCE_LABEL)
        if is_marks_cell(cell):
            labels = (_MARKS_LABEL, *labels)
        lines = (line.rstrip("\r\n") for line in notebook.lines[cell.first - 1 : cell.last])
        public = frozenset(name for name in names if not name.startswith("_"))
        yield _Guarded(labels, cell, tuple(lines), public)


def _imports_runtime(node: ast.AST) -> bool:
    match node:
        case ast.ImportFrom(module=str(module)):
            return module.split(".")[0] == _RUNTIME
        case ast.Import():
            return any(alias.name.split(".")[0] == _RUNTIME for alias in node.names)
    return False


def _only_imports_more(own: _Guarded, ours: _Guarded) -> bool:
    """Whether a student only added imports to the cell where others stand, as people do."""
    alike = own.cell.kind is ours.cell.kind and is_marks_cell(own.cell) == is_marks_cell(ours.cell)
    if not alike or any(labels_in(own.cell.code)):
        return False
    theirs, released = parse_python(own.cell.code), parse_python(ours.cell.code)
    if theirs is None or released is None:
        return False
    expected = [ast.dump(node) for node in released.body]
    taken = ours.names | {"*"}
    for node in theirs.body:
        if expected and ast.dump(node) == expected[0]:
            expected.pop(0)
            continue
        imports = isinstance(node, ast.Import | ast.ImportFrom) and not _imports_runtime(node)
        if not imports or not bound_names([node]).isdisjoint(taken):
            return False
    return not expected


def _match(theirs: list[_Guarded], released: list[_Guarded]) -> list[tuple[_Guarded, _Guarded]]:
    """Say which cell is which: as it is first, then by label, question, and what it defines."""
    pairs: list[tuple[_Guarded, _Guarded]] = []
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


def _same(own: _Guarded, ours: _Guarded) -> bool:
    return own.cell.kind is ours.cell.kind and own.cell.code.strip() == ours.cell.code.strip()


def _of_one_label(own: _Guarded, ours: _Guarded) -> bool:
    return not set(own.labels).isdisjoint(ours.labels)


def _of_one_question(own: _Guarded, ours: _Guarded) -> bool:
    return not own.keys.isdisjoint(ours.keys)


def _of_one_name(own: _Guarded, ours: _Guarded) -> bool:
    if own.cell.kind is CellKind.SETUP and ours.cell.kind is CellKind.SETUP:
        return True
    shared = own.names & ours.names
    return bool(shared & _CHECKERS) or 2 * len(shared) > len(ours.names)


_LIKENESSES: tuple[Callable[[_Guarded, _Guarded], bool], ...] = (
    _same,
    _of_one_label,
    _of_one_question,
    _of_one_name,
)


def _foreign(
    theirs: Sequence[_Guarded], paired: set[int], release: NotebookText
) -> Iterator[_Guarded]:
    """Yield the cells with checks that no released cell answers for."""
    open_labels = _open_labels(release)
    for own in theirs:
        labels = set(own.labels) - {_SOURCE_LABEL}
        if own.cell.index not in paired and labels and not labels <= open_labels:
            yield own


def _open_labels(release: NotebookText) -> frozenset[str]:
    """Return the labels of checks that stand in one cell with an answer."""
    return frozenset[str]().union(*(_labels(each) for each in release.cells if is_editable(each)))


def _labels(cell: Cell) -> frozenset[str]:
    return frozenset(label for label, _ in labels_in(cell.code))


def _moved(
    pairs: Sequence[tuple[_Guarded, _Guarded]], released: Sequence[_Guarded], filename: str
) -> Iterator[Finding]:
    """Tell of checks that stand in another order: marimo does not mind, a reader may."""
    places = {id(each): place for place, each in enumerate(released)}
    latest = -1
    for own, ours in pairs:
        if places[id(ours)] < latest:
            yield Finding(filename, own.cell.first, f"the cell for {ours.name!r} was moved.")
        latest = max(latest, places[id(ours)])


def _others(
    student: NotebookText, release: NotebookText, paired: set[int], filename: str
) -> list[Finding]:
    """Tell what became of the released cells without checks; they are not put back."""
    known = [each for each in _known(release) if not each.labels]
    expected = [cell_hash(each.cell.code) for each in known if not is_editable(each.cell)]
    free = (cell for cell in student.cells if cell.index not in paired)
    return compare(expected, [c for c in free if not any(labels_in(c.code))], filename)


def _restored(student: NotebookText, edits: Sequence[LineEdit], lost: Sequence[_Guarded]) -> str:
    """Return the text with the released cells; lost ones come before the last cell."""
    start = student.cells[0].first if student.cells else _guard_line(student)
    end = student.cells[-1].first if student.cells else start
    added: dict[int, list[str]] = {}
    for guarded in lost:  # a setup cell is one only where it comes first
        place = start if guarded.cell.kind is CellKind.SETUP else end
        added.setdefault(place, []).extend((*guarded.lines, "", ""))
    merged = [
        LineEdit(edit.first, edit.last, (*added.pop(edit.first, ()), *edit.lines)) for edit in edits
    ]
    merged += (LineEdit(place, place - 1, tuple(lines)) for place, lines in added.items())
    return replace_lines(student.lines, merged)


def _guard_line(notebook: NotebookText) -> int:
    """Return the line of ``if __name__``, below which marimo looks for no cells."""
    lines = enumerate(notebook.lines, start=1)
    guards = (number for number, line in lines if line.startswith("if __name__"))
    return next(guards, len(notebook.lines) + 1)


def _counted(notebook: NotebookText, release: NotebookText) -> frozenset[int]:
    """Return the cells that are as released, and those where check and answer share one."""
    codes = {cell.code.strip() for cell in release.cells if not is_editable(cell)}
    open_labels = _open_labels(release)
    return frozenset(
        cell.index
        for cell in notebook.cells
        if cell.code.strip() in codes or ((labels := _labels(cell)) and labels <= open_labels)
    )


def _check_codes(notebook: NotebookText) -> Counter[str]:
    """Return the code of each check cell that is not the student's, and how often it stands."""
    return Counter(
        cell.code.strip()
        for cell in notebook.cells
        if not is_editable(cell) and any(labels_in(cell.code))
    )


def _mark_codes(notebook: NotebookText) -> list[str]:
    return [cell.code.strip() for cell in notebook.cells if is_marks_cell(cell)]

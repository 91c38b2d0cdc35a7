"""A comparison of released and submitted cells by hash: changed, moved and removed cells.

Answer cells have new hashes in every copy, so an unknown hash alone is not reported. Reported are
places where released cells are missing, with the cells found there instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial

from mograder.notebook.cells import Cell
from mograder.notebook.findings import Finding
from mograder.notebook.points import cell_hash, is_editable, is_marks_cell, labels_in, plain_code

_MOST_COMPARED = 100_000
"""Largest number of hash pairs to align: students control the length of the header's list."""

CHANGED = "this cell is not as it was released."
MOVED = "this cell was moved."
TWICE = "this cell of the release stands here once more."


@dataclass(frozen=True, slots=True)
class _Gap:
    """Hashes of released cells that are missing, and the cells found in their place.

    ``line`` is the gap's line, from 1. ``exact`` is false if there were too many cells to align.
    """

    missing: tuple[str, ...]
    instead: tuple[Cell, ...]
    line: int
    exact: bool = True


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
        gone = _take(missing, gap.missing)
        new = [cell for cell in gap.instead if not released[hash_of(cell)]]
        changed = sorted(filter(_looks_released, new), key=_is_check, reverse=True)[:gone]
        findings += (Finding(filename, cell.first, CHANGED) for cell in changed)
        if gone > len(changed):
            findings.append(Finding(filename, gap.line, _lost(gone - len(changed))))
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


def _lost(number: int) -> str:
    cells_are = (
        "1 cell of the release was" if number == 1 else f"{number} cells of the release were"
    )
    return f"{cells_are} changed or taken out near here."


def _take(missing: Counter[str], wanted: Sequence[str]) -> int:
    """Remove the hashes ``wanted`` from ``missing`` and return how many of them were in it."""
    taken = 0
    for each in wanted:
        if missing[each] > 0:
            missing[each] -= 1
            taken += 1
    return taken


def _looks_released(cell: Cell) -> bool:
    """Whether a cell looks released and not like an answer: hidden, or with checks or marks."""
    return cell.hidden or _is_check(cell)


def _is_check(cell: Cell) -> bool:
    return is_marks_cell(cell) or any(True for _ in labels_in(cell.code))

"""Inspection and change of untrusted notebooks, in an isolated process (:mod:`.isolated_call`)."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.notebook.integrity.denied_code import DEFAULT_DENIED, Denied
from mograder.notebook.integrity.integrity import Tampering, find_tampering
from mograder.notebook.integrity.screening import Screening, screen_submission
from mograder.notebook.integrity.unanswered import unanswered
from mograder.notebook.saved_cells import SavedCells, WrittenCells, write_saved_cells
from mograder.notebook.syntax import check_notebook
from mograder.notebook.versions.cell_put_back import PutBack, put_back_cell
from mograder.notebook.versions.version_diff import VersionDifference, version_difference
from mograder.processes.isolated_call import IsolatedCall

_MOST_FINDINGS = 50


class Inspector:
    """Inspects notebooks' texts, at most two large ones at the same time; further calls wait.

    Each method raises :class:`InvalidInput` when the text is not a marimo notebook, with the line,
    or when inspecting it exceeds the limits on time or memory.
    """

    def __init__(self) -> None:
        self._apart = IsolatedCall()

    async def check(self, text: str, filename: str) -> None:
        """Check that the text is a notebook that marimo can open."""
        await self._apart.call(_check, _Question(text, filename), size=len(text))

    async def screen(
        self, text: str, filename: str, *, release: str | None, denied: Denied = DEFAULT_DENIED
    ) -> Screening:
        """Return the denied code in a notebook, except in cells of its release (B133)."""
        question = _Question(text, filename, release, denied)
        return await self._apart.call(_screen, question, size=question.size)

    async def compare(self, text: str, filename: str, release: str) -> Tampering:
        """Return which of the release's checks are changed in a notebook."""
        question = _Question(text, filename, release)
        return await self._apart.call(_compare, question, size=question.size)

    async def unanswered(self, text: str, filename: str, release: str) -> tuple[str, ...]:
        """Return which questions are still as they were handed out."""
        question = _Question(text, filename, release)
        return await self._apart.call(_unanswered, question, size=question.size)

    async def difference(self, before: str, after: str) -> VersionDifference:
        """Return how a text differs from an earlier one; neither has to be a notebook."""
        question = _Question(before, "", after)
        return await self._apart.call(_difference, question, size=question.size)

    async def put_back_cell(self, present: str, earlier: str, cell: int, filename: str) -> PutBack:
        """Return the present text with one cell of an earlier one.

        Raises: as :func:`~mograder.notebook.versions.cell_put_back.put_back_cell`.
        """
        question = _PutBackQuestion(present, earlier, cell, filename)
        size = len(present) + len(earlier)
        return await self._apart.call(_put_back_cell, question, size=size)

    async def write(self, saved: SavedCells) -> WrittenCells:
        """Return the text of cells that marimo's page could not save."""
        return await self._apart.call(write_saved_cells, saved, size=saved.size)


@dataclass(frozen=True, slots=True)
class _PutBackQuestion:
    present: str
    earlier: str
    cell: int
    filename: str


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    filename: str
    release: str | None = None
    denied: Denied = DEFAULT_DENIED

    @property
    def size(self) -> int:
        """The number of characters to parse."""
        return len(self.text) + len(self.release or "")


def _check(question: _Question) -> None:
    check_notebook(question.text, question.filename)


def _screen(question: _Question) -> Screening:
    _check(question)
    found = screen_submission(
        question.text, question.filename, release=question.release, denied=question.denied
    )
    return Screening(found.denied[:_MOST_FINDINGS], found.unchecked[:_MOST_FINDINGS])


def _compare(question: _Question) -> Tampering:
    _check(question)
    return find_tampering(question.text, question.release or "", question.filename)


def _unanswered(question: _Question) -> tuple[str, ...]:
    _check(question)
    found = unanswered(question.text, question.release or "", question.filename)
    return found[:_MOST_FINDINGS]


def _difference(question: _Question) -> VersionDifference:
    return version_difference(question.text, question.release or "")


def _put_back_cell(question: _PutBackQuestion) -> PutBack:
    return put_back_cell(question.present, question.earlier, question.cell, question.filename)

"""The checks of items: those of each release, and the last result of each copy.

The checks of a release are the columns of its board. A report about any other label is dropped, so
that a student's code cannot add a column.

A validation's result is shown on the pages of its copy (B55). The student can change the report
next to the notebook, so that is shown under a strict policy and never parsed. The hub's own results
are kept here, limited in number, and in the database for the hub after a restart.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.grading.validation_report import ValidationAnswer, ValidationResult
from mograder.notebook.cells import parse_cells
from mograder.notebook.points import checks_in, marks_of
from mograder.notebook.title import title_of
from mograder.store.course.course import read_notebook
from mograder.store.hub.board import MOST_LABEL, KeptResults, ResultRow
from mograder.store.releases.releases import Release, Releases

MOST_CHECKS = 200

_UNKNOWN: tuple[str, tuple[Column, ...], str] = ("", (), "")

_MOST = 64_000_000
"""Maximum characters of all answers: those of a class of 600 to twenty items, at 5 kB each."""

_LONGEST = 64_000
"""Maximum characters of one answer; pages do not show more."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Column:
    """One check of a release, and its question's key; ``marked`` is whether that has marks."""

    label: str
    key: str
    marked: bool


class ItemChecks:
    """Reads releases, and remembers what was found; may be called from any thread.

    Mutable state: ``_known``, the columns and the title by item, with the version of the release.
    """

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        self._known: dict[str, tuple[str, tuple[Column, ...], str]] = {}

    def of(self, item: str) -> tuple[Column, ...]:
        """Return the checks whose labels the release states, in its order; blocks.

        None for an item that is not published or not a notebook.
        """
        name = ItemName.valid(item)
        release = None if name is None else self._releases.get(name)
        return () if release is None else self.columns(release)

    def columns(self, release: Release) -> tuple[Column, ...]:
        """Return the checks of a release, as :meth:`of`; blocks."""
        return self._read(release)[1]

    def look(self) -> None:
        """Read the releases that are new; blocks."""
        for each in self._releases.all():
            self._read(each)

    def title(self, item: str) -> str:
        """Return an item's title as it was read last, "" without one."""
        title = self._known.get(item, _UNKNOWN)[2]
        return "" if title == item else title

    def _read(self, release: Release) -> tuple[str, tuple[Column, ...], str]:
        known = self._known.get(release.name)
        if known is None or known[0] != release.version:
            known = (release.version, *_UNKNOWN[1:])
            try:
                text = read_notebook(release.notebook)
                known = (release.version, _columns(text, release.notebook.name), title_of(text))
            except MograderError:  # publishing told why it cannot be read
                pass
            self._known[release.name] = known
        return known


def _columns(text: str, filename: str) -> tuple[Column, ...]:
    notebook = parse_cells(text, filename)
    marks = marks_of(notebook) or {}
    keys = {each.label: each.key for each in checks_in(notebook)}
    short = [(label, key) for label, key in keys.items() if 0 < len(label) <= MOST_LABEL]
    return tuple(Column(*each, marked=each[1] in marks) for each in short[:MOST_CHECKS])


class ValidationResults:
    """The newest results, by user and item; for one event loop, readable from any thread.

    Mutable state: ``_known`` with ``_size`` characters, which serves all reads; the database is
    written in the same order (``_turn``), and a failed write loses a result only at the next
    restart.
    """

    def __init__(self, kept: KeptResults) -> None:
        self._kept = kept
        self._known: OrderedDict[tuple[str, str], ResultRow] = OrderedDict()
        self._size = 0
        self._turn = asyncio.Lock()

    def load(self) -> None:
        """Read the results of the previous hub (at start)."""
        for row in self._kept.newest(_MOST):
            self._learn(row)

    def _learn(self, row: ResultRow) -> None:
        self._drop((row.username, row.item))
        self._known[row.username, row.item] = row
        self._size += len(row.answer)
        while self._size > _MOST:
            self._drop(next(iter(self._known)))

    def _drop(self, copy: tuple[str, str]) -> bool:
        """Forget a result; return whether there was one."""
        row = self._known.pop(copy, None)
        self._size -= len(row.answer) if row else 0
        return row is not None

    async def put(self, user: str, item: str, result: ValidationResult) -> None:
        """Store the newest result of a copy."""
        text = await asyncio.to_thread(_text, result.answer)
        row = ResultRow(user, item, result.at, text)
        self._learn(row)
        await self._write(lambda: self._kept.save(row))

    def of(self, user: str, item: str) -> ValidationResult | None:
        """Return the last result of a copy that is still valid, or None."""
        row = self._known.get((user, item))
        if row is not None:
            with suppress(ValidationError):  # written by another version of the program
                answer = ValidationAnswer.model_validate_json(row.answer)
                return ValidationResult(row.at, answer)
        return None

    async def forget(self, user: str, item: str) -> None:
        """Remove a copy's result, since its notebook was replaced."""
        if self._drop((user, item)):
            await self._write(lambda: self._kept.remove(user, item))

    async def _write(self, change: Callable[[], None]) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(change)
            except MograderError as error:
                _log.warning("A validation's result could not be kept: %s", error)


def _text(answer: ValidationAnswer) -> str:
    """Return the answer as JSON; blocks, since an answer may have megabytes of output."""
    text = answer.model_dump_json()
    return text if len(text) <= _LONGEST else _shortened(answer).model_dump_json()


def _shortened(answer: ValidationAnswer) -> ValidationAnswer:
    """Return the answer without the cells' output, which can be long; the report has all of it."""
    errors = tuple(
        each.model_copy(update={"output": "", "message": each.message[:500]})
        for each in answer.errors[:50]
    )
    checks = tuple(
        each.model_copy(update={"details": tuple(text[:500] for text in each.details[:5])})
        for each in answer.checks[:50]
    )
    return answer.model_copy(update={"errors": errors, "checks": checks})

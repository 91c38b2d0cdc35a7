"""The last validation of each copy, for the pages that show it (B55).

The student can change the report next to the notebook, so it is shown under a strict policy and
never parsed. The hub's own results are kept here, limited in number, and in the database for the
hub after a restart.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from pydantic import ValidationError

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.grading.validation.report import ValidationAnswer, ValidationResult
from mograder.store.hub.validation_results import KeptResults, ResultRow

_MOST = 64_000_000
"""Maximum characters of all answers: those of a class of 600 to twenty items, at 5 kB each."""

_LONGEST = 64_000
"""Maximum characters of one answer; pages do not show more."""

_log = get_logger(__name__)


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

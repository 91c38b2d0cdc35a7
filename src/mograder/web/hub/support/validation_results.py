"""The last validation of each copy, for the pages that show it (B55).

The report that lies beside the notebook is the student's to change, so it is shown confined and
never read back. What the hub itself found is remembered here, bounded, and in the database for
the hub that comes after a restart.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from pydantic import ValidationError

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.grading.report_json import ValidationAnswer, ValidationResult
from mograder.store.validation_results import KeptResults, ResultRow

_MOST = 1000
_LONGEST = 64_000
"""Characters of one answer: a page shows no more anyway."""

_log = get_logger(__name__)


class ValidationResults:
    """The newest results, by user and item; of one event loop, read from any thread.

    Mutable state: ``_known``, which answers at once; the database follows in the same order
    (``_turn``), and one that fails costs a result after the next restart and nothing before.
    """

    def __init__(self, kept: KeptResults) -> None:
        self._kept = kept
        self._known: OrderedDict[tuple[str, str], ValidationResult] = OrderedDict()
        self._turn = asyncio.Lock()

    def load(self) -> None:
        """Remember what the hub before this one found (at start)."""
        for row in self._kept.newest(_MOST):
            try:
                answer = ValidationAnswer.model_validate_json(row.answer)
            except ValidationError:  # of another version of the program
                continue
            self._known[row.username, row.item] = ValidationResult(row.at, answer)

    async def put(self, user: str, item: str, result: ValidationResult) -> None:
        """Remember the newest result of a copy."""
        text = result.answer.model_dump_json()
        if len(text) > _LONGEST:
            result = ValidationResult(result.at, _shortened(result.answer))
            text = result.answer.model_dump_json()
        self._known.pop((user, item), None)
        self._known[user, item] = result
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        row = ResultRow(user, item, result.at, text)
        await self._write(lambda: self._kept.save(row))

    def of(self, user: str, item: str) -> ValidationResult | None:
        """The last result of a copy, if there is one and it still counts."""
        return self._known.get((user, item))

    async def forget(self, user: str, item: str) -> None:
        """Another notebook took the copy's place."""
        if self._known.pop((user, item), None) is not None:
            await self._write(lambda: self._kept.remove(user, item))

    async def _write(self, change: Callable[[], None]) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(change)
            except MograderError as error:
                _log.warning("A validation's result could not be kept: %s", error)


def _shortened(answer: ValidationAnswer) -> ValidationAnswer:
    """Without what cells printed, which is what grows; the whole is in the report."""
    errors = tuple(
        each.model_copy(update={"output": "", "message": each.message[:500]})
        for each in answer.errors[:50]
    )
    checks = tuple(
        each.model_copy(update={"details": tuple(text[:500] for text in each.details[:5])})
        for each in answer.checks[:50]
    )
    return answer.model_copy(update={"errors": errors, "checks": checks})

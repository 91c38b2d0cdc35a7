"""The results of checks: what notebooks report of them, and each validation.

Reports come from running notebooks, so a student's code can send any: they are no marks, concern
the sender's own row only, and one about a label that the release does not have is dropped.

The student can change the report next to the notebook (B55), so that is shown under a strict policy
and never parsed. The hub's own results are in memory and in the database.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.grading.validation_report import ValidationAnswer, ValidationResult
from mograder.hub.items import MOST_CHECKS, ItemChecks
from mograder.sandbox.protocol import Mode
from mograder.sessions.check_reports import CheckReport
from mograder.sessions.session import SessionKey
from mograder.store.hub.board import Board, CheckRow, KeptResults, ResultRow

_MOST = 64_000_000
"""Maximum characters of all answers: those of a class of 600 to twenty items, at 5 kB each."""

_LONGEST = 64_000
"""Characters of one answer; of a longer one less is kept."""

_MOST_WAITING = 50_000
"""Checks with reports that are not written yet; further ones are dropped (the database hangs)."""

_WAITS = "warn"
_PASSED = "success"
_log = get_logger(__name__)


class CheckLog:
    """Collects reports on one event loop; ``on_write`` hears of each item that was written.

    Mutable state: ``_waiting``, the reports that are not written, by item, user and label, and
    ``_of_copy``, how many of them there are of each copy.
    """

    def __init__(
        self, board: Board, checks: ItemChecks, *, on_write: Callable[[str], None]
    ) -> None:
        self._board = board
        self._checks = checks
        self._on_write = on_write
        self._waiting: dict[tuple[str, str, str], CheckRow] = {}
        self._of_copy: Counter[tuple[str, str]] = Counter()

    def heard(self, key: SessionKey, reports: Sequence[CheckReport], at: datetime) -> None:
        for each in reports:
            self._note(_seen(key, each.label, each.status, (each.earned, each.total), at))

    def validated(self, user: str, item: str, answer: ValidationAnswer, at: datetime) -> None:
        key = SessionKey(user, item, Mode.EDIT)
        for each in answer.checks:
            weights = (each.earned or 0.0, each.available or 0.0)
            self._note(_seen(key, each.label, each.status if each.ran else _WAITS, weights, at))

    async def write(self) -> None:
        seen = list(self._waiting.values())
        self._waiting = {}
        self._of_copy.clear()
        if not seen:
            return

        def store() -> frozenset[str]:
            columns = {item: self._checks.of(item) for item in {each.item for each in seen}}
            labels = {(item, each.label) for item, found in columns.items() for each in found}
            known = [each for each in seen if (each.item, each.label) in labels]
            self._board.record(known)
            return frozenset(each.item for each in known)

        try:
            items = await asyncio.to_thread(store)
        except MograderError as error:
            _log.warning("reports of checks could not be written yet: %s", error)
            newer, self._waiting = self._waiting, {}
            self._of_copy.clear()
            for each in (*seen, *newer.values()):
                self._note(each)
        else:
            for item in items:
                self._on_write(item)

    def _note(self, seen: CheckRow) -> None:
        place = (seen.item, seen.username, seen.label)
        before = self._waiting.get(place)
        if before is None:
            copy = place[:2]
            if self._of_copy[copy] >= MOST_CHECKS or len(self._waiting) >= _MOST_WAITING:
                return
            self._of_copy[copy] += 1
            self._waiting[place] = seen
        else:
            self._waiting[place] = replace(
                seen,
                attempts=before.attempts + seen.attempts,
                first_at=before.first_at,
                passed_at=before.passed_at or seen.passed_at,
            )


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
        row = self._known.pop(copy, None)
        self._size -= len(row.answer) if row else 0
        return row is not None

    async def put(self, user: str, item: str, result: ValidationResult) -> None:
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
        if self._drop((user, item)):
            await self._write(lambda: self._kept.remove(user, item))

    async def _write(self, change: Callable[[], None]) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(change)
            except MograderError as error:
                _log.warning("A validation's result could not be kept: %s", error)


def _seen(
    key: SessionKey, label: str, status: str, weights: tuple[float, float], at: datetime
) -> CheckRow:
    return CheckRow(
        item=key.item,
        username=key.user,
        label=label,
        status=status,
        earned=weights[0],
        total=weights[1],
        attempts=0 if status == _WAITS else 1,
        first_at=at,
        last_at=at,
        passed_at=at if status == _PASSED else None,
    )


def _text(answer: ValidationAnswer) -> str:
    """Return the answer as JSON; blocks, since an answer may have megabytes of output."""
    text = answer.model_dump_json()
    if len(text) <= _LONGEST:
        return text
    # Without the cells' output, which can be long, and with 250 details; the report has all of it.
    errors = tuple(
        each.model_copy(update={"output": "", "message": each.message[:500]})
        for each in answer.errors[:50]
    )
    kept = answer.checks[:MOST_CHECKS]
    most = 250 // max(50, len(kept))
    checks = tuple(
        each.model_copy(update={"details": tuple(text[:500] for text in each.details[:most])})
        for each in kept
    )
    return answer.model_copy(update={"errors": errors, "checks": checks}).model_dump_json()

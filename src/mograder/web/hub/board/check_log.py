"""Collects the reports of checks and writes them to the database, a few times a second.

Reports come from running notebooks, so a student's code can send any: they are no marks. What is
kept is bounded by the checks of the release, and concerns the sender's own row only.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.grading.validation_report import ValidationAnswer
from mograder.sandbox.protocol import Mode
from mograder.sessions.check_reports import CheckReport
from mograder.sessions.session import SessionKey
from mograder.store.hub.board import Board, CheckRow
from mograder.web.hub.core.checks import MOST_CHECKS, ItemChecks

_MOST_WAITING = 50_000
"""Checks with reports that are not written yet; further ones are dropped (the database hangs)."""

_WAITS = "warn"
_PASSED = "success"
_log = get_logger(__name__)


class CheckLog:
    """Collects reports on one event loop; :meth:`write` writes them.

    ``on_write`` is called with each item of which something was written.

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
        """Note the reports of a session; does not block."""
        for each in reports:
            self._note(_seen(key, each.label, each.status, (each.earned, each.total), at))

    def validated(self, user: str, item: str, answer: ValidationAnswer, at: datetime) -> None:
        """Note the results of a validation on the hub; does not block."""
        key = SessionKey(user, item, Mode.EDIT)
        for each in answer.checks:
            weights = (each.earned or 0.0, each.available or 0.0)
            self._note(_seen(key, each.label, each.status if each.ran else _WAITS, weights, at))

    async def write(self) -> None:
        """Write what has come; after a failure it is tried again."""
        waiting, self._waiting = self._waiting, {}
        self._of_copy.clear()
        if not waiting:
            return
        try:
            items = await asyncio.to_thread(self._store, list(waiting.values()))
        except MograderError as error:
            _log.warning("reports of checks could not be written yet: %s", error)
            newer, self._waiting = self._waiting, {}
            self._of_copy.clear()
            for each in (*waiting.values(), *newer.values()):
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

    def _store(self, seen: Sequence[CheckRow]) -> frozenset[str]:
        """Write the reports about checks that the releases have; return the items; blocks."""
        checks = {item: self._checks.of(item) for item in {each.item for each in seen}}
        labels = {(item, column.label) for item, columns in checks.items() for column in columns}
        known = [each for each in seen if (each.item, each.label) in labels]
        self._board.record(known)
        return frozenset(each.item for each in known)


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

"""Collecting the reports of checks, and writing them in batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from mograder.core.errors import Busy
from mograder.hub.checks import CheckLog
from mograder.hub.items import MOST_CHECKS, Column, ItemChecks
from mograder.sandbox.protocol import Mode
from mograder.sessions.check_reports import CheckReport, Status
from mograder.sessions.session import SessionKey
from mograder.store.hub.board import Board, CheckRow

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ALICE = SessionKey("alice", "A1", Mode.EDIT)


class Tables:
    """The board's tables and the item's checks, in memory; ``busy`` makes a write fail."""

    def __init__(self) -> None:
        self.written: list[list[CheckRow]] = []
        self.busy = False
        self.told: list[str] = []

    def record(self, seen: Sequence[CheckRow]) -> None:
        if self.busy:
            raise Busy("The database does not answer.")
        self.written.append(list(seen))

    def of(self, item: str) -> tuple[Column, ...]:
        labels = ("Q1", "Q2") if item == "A1" else ()
        return tuple(Column(label, label, marked=True) for label in labels)


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture
def log(tables: Tables) -> CheckLog:
    board, checks = cast(Board, tables), cast(ItemChecks, tables)
    return CheckLog(board, checks, on_write=tables.told.append)


def report(label: str, status: Status) -> CheckReport:
    return CheckReport(label, status, 0.5, 1.0)


async def test_reports_of_one_check_are_written_as_one(log: CheckLog, tables: Tables) -> None:
    log.heard(ALICE, [report("Q1", "warn"), report("Q1", "danger")], NOW)
    log.heard(ALICE, [report("Q1", "success")], NOW + SECOND)
    log.heard(ALICE, [report("Q1", "partial"), report("forged", "success")], NOW + 2 * SECOND)
    await log.write()
    [[seen]] = tables.written
    assert (seen.status, seen.attempts) == ("partial", 3)
    assert (seen.first_at, seen.last_at, seen.passed_at) == (NOW, NOW + 2 * SECOND, NOW + SECOND)
    assert tables.told == ["A1"]
    await log.write()
    assert len(tables.written) == 1


async def test_a_write_that_fails_is_tried_again(log: CheckLog, tables: Tables) -> None:
    log.heard(ALICE, [report("Q1", "danger")], NOW)
    tables.busy = True
    await log.write()
    log.heard(ALICE, [report("Q1", "success")], NOW + SECOND)
    tables.busy = False
    await log.write()
    [[seen]] = tables.written
    assert (seen.status, seen.attempts, seen.first_at) == ("success", 2, NOW)


async def test_a_copy_has_a_bounded_number_of_reports_and_takes_no_others_place(
    log: CheckLog, tables: Tables
) -> None:
    flood = [report(f"forged {number}", "success") for number in range(2 * MOST_CHECKS)]
    log.heard(ALICE, flood, NOW)
    assert len(log._waiting) == MOST_CHECKS
    log.heard(SessionKey("bob", "A1", Mode.EDIT), [report("Q2", "danger")], NOW)
    await log.write()
    assert [(each.username, each.label) for each in tables.written[0]] == [("bob", "Q2")]

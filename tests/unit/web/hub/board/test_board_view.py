"""What a board shows, from the reports of checks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mograder.hub.items import Column
from mograder.store.hub.board import CheckRow
from mograder.web.hub.board.board_tables import (
    QUIET,
    Order,
    heads_of,
    line_of,
    span,
)

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
COLUMNS = (Column("Q1: sign", "Q1", marked=True), Column("Q2: size", "Q2", marked=True))
FAILED = CheckRow("A1", "alice", "Q1: sign", "danger", 0.0, 1.0, 3, NOW, NOW + MINUTE, None)


def passed(label: str, minutes: int, user: str = "alice") -> CheckRow:
    """A check that passed so many minutes after the start."""
    at = NOW + minutes * MINUTE
    return CheckRow("A1", user, label, "success", 1.0, 1.0, 1, NOW, at, at)


def of(*rows: CheckRow) -> dict[str, CheckRow]:
    """Reports by label."""
    return {row.label: row for row in rows}


def test_a_student_is_stuck_since_the_last_check_that_passed() -> None:
    later = NOW + 9 * MINUTE
    line = line_of("alice", COLUMNS, of(FAILED), later, running=True)
    assert (line.order, line.since, line.at) == (Order.STUCK, NOW, "Q1: sign")
    second = replace(FAILED, label="Q2: size", last_at=NOW + 5 * MINUTE)
    line = line_of("alice", COLUMNS, of(passed("Q1: sign", 4), second), later, running=True)
    assert (line.since, line.at, line.passed) == (NOW + 4 * MINUTE, "Q2: size", 1)


def test_who_is_done_away_or_quiet_is_not_stuck() -> None:
    both = of(passed("Q1: sign", 1), passed("Q2: size", 2))
    assert line_of("alice", COLUMNS, both, NOW, running=True).order is Order.DONE
    assert line_of("alice", COLUMNS, of(FAILED), NOW, running=False).order is Order.AWAY
    late = FAILED.last_at + QUIET
    assert line_of("alice", COLUMNS, of(FAILED), late, running=True).order is Order.QUIET
    assert line_of("alice", COLUMNS, {}, NOW, running=True).order is Order.QUIET


def test_a_check_that_passed_once_and_fails_now_is_no_step_back() -> None:
    again = replace(passed("Q1: sign", 2), status="danger", attempts=4)
    line = line_of("alice", COLUMNS, of(again), NOW + 3 * MINUTE, running=True)
    assert line.passed == 1
    assert line.cells[0].told == "passed before, does not now, 4 attempts"
    assert line.cells[1].kind == "none"


def test_an_unknown_word_is_shown_as_nothing() -> None:
    odd = replace(FAILED, status="<b>")
    assert line_of("alice", COLUMNS, of(odd), NOW, running=True).cells[0].sign == ""


def test_the_time_of_a_check_is_that_from_the_one_before() -> None:
    alice = of(passed("Q1: sign", 4), passed("Q2: size", 10))
    bob = of(passed("Q1: sign", 2, "bob"), replace(FAILED, label="Q2: size", username="bob"))
    waits = replace(FAILED, status="warn", attempts=0)
    first, second = heads_of(COLUMNS, [alice, bob, of(waits)])
    assert (first.passed, first.tried, first.median) == (2, 2, 180.0)
    assert (second.passed, second.tried, second.median) == (1, 2, 360.0)
    assert heads_of(COLUMNS, [])[0].median is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(59.9, "under 1 min"), (60, "about 1 min"), (5999, "about 99 min"), (7200, "about 2 h")],
)
def test_spans_in_words(seconds: float, words: str) -> None:
    assert span(seconds) == words

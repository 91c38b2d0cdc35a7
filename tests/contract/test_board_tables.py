"""The board's tables, on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from mograder.core.errors import Conflict, NotFound
from mograder.store.hub.board import (
    MOST_MESSAGES,
    Board,
    CheckRow,
    HelpRow,
    MessageRow,
    help_requests,
)
from tests.support.threads import at_once

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REPORT = CheckRow("A1", "alice", "Q1: the sign", "danger", 1.0, 3.0, 1, NOW, NOW, None)
ASKED = HelpRow("A1", "alice", "Q1: the sign", "I am lost.", NOW)
MESSAGE = MessageRow(0, "A1", "Read the hint.", "prof", NOW, NOW + 10 * MINUTE)


@pytest.fixture
def board(engine: Engine) -> Board:
    return Board(engine)


def test_reports_of_one_check_are_added_up_and_the_first_success_stays(board: Board) -> None:
    later, last = NOW + MINUTE, NOW + 2 * MINUTE
    board.record([REPORT, replace(REPORT, username="bob", attempts=0, status="warn")])
    passed = replace(
        REPORT,
        status="success",
        earned=3.0,
        attempts=4,
        first_at=later,
        last_at=later,
        passed_at=later,
    )
    board.record([passed])
    again = replace(passed, status="partial", earned=2.0, attempts=1, last_at=last, passed_at=last)
    board.record([again])
    found = {row.username: row for row in board.checks("A1")}
    assert sorted(found) == ["alice", "bob"]
    row = found["alice"]
    assert (row.status, row.earned, row.total, row.attempts) == ("partial", 2.0, 3.0, 6)
    assert (row.first_at, row.last_at, row.passed_at) == (NOW, last, later)
    assert (found["bob"].attempts, found["bob"].passed_at) == (0, None)
    assert board.checks("A2") == ()


def test_hubs_that_report_at_the_same_time_lose_nothing(board: Board) -> None:
    users = [f"user{number % 4}" for number in range(8)]
    done = at_once(8, lambda number: board.record([replace(REPORT, username=users[number])]))
    assert done == [None] * 8
    assert [each.attempts for each in board.checks("A1")] == [2, 2, 2, 2]


def test_old_reports_are_forgotten(board: Board) -> None:
    board.record([REPORT, replace(REPORT, username="bob", last_at=NOW + timedelta(days=201))])
    board.forget_old(NOW + timedelta(days=201))
    assert [each.username for each in board.checks("A1")] == ["bob"]


def test_a_copy_has_one_request_until_it_ends(board: Board) -> None:
    assert board.ask(ASKED)
    assert not board.ask(replace(ASKED, text="Again.", asked_at=NOW + MINUTE))
    assert board.ask(replace(ASKED, item="A2", asked_at=NOW - MINUTE))
    assert [(each.item, each.text) for each in board.requests(NOW)] == [
        ("A2", "I am lost."),
        ("A1", "I am lost."),
    ]
    assert board.end("A1", "alice") == ASKED
    assert board.end("A1", "alice") is None
    assert board.ask(replace(ASKED, text="Again."))


def test_a_request_of_yesterday_is_not_shown_and_does_not_block_a_new_one(board: Board) -> None:
    tomorrow = NOW + timedelta(hours=13)
    board.ask(ASKED)
    assert board.requests(tomorrow) == ()
    assert board.ask(replace(ASKED, asked_at=tomorrow))
    assert len(board.requests(tomorrow)) == 1


@pytest.mark.parametrize("how", ["another asks", "a hub starts"])
def test_a_request_that_nobody_closed_is_forgotten(board: Board, engine: Engine, how: str) -> None:
    board.ask(ASKED)
    board.ask(replace(ASKED, username="bob", asked_at=NOW + MINUTE))
    now = NOW + timedelta(hours=12)
    if how == "a hub starts":
        board.forget_old(now)
    else:
        board.ask(replace(ASKED, item="A2", username="bob", asked_at=now))
    with engine.connect() as connection:
        assert set(connection.execute(select(help_requests.c.username)).scalars()) == {"bob"}


def test_one_of_many_helpers_gets_a_request(board: Board) -> None:
    board.ask(ASKED)
    names = ["prof", "marta", "tom", "ann"]
    taken = at_once(4, lambda number: board.take("A1", "alice", names[number]))
    assert taken.count(None) == 1
    refused = [each for each in taken if each is not None]
    assert all(isinstance(each, Conflict) for each in refused)
    helper = names[taken.index(None)]
    assert board.requests(NOW) == (replace(ASKED, helper=helper),)
    board.take("A1", "alice", helper)
    with pytest.raises(NotFound):
        board.take("A1", "bob", "prof")


def test_only_the_helper_of_a_request_may_enter(board: Board) -> None:
    board.ask(ASKED)
    with pytest.raises(NotFound):
        board.join("A1", "alice", "prof")
    board.take("A1", "alice", "prof")
    with pytest.raises(NotFound):
        board.join("A1", "alice", "marta")
    board.join("A1", "alice", "prof")
    assert board.requests(NOW)[0].together


def test_messages_are_shown_until_their_end_or_until_they_are_taken_back(board: Board) -> None:
    first, second = board.send(MESSAGE), board.send(replace(MESSAGE, until=NOW + MINUTE))
    assert second > first
    assert [each.number for each in board.messages(NOW)] == [first, second]
    assert board.messages(NOW + MINUTE) == (replace(MESSAGE, number=first),)
    assert not board.take_back("A2", first)
    assert board.take_back("A1", first)
    assert not board.take_back("A1", first)
    assert board.messages(NOW + MINUTE) == ()


def test_the_number_of_a_message_that_went_is_not_given_again(board: Board) -> None:
    """A browser does not show the numbers of messages that its student has put away."""
    first = board.send(MESSAGE)
    board.take_back("A1", first)
    second = board.send(MESSAGE)
    board.forget_old(MESSAGE.until)
    assert first < second < board.send(replace(MESSAGE, until=NOW + 20 * MINUTE))


def test_an_item_has_a_bounded_number_of_messages(board: Board) -> None:
    for _ in range(MOST_MESSAGES):
        board.send(MESSAGE)
    with pytest.raises(Conflict, match="Take one back"):
        board.send(MESSAGE)
    board.send(replace(MESSAGE, item="A2"))
    late = MESSAGE.until
    board.send(replace(MESSAGE, sent_at=late, until=late + MINUTE))

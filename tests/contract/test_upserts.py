"""Rows that replace one another, by two writers at once, and versions read while others go."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from mograder.store.copies.copy_updates import UpdateRows
from mograder.store.database.database import reading, writing
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import EndingRow

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TURNS = 15


def at_once(*work: Callable[[int], object]) -> None:
    """Do each piece of work some times, in threads of their own; raises what one raises."""

    def repeated(each: Callable[[int], object]) -> None:
        for number in range(TURNS):
            each(number)

    with ThreadPoolExecutor(len(work)) as threads:
        for running in [threads.submit(repeated, each) for each in work]:
            running.result()


def test_two_writers_of_one_ending_leave_one(engine: Engine) -> None:
    state = HubState(engine)

    def save(number: int) -> None:
        at = NOW + timedelta(seconds=number)
        row = EndingRow("alice", "A1", "edit", f"s{number}", "idle", at, f"{number}")
        state.save_ending(row, forget_before=NOW - timedelta(days=1))

    at_once(save, save)
    (found,) = state.endings(NOW)
    assert found.detail == str(TURNS - 1)


def test_two_offers_of_one_item_have_two_numbers(engine: Engine) -> None:
    rows = UpdateRows(engine)
    numbers: list[int] = []

    def offer(number: int) -> None:
        numbers.append(rows.make_offer("A1", f"release {number}", "prof", NOW).number)

    at_once(offer, offer)
    assert sorted(numbers) == list(range(1, 2 * TURNS + 1))


def test_a_reader_sees_the_database_as_of_one_moment(engine: Engine) -> None:
    """As versions are read part by part, while old ones are removed and the rest is joined anew."""
    state = HubState(engine)
    state.slot_of("alice")
    count = text("SELECT count(*) FROM users")
    with reading(engine) as connection:
        before = connection.execute(count).scalar_one()
        HubState(engine).slot_of("bob")
        assert connection.execute(count).scalar_one() == before
    with writing(engine) as connection:
        assert connection.execute(count).scalar_one() == before + 1


@pytest.mark.parametrize("release", ["first", "second"])
def test_an_offer_replaces_what_was_offered_before(engine: Engine, release: str) -> None:
    rows = UpdateRows(engine)
    assert rows.make_offer("A1", "first", "prof", NOW).number == 1
    assert rows.withdraw("A1")
    made = rows.make_offer("A1", release, "ann", NOW)
    assert (made.number, made.release, made.withdrawn) == (2, release, False)
    assert rows.offer("A1") == made

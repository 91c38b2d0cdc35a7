"""While a copy changes, no session of it runs, starts or changes it."""

from __future__ import annotations

import asyncio

import pytest

from mograder.sandbox.protocol import Mode
from mograder.sessions.live import SessionKey
from mograder.sessions.turns import Turns

KEY = SessionKey("alice", "A1", Mode.EDIT)
OTHER = SessionKey("bob", "A1", Mode.EDIT)


class Stops:
    """Remembers whose sessions were ended."""

    def __init__(self) -> None:
        self.ended: list[SessionKey] = []

    async def stop(self, key: SessionKey) -> bool:
        self.ended.append(key)
        return True


async def change(turns: Turns, stops: Stops, done: list[str], *, hold: asyncio.Event) -> None:
    """Change alice's copy for as long as it is held."""
    async with turns.changing(KEY, stops):
        done.append("changing")
        await hold.wait()
        done.append("changed")


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_start_waits_until_a_change_is_over() -> None:
    turns, stops, done, hold = Turns(), Stops(), list[str](), asyncio.Event()
    changing = asyncio.create_task(change(turns, stops, done, hold=hold))
    await settle()

    async def start() -> None:
        async with turns.starting(KEY):
            done.append("started")

    starting = asyncio.create_task(start())
    async with turns.starting(OTHER):
        await settle()
    assert done == ["changing"]
    hold.set()
    await asyncio.gather(changing, starting)
    assert done == ["changing", "changed", "started"]
    assert stops.ended == [KEY]


async def test_a_change_ends_a_session_that_was_just_starting() -> None:
    turns, stops, done, hold = Turns(), Stops(), list[str](), asyncio.Event()
    hold.set()
    async with turns.starting(KEY):
        changing = asyncio.create_task(change(turns, stops, done, hold=hold))
        await settle()
        assert (stops.ended, done) == ([KEY], [])
    await changing
    assert stops.ended == [KEY, KEY]
    assert done == ["changing", "changed"]


async def test_changes_come_one_after_the_other() -> None:
    turns, stops, done, hold = Turns(), Stops(), list[str](), asyncio.Event()
    changes = [asyncio.create_task(change(turns, stops, done, hold=hold)) for _ in range(3)]
    await settle()
    assert done == ["changing"]
    hold.set()
    await asyncio.gather(*changes)
    assert done == ["changing", "changed"] * 3


async def test_who_gives_up_waiting_or_fails_holds_up_nobody() -> None:
    turns, stops, done, hold = Turns(), Stops(), list[str](), asyncio.Event()
    first = asyncio.create_task(change(turns, stops, done, hold=hold))
    second = asyncio.create_task(change(turns, stops, done, hold=hold))
    await settle()
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    with pytest.raises(ZeroDivisionError):
        async with turns.changing(KEY, stops):
            raise ZeroDivisionError
    async with asyncio.timeout(40), turns.starting(KEY):
        done.append("started")
    assert done == ["changing", "started"]
    assert turns._turns == {}

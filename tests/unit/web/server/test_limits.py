"""Attempts are counted by name and address, uploads by person and in all."""

from __future__ import annotations

import asyncio

import pytest

from mograder.web.server import limits as module
from mograder.web.server.limits import RegistrationLimits, Uploads
from mograder.web.server.problems import TooManyAttempts
from tests.support.clock import ManualClock


def test_other_addresses_do_not_reset_the_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ADDRESSES", 50)
    registration_limits = RegistrationLimits(ManualClock())
    for number in range(180):
        registration_limits.failed(f"10.0.0.{number}", "alice")
    for _ in range(19):
        registration_limits.failed("192.0.2.1", "mallory")
    registration_limits.check("192.0.2.1", "mallory")
    registration_limits.failed("192.0.2.1", "mallory")
    for address in ("192.0.2.1", "192.0.2.2"):  # by itself, and all together
        with pytest.raises(TooManyAttempts):
            registration_limits.check(address, "mallory")
    assert len(registration_limits._failed) == 50


def test_addresses_are_forgotten_a_minute_after_their_last_attempt() -> None:
    clock = ManualClock()
    registration_limits = RegistrationLimits(clock)
    for number in range(30):
        registration_limits.failed(f"10.0.0.{number}", "alice")
        registration_limits.made(f"10.0.0.{number}")
    clock.advance(61)
    registration_limits.failed("192.0.2.1", "alice")
    registration_limits.made("192.0.2.1")
    assert list(registration_limits._failed) == ["alice 192.0.2.1"]
    assert list(registration_limits._made) == ["192.0.2.1"]
    registration_limits.check("10.0.0.1", "alice")


async def test_large_bodies_wait_in_line_and_small_ones_do_not() -> None:
    uploads = Uploads(at_once=1)
    large = 2 * 1024 * 1024
    told: list[str] = []
    first_may_go = asyncio.Event()

    async def one(name: str, size: int, until: asyncio.Event | None = None) -> None:
        async with uploads.place(size):
            told.append(name)
            if until:
                await until.wait()

    first = asyncio.create_task(one("first", large, first_may_go))
    await asyncio.sleep(0)
    gone = asyncio.create_task(one("gone", large))
    second = asyncio.create_task(one("second", large))
    third = asyncio.create_task(one("third", large))
    await asyncio.sleep(0)
    await one("small", large // 2)
    gone.cancel()
    first_may_go.set()
    await asyncio.gather(first, second, third)
    assert told == ["first", "small", "second", "third"]


async def test_nobody_holds_all_places() -> None:
    uploads = Uploads()
    with uploads.sending("a"), uploads.sending("a"), uploads.sending("a"), uploads.sending("a"):
        with pytest.raises(TooManyAttempts), uploads.sending("a"):
            pass
        with uploads.sending("b"):
            pass
    with uploads.sending("a"):
        pass

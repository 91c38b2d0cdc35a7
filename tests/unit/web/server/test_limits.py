"""Attempts are counted by name and address."""

from __future__ import annotations

import pytest

from mograder.web.problems import TooManyAttempts
from mograder.web.server import limits as module
from mograder.web.server.limits import RegistrationLimits
from tests.support.clock import ManualClock


def test_other_addresses_do_not_reset_the_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ADDRESSES", 50)
    limits = RegistrationLimits(ManualClock())
    for number in range(1980):
        limits.failed(f"10.0.{number // 200}.{number % 200}", "alice")
    for _ in range(19):
        limits.failed("192.0.2.1", "mallory")
    limits.check("192.0.2.1", "mallory")
    limits.failed("192.0.2.1", "mallory")
    for address in ("192.0.2.1", "192.0.2.2"):  # by itself, and all together
        with pytest.raises(TooManyAttempts):
            limits.check(address, "mallory")
    assert len(limits._failed) == 50


def test_one_address_locks_out_itself_only() -> None:
    limits = RegistrationLimits(ManualClock())
    for number in range(200):
        limits.check("192.0.2.1", f"guess{number}")
        limits.failed("192.0.2.1", f"guess{number}")
    with pytest.raises(TooManyAttempts):
        limits.check("192.0.2.1", "another")
    limits.check("192.0.2.2", "alice")


def test_addresses_are_forgotten_a_minute_after_their_last_attempt() -> None:
    clock = ManualClock()
    limits = RegistrationLimits(clock)
    for number in range(30):
        limits.failed(f"10.0.0.{number}", "alice")
        limits.made(f"10.0.0.{number}")
    clock.advance(61)
    limits.failed("192.0.2.1", "alice")
    limits.made("192.0.2.1")
    assert list(limits._failed) == ["alice 192.0.2.1", "192.0.2.1"]
    assert list(limits._made) == ["192.0.2.1"]
    limits.check("10.0.0.1", "alice")

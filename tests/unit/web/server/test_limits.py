"""Attempts are counted by name and address."""

from __future__ import annotations

import pytest

from mograder.web.problems import TooManyAttempts
from mograder.web.server import limits as module
from mograder.web.server.limits import RegistrationLimits
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

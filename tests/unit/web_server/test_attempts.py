"""Attempts are counted by address, whatever number of other addresses tries as well."""

from __future__ import annotations

import pytest

from mograder.web.server import attempts as module
from mograder.web.server.attempts import Attempts
from mograder.web.server.problems import TooManyAttempts
from tests.support.clock import ManualClock


def test_other_addresses_do_not_reset_the_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ADDRESSES", 50)
    attempts = Attempts(ManualClock())
    for number in range(180):
        attempts.failed(f"10.0.0.{number}")
    for _ in range(20):
        attempts.failed("192.0.2.1")
    for address in ("192.0.2.1", "192.0.2.2"):  # by itself, and all together
        with pytest.raises(TooManyAttempts):
            attempts.check(address)
    assert len(attempts._failed) == 50


def test_addresses_are_forgotten_a_minute_after_their_last_attempt() -> None:
    clock = ManualClock()
    attempts = Attempts(clock)
    for number in range(30):
        attempts.failed(f"10.0.0.{number}")
        attempts.made(f"10.0.0.{number}")
    clock.advance(61)
    attempts.failed("192.0.2.1")
    attempts.made("192.0.2.1")
    assert list(attempts._failed) == list(attempts._made) == ["192.0.2.1"]
    attempts.check("10.0.0.1")

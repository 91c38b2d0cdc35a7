"""Ids of stopped sessions are known for ten minutes, and their number is bounded."""

from __future__ import annotations

from mograder.sandbox.supervisor.stopped_ids import StoppedIds


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_id_is_known_for_ten_minutes_after_the_last_stop() -> None:
    clock = Clock()
    stopped = StoppedIds(clock)
    stopped.add("session-a")
    clock.now += 599
    assert "session-a" in stopped
    assert "session-b" not in stopped
    stopped.add("session-a")
    clock.now += 599
    assert "session-a" in stopped
    clock.now += 1
    assert "session-a" not in stopped


def test_the_oldest_are_forgotten_when_there_are_many() -> None:
    stopped = StoppedIds(Clock())
    for number in range(20_001):
        stopped.add(f"session-{number}")
    assert "session-0" not in stopped
    assert "session-1" in stopped
    assert "session-20000" in stopped

"""Whose turn it is: from what sessions have used, without a machine."""

from __future__ import annotations

import os
from collections.abc import Iterable

from mograder.sandbox.priorities import DEMOTED_PART, STARTING_TIMES
from mograder.sandbox.turns import Turns
from mograder.sandbox.usage import Member, ProcessMeter

PROCESSORS = os.cpu_count() or 1


class Weights:
    """What each session's weight is multiplied by."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def favour(self, session_id: str, times: int) -> None:
        self.times[session_id] = times

    def demote(self, session_id: str, members: Iterable[Member]) -> None:
        self.times[session_id] = 1 / DEMOTED_PART

    def restore(self, session_id: str, members: Iterable[Member]) -> None:
        self.times[session_id] = 1

    def forget(self, session_id: str) -> None:
        self.times.pop(session_id, None)


class Hall:
    """Turns on a machine that is as busy as is said, and the weights that come of them."""

    def __init__(self, busy: float = 1.0) -> None:
        self.busy = busy
        self.weights = Weights()
        self.turns = Turns(ProcessMeter(), self.weights, lambda: self.busy)
        self.now = 0.0
        self._cpu: dict[str, float] = {}

    def comes(self, *names: str) -> None:
        for name in names:
            self.turns.expect(name, 100, self.now)
            self._cpu[name] = 0.0
            self.turns.note(name, 0.0, self.now)

    def uses(self, seconds: float = 0.1, **cpu: float) -> dict[str, float]:
        """Let time go by in which each uses so much, and the others nothing."""
        self.now += seconds
        for name in self._cpu:
            self._cpu[name] += cpu.get(name, 0.0)
            self.turns.note(name, self._cpu[name], self.now)
        self.turns.give(self.now, ())
        return self.weights.times


def test_the_one_who_came_last_goes_before_those_who_came_earlier() -> None:
    hall = Hall()
    hall.comes("first")
    weights = hall.uses(first=0.05)
    hall.comes("second")
    assert hall.turns.contested
    assert weights["first"] < STARTING_TIMES
    before = weights["first"]
    assert hall.uses(first=0.05)["first"] < before, "the more it has had, the less"


def test_a_start_is_over_when_it_has_had_what_a_start_needs() -> None:
    hall = Hall()
    hall.comes("student")
    assert hall.uses(student=0.2)["student"] == 1
    assert hall.uses()["student"] == 1, "what the start took is not held against it"
    assert not hall.turns.contested


def test_a_cold_start_needs_more() -> None:
    hall = Hall()
    hall.comes("student")
    hall.turns.expect("student", 100, hall.now, cold=True)
    hall.turns.note("student", 0.0, hall.now)
    assert hall.uses(student=0.5)["student"] > 1
    assert hall.uses(seconds=1, student=0.9)["student"] == 1


def test_a_start_is_over_after_a_while_whatever_it_has_had() -> None:
    hall = Hall()
    hall.comes("asleep")
    assert hall.uses(seconds=20)["asleep"] == 1


def test_those_at_work_stand_back_as_soon_as_somebody_is_expected() -> None:
    hall = Hall()
    hall.comes("worker")
    hall.uses(worker=0.2)
    assert hall.uses(seconds=1, worker=0.2 * PROCESSORS)["worker"] == 1, "less than its share"
    hall.comes("guest")
    assert hall.uses(worker=0.02 * PROCESSORS)["worker"] < 1
    hall.turns.forget("guest")
    assert not hall.turns.contested


def test_nobody_stands_back_while_processors_have_time_left() -> None:
    hall = Hall(busy=0.5)
    hall.comes("worker")
    hall.uses(worker=0.2)
    hall.uses(seconds=1, worker=1.0)
    hall.comes("guest")
    assert hall.uses(worker=0.1)["worker"] == 1


def test_one_that_stands_back_and_gets_no_time_has_not_calmed_down() -> None:
    hall = Hall()
    hall.comes("spinner")
    hall.uses(spinner=0.2)
    assert hall.uses(seconds=1, spinner=0.9 * PROCESSORS)["spinner"] < 1
    assert hall.uses()["spinner"] < 1
    assert hall.uses(seconds=10)["spinner"] == 1, "forgotten in time"


def test_one_that_has_all_its_processes_keeps_its_weight() -> None:
    hall = Hall()
    hall.comes("forker")
    hall.uses(forker=0.2)
    assert hall.uses(seconds=1, forker=0.9 * PROCESSORS)["forker"] < 1
    hall.turns.give(hall.now, ["forker"])
    assert hall.weights.times["forker"] == 1


def test_one_that_is_ended_has_its_weight_for_that() -> None:
    hall = Hall()
    hall.comes("spinner")
    hall.uses(spinner=0.2)
    hall.uses(seconds=1, spinner=0.9 * PROCESSORS)
    hall.turns.let_die("spinner")
    assert hall.weights.times["spinner"] == 1
    hall.turns.forget("spinner")
    assert hall.uses() == {}


def test_sessions_that_rest_press_nobody_however_busy_the_machine_is() -> None:
    hall = Hall()
    hall.comes("alice")
    hall.uses(alice=0.2)
    pressing = [hall.turns.pressing]
    for _ in range(10):
        hall.uses(1.0)
    assert hall.turns.busy
    pressing.append(hall.turns.pressing)
    hall.uses(alice=0.1)
    assert [*pressing, hall.turns.pressing] == [True, False, True]

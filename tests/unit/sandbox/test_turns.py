"""Whose turn it is: from what sessions have used, without a machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping

from mograder.sandbox.bandwidth import NO_QUOTA, quota
from mograder.sandbox.priorities import DEMOTED_PART, STARTING_TIMES
from mograder.sandbox.storms import HELD_PART, Storms
from mograder.sandbox.turns import Turns
from mograder.sandbox.usage import Member, ProcessMeter

PROCESSORS = os.cpu_count() or 1


class Weights:
    """What each session's weight is multiplied by, and the quotas of those who have one."""

    def __init__(self, *, prompt: bool) -> None:
        self.prompt = prompt
        self.times: dict[str, float] = {}
        self.quotas: dict[str, int] = {}

    def favour(self, session_id: str, times: int) -> None:
        self.times[session_id] = times

    def demote(self, session_id: str, members: Iterable[Member]) -> None:
        self.times[session_id] = 1 / DEMOTED_PART

    def restore(self, session_id: str, members: Iterable[Member]) -> None:
        self.times[session_id] = 1

    def hold(self, session_id: str, quota: int) -> None:
        self.quotas[session_id] = quota
        if quota == NO_QUOTA:
            del self.quotas[session_id]

    def forget(self, session_id: str) -> None:
        self.times.pop(session_id, None)


class Hall:
    """Turns on a machine that is as busy as is said, and the weights that come of them."""

    def __init__(self, busy: float = 1.0, *, prompt: bool = True) -> None:
        self.busy, self.waited = busy, 0.0
        self.weights = Weights(prompt=prompt)
        storms = Storms(lambda: self.waited, lambda: 0)
        self.turns = Turns(ProcessMeter(), self.weights, lambda: self.busy, storms)
        self.now = 0.0
        self._cpu: dict[str, float] = {}

    def comes(self, *names: str) -> None:
        for name in names:
            self.turns.expect(name, 100, self.now)
            self._cpu[name] = 0.0
            self.turns.note(name, 0.0, self.now)

    def uses(self, seconds: float = 0.1, **cpu: float) -> dict[str, float]:
        """Let time go by in which each uses so much, and the others nothing."""
        return self.goes_by(seconds, cpu, full=())

    def goes_by(
        self, seconds: float, cpu: Mapping[str, float], full: Collection[str]
    ) -> dict[str, float]:
        """As :meth:`uses`, where some have all their processes."""
        self.now += seconds
        for name in self._cpu:
            self._cpu[name] += cpu.get(name, 0.0)
            self.turns.note(name, self._cpu[name], self.now)
        self.turns.give(self.now, full)
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


def test_no_process_is_made_nicer_while_processors_have_time_left() -> None:
    hall = Hall(busy=0.5, prompt=False)
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


def test_who_has_nearly_started_gives_way_to_who_comes_at_once() -> None:
    hall = Hall()
    hall.comes("first")
    assert hall.uses(first=0.1)["first"] > 1
    hall.comes("second")
    assert hall.weights.times["first"] == 1


def test_who_is_halfway_keeps_its_turn_beside_who_comes() -> None:
    hall = Hall()
    hall.comes("first")
    hall.uses(first=0.05)
    hall.comes("second")
    assert hall.uses()["first"] > 1


def test_who_is_at_work_and_has_had_two_starts_time_stands_back_before_any_load_is_known() -> None:
    hall = Hall(busy=0.5)
    hall.comes("bomb", "neighbour")
    hall.uses(bomb=0.3, neighbour=0.2)
    hall.comes("guest")
    assert hall.weights.times == {"bomb": 1 / DEMOTED_PART, "neighbour": 1}
    assert hall.uses()["bomb"] < 1, "for as long as somebody starts"
    hall.uses(guest=0.2)
    assert hall.uses()["bomb"] == 1


def test_one_that_stood_back_comes_forward_when_who_came_is_gone_at_once() -> None:
    hall = Hall(busy=0.5)
    hall.comes("worker")
    hall.uses(worker=0.3)
    hall.comes("guest")
    hall.turns.forget("guest")
    assert hall.uses()["worker"] == 1


def test_nobody_gives_way_at_once_where_only_processes_can_be_made_nicer() -> None:
    hall = Hall(prompt=False)
    hall.comes("bomb")
    hall.uses(bomb=0.3)
    hall.comes("guest")
    assert hall.weights.times["bomb"] == 1


def test_in_a_storm_those_who_stand_back_are_held_together_and_let_go_after_it() -> None:
    hall = Hall()
    hall.comes("forker", "spinner", "reader")
    hall.uses(forker=0.3, spinner=0.3, reader=0.2)
    work = {"forker": 0.9 * PROCESSORS, "spinner": 0.9 * PROCESSORS}
    hall.waited += 0.3
    hall.goes_by(1, work, full=["forker"])
    assert hall.weights.quotas == dict.fromkeys(work, quota(HELD_PART / 2))
    hall.uses(seconds=6)
    assert hall.weights.quotas == {}


def test_nobody_is_held_who_has_had_no_more_than_a_start_takes() -> None:
    hall = Hall()
    hall.comes("student")
    hall.uses(student=0.2)
    hall.waited += 0.3
    hall.goes_by(1, {}, full=["student"])
    assert hall.weights.quotas == {}


def test_nobody_is_held_where_there_are_no_quotas() -> None:
    hall = Hall(prompt=False)
    hall.comes("spinner")
    hall.uses(spinner=0.3)
    hall.waited += 0.3
    assert hall.uses(seconds=1, spinner=0.9 * PROCESSORS)["spinner"] < 1
    assert hall.weights.quotas == {}


def test_one_that_is_ended_is_held_no_more_but_stands_back_while_somebody_starts() -> None:
    hall = Hall()
    hall.comes("spinner")
    hall.uses(spinner=0.3)
    hall.waited += 0.3
    hall.comes("guest")
    hall.uses(seconds=1, spinner=0.9 * PROCESSORS)
    assert hall.weights.quotas != {}
    hall.turns.let_die("spinner")
    assert hall.weights.quotas == {}
    assert hall.weights.times["spinner"] < 1

"""Boosts and caps, on cgroups that only take notes; niceness, on a process of the test's own."""

from __future__ import annotations

import os
import subprocess

import pytest

from mograder.sandbox.limits import cpu
from mograder.sandbox.limits.cgroup2 import PERIOD, SessionGroup, cpu_max
from mograder.sandbox.limits.cpu import Processors
from tests.support.supervisors import until

MANY = 8.0


class Leaf(SessionGroup):
    """The cgroup of a session that has used some processor seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.weight = 0
        self.limit: float | None = None

    def cpu(self) -> float:
        return self.seconds

    def weigh(self, weight: int) -> None:
        self.weight = weight

    def cap(self, processors: float | None) -> None:
        self.limit = processors


def _four() -> int:
    return 4


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processors, and less to wait for."""
    monkeypatch.setattr(os, "cpu_count", _four)
    monkeypatch.setattr(cpu, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(cpu, "_FIRST_CELLS_SECONDS", 0.05)


async def test_a_start_has_a_boost_until_the_session_has_answered() -> None:
    processors, leaf = Processors(), Leaf()
    processors.add("new", leaf, 100, boost=True)
    assert leaf.weight == 3200
    processors.answered("new")
    assert leaf.weight == 3200, "its first cells belong to the start"
    await until(lambda: leaf.weight == 100)
    await processors.close()


async def test_a_start_that_never_answers_loses_its_boost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_START_SECONDS", 0.05)
    processors, leaf = Processors(), Leaf()
    processors.add("silent", leaf, 1000, boost=True)
    assert leaf.weight == 10_000, "the most that the kernel takes"
    await until(lambda: leaf.weight == 1000)
    await processors.close()


async def test_sessions_over_their_share_are_capped_while_one_starts() -> None:
    processors = Processors()
    hogs, typing, new = [Leaf(), Leaf()], Leaf(), Leaf()
    for number, hog in enumerate(hogs):
        processors.add(f"hog {number}", hog, 100, boost=False)
    processors.add("typing", typing, 100, boost=False)
    for hog in hogs:
        hog.seconds = MANY
    typing.seconds = 0.01
    processors.add("new", new, 100, boost=True)
    new.seconds = MANY
    await until(lambda: all(hog.limit == 0.5 for hog in hogs))  # half of a quarter of four
    assert (typing.limit, new.limit) == (None, None)
    processors.answered("new")
    await until(lambda: all(hog.limit is None for hog in hogs))
    await processors.close()


async def test_without_a_start_no_session_is_capped() -> None:
    processors, leaf = Processors(), Leaf()
    processors.add("hog", leaf, 100, boost=False)
    leaf.seconds = MANY
    processors.note("hog", MANY)
    assert leaf.limit is None
    new = Leaf()
    processors.add("new", new, 100, boost=True)
    await until(lambda: new.weight > 100)
    assert leaf.limit is None, "it has used nothing since the note"
    await processors.close()


async def test_a_session_that_ends_is_not_capped() -> None:
    processors, hog, new = Processors(), Leaf(), Leaf()
    processors.add("hog", hog, 100, boost=False)
    hog.seconds = MANY
    processors.add("new", new, 100, boost=True)
    await until(lambda: hog.limit is not None)
    processors.forget("hog")
    assert hog.limit is None
    processors.forget("new")
    processors.answered("new")
    await processors.close()


def test_limits_are_written_in_short_periods() -> None:
    assert cpu_max(1.5) == f"{PERIOD * 3 // 2} {PERIOD}"
    assert cpu_max(None) == f"max {PERIOD}"


@pytest.mark.full
def test_a_session_without_a_cgroup_is_nicer() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        before = os.getpriority(os.PRIO_PROCESS, process.pid)
        cpu.put_back(process.pid)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, before + 5)
        process.kill()
    cpu.put_back(process.pid)


@pytest.mark.parametrize(
    ("weight", "niceness"), [(10_000, 5), (100, 5), (80, 6), (10, 15), (1, 26)]
)
def test_a_lower_weight_is_a_higher_niceness(weight: int, niceness: int) -> None:
    assert cpu.niceness_of(weight) == niceness

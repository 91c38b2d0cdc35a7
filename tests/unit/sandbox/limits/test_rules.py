"""Which sessions must end: decisions without a machine."""

from __future__ import annotations

import math

import pytest

from mograder.sandbox.limits.procfs import Memory
from mograder.sandbox.limits.rules import (
    FULL_SECONDS,
    End,
    View,
    decide,
    is_full,
    is_short,
)

PLENTY = Memory(available=8 << 30, total=16 << 30)
NOTHING = Memory(available=100 << 20, total=16 << 30)
MIB = 1 << 20


def _view(name: str, memory: int, limit: int = 0, grown: int = 0, full: float = math.inf) -> View:
    return View(name, memory * MIB, limit * MIB, grown * MIB, full)


def test_only_the_one_over_its_limit_of_memory_ends() -> None:
    views = [_view("a", 100, 100), _view("b", 101, 100), _view("c", 9999)]
    assert decide(views, PLENTY, 0) == [End("b", "memory")]


@pytest.mark.parametrize(
    ("since", "ends"),
    [(math.inf, []), (10 - FULL_SECONDS + 0.1, []), (10 - FULL_SECONDS, [End("a", "processes")])],
)
def test_one_ends_that_stays_at_its_limit_of_processes(since: float, ends: list[End]) -> None:
    assert decide([_view("a", 1, 100, full=since)], PLENTY, 10) == ends


def test_when_the_machine_runs_out_the_one_that_grew_most_ends() -> None:
    assert is_short(NOTHING)
    assert not is_short(PLENTY)
    views = [_view("large", 900, grown=1), _view("growing", 300, grown=200), _view("small", 2)]
    assert decide(views, NOTHING, 0) == [End("growing", "shortage")]


def test_when_nobody_grows_the_largest_ends() -> None:
    views = [_view("large", 900), _view("small", 2)]
    assert decide(views, NOTHING, 0) == [End("large", "shortage")]


def test_nobody_ends_whose_end_would_not_help() -> None:
    """The memory is somebody else's: the kernel, which knows whose, decides."""
    assert decide([_view("small", 120), _view("smaller", 20, grown=5)], NOTHING, 0) == []


def test_nobody_ends_for_the_machine_while_one_ends_for_itself() -> None:
    views = [_view("large", 900), _view("over", 101, 100)]
    assert decide(views, NOTHING, 0) == [End("over", "memory")]


def test_without_sessions_nobody_ends() -> None:
    assert decide([], NOTHING, 0) == []


@pytest.mark.parametrize(
    ("tasks", "limit", "full"),
    [(256, 256, True), (252, 256, True), (251, 256, False), (9999, 0, False), (0, 3, False)],
)
def test_nearly_all_processes_are_all(tasks: int, limit: int, full: bool) -> None:
    assert is_full(tasks, limit) is full

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


@pytest.mark.parametrize(
    ("since", "ends"),
    [(math.inf, []), (10 - FULL_SECONDS + 0.1, []), (10 - FULL_SECONDS, [End("a", "processes")])],
)
def test_one_ends_that_stays_at_its_limit_of_processes(since: float, ends: list[End]) -> None:
    assert decide([_view("a", 1, 100, full=since)], PLENTY, 10) == ends


LARGE, SMALL = _view("large", 900), _view("small", 2)
SHORT = [_view("large", 900, grown=1), _view("growing", 300, grown=200), SMALL]
ENDS: dict[str, tuple[list[View], Memory, list[End]]] = {
    "that is over its limit of memory": (
        [_view("a", 100, 100), _view("b", 101, 100), _view("c", 9999)],
        PLENTY,
        [End("b", "memory")],
    ),
    "that grew most when the machine runs out": (SHORT, NOTHING, [End("growing", "shortage")]),
    "that is the largest when none grows": ([LARGE, SMALL], NOTHING, [End("large", "shortage")]),
    # The memory is somebody else's: the kernel, which knows whose, decides.
    "never for the machine if its end would not help": (
        [_view("small", 120), _view("smaller", 20, grown=5)],
        NOTHING,
        [],
    ),
    "never for the machine while another one ends for itself": (
        [LARGE, _view("over", 101, 100)],
        NOTHING,
        [End("over", "memory")],
    ),
    "never without sessions": ([], NOTHING, []),
}


@pytest.mark.parametrize("which", ENDS)
def test_the_session_ends(which: str) -> None:
    views, memory, ends = ENDS[which]
    assert decide(views, memory, 0) == ends
    assert is_short(memory) is (memory is NOTHING)


@pytest.mark.parametrize(
    ("tasks", "limit", "full"),
    [(256, 256, True), (252, 256, True), (251, 256, False), (9999, 0, False), (0, 3, False)],
)
def test_nearly_all_processes_are_all(tasks: int, limit: int, full: bool) -> None:
    assert is_full(tasks, limit) is full

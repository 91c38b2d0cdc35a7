"""The machine's memory, what sessions are charged, the estimate for the next one, busy sessions."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.limits.procfs import usable_memory
from mograder.sandbox.protocol import Arrived, Endpoint, Mode, SessionUse
from mograder.sessions.capacity import (
    MEGABYTE,
    UNKNOWN,
    YOUNG_SECONDS,
    MemoryLedger,
    capacity_limits,
    expected_memory,
    note_use,
    rest,
)
from mograder.sessions.session import LiveSession, SessionKey, Usage
from tests.support.clock import ManualClock


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 1000 KiB of memory."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  1000 kB\nMemFree:  10 kB\n")
    return tmp_path / "proc"


@pytest.fixture
def cgroups(tmp_path: Path, proc: Path) -> Path:
    """The hub is in /system.slice/hub.service."""
    (proc / "self" / "cgroup").write_text("4:memory:/elsewhere\n0::/system.slice/hub.service\n")
    (tmp_path / "cg" / "system.slice" / "hub.service").mkdir(parents=True)
    return tmp_path / "cg"


def test_what_is_set_counts_and_the_rest_is_as_the_machine_has_it() -> None:
    terms = capacity_limits(
        60.0, LimitsSettings(total_memory_mb=500, starts_at_once=3, line_length=7)
    )
    assert (terms.memory, terms.starts, terms.line) == (500 * MEGABYTE, 3, 7)
    assert (terms.ttl, terms.start_timeout) == (60.0, 120)
    found = capacity_limits(60.0, LimitsSettings())
    assert found.starts == 2 * len(os.sched_getaffinity(0))
    assert found.memory == usable_memory()


def test_all_memory_but_a_tenth_is_usable(proc: Path, tmp_path: Path) -> None:
    assert usable_memory(proc, tmp_path / "no-cgroups") == 1000 * 1024 * 9 // 10


@pytest.mark.parametrize("where", ["", "system.slice", "system.slice/hub.service"])
def test_a_smaller_bound_on_the_hubs_cgroup_or_above_counts(
    proc: Path, cgroups: Path, where: str
) -> None:
    (cgroups / "system.slice" / "memory.max").write_text("max\n")
    (cgroups / where / "memory.max").write_text("512000\n")
    assert usable_memory(proc, cgroups) == 512000 * 9 // 10


def test_a_larger_bound_and_none_at_all_count_for_nothing(proc: Path, cgroups: Path) -> None:
    (cgroups / "memory.max").write_text("max\n")
    (cgroups / "system.slice" / "memory.max").write_text("999999999999\n")
    assert usable_memory(proc, cgroups) == 1000 * 1024 * 9 // 10


GIGABYTE = 1024 * MEGABYTE
EDIT = Mode.EDIT
A1 = SessionKey("alice", "A1", EDIT)


def use(session_id: str = "a", *, memory: int = 0, cpu: float = 0.0) -> SessionUse:
    return SessionUse(session_id=session_id, memory=memory, cpu=cpu, processes=3)


def running(item: str, memory: int, mode: Mode = EDIT) -> LiveSession:
    """A session that was measured."""
    now = datetime(2026, 11, 20, tzinfo=UTC)
    usage = Usage(expected=0, born=0.0, memory=memory)
    key = SessionKey("alice", item, mode)
    return LiveSession("id", key, Endpoint(Path("/x")), "/b", "", now, now, usage=usage)


# --- the ledger -----------------------------------------------------------------------------


def test_a_young_session_counts_with_what_is_expected_until_it_uses_more() -> None:
    clock = ManualClock()
    ledger = MemoryLedger(clock)
    ledger.open("a", 100)
    assert ledger.used() == 100
    ledger.measured([use(memory=40)], overhead=0)
    assert ledger.used() == 100
    ledger.measured([use(memory=140)], overhead=7)
    assert ledger.used() == 147
    ledger.measured([use(memory=40)], overhead=7)
    clock.advance(YOUNG_SECONDS)
    assert ledger.used() == 47, "grown up, it counts with what it uses"
    ledger.close("a")
    assert (ledger.used(), len(ledger)) == (7, 0)


def test_what_counts_for_all_is_kept_while_sessions_are_measured_and_end() -> None:
    """Also for one that was reserved before it started, and one that has ended."""
    clock = ManualClock()
    ledger = MemoryLedger(clock)
    for name in ("a", "b", "a"):
        ledger.open(name, 10)
    clock.advance(10 * YOUNG_SECONDS)
    for memory in (300, 200):
        ledger.measured([use("a", memory=memory), use("b", memory=50)], 0, used=1000)
        assert ledger.used() == 1000
    ledger.close("b")
    ledger.close("b")
    ledger.measured([use("b", memory=70)], 0, runs=100, used=900)
    assert ledger.used() == 900


def test_news_of_sessions_that_nobody_knows_are_no_use() -> None:
    ledger = MemoryLedger(ManualClock())
    ledger.measured([use("stranger", memory=100)], overhead=0)
    ledger.arrived(Arrived(session_id="stranger", warm=True))
    assert ledger.used() == 0


def test_how_it_started_is_known_once_it_arrived() -> None:
    ledger = MemoryLedger(ManualClock())
    usage = ledger.open("a", 100)
    known = [usage.warm]
    ledger.arrived(Arrived(session_id="a", warm=False, fallback="no zygote"))
    known.append(usage.warm)
    assert known == [None, False]


# --- what is expected -----------------------------------------------------------------------


NOW = YOUNG_SECONDS
"""When those that were born at 0 are grown."""


def test_an_unknown_item_is_taken_for_an_ordinary_one() -> None:
    assert expected_memory(A1, (), NOW) == UNKNOWN


def test_the_median_of_those_that_run_tells_what_the_next_one_needs() -> None:
    """One memory bomb among them does not make everybody wait."""
    alike = [running("A1", 40 * MEGABYTE) for _ in range(4)]
    bomb, other = running("A1", 2 * GIGABYTE), running("A2", 2 * GIGABYTE)
    lecture = running("A1", 2 * GIGABYTE, Mode.RUN)
    assert expected_memory(A1, [*alike, bomb, other, lecture], NOW) == 60 * MEGABYTE
    assert expected_memory(A1, alike[:3], NOW) == UNKNOWN, "too few to tell"
    assert expected_memory(A1, alike, NOW - 1) == UNKNOWN, "too young to tell"


# --- who computes ---------------------------------------------------------------------------


def judged(*measures: tuple[float, float]) -> list[bool]:
    """Whether it was taken to compute after each measure of its processor seconds, and when."""
    usage = Usage(expected=0, born=0.0)
    found: list[bool] = []
    for cpu, now in measures:
        note_use(usage, use(cpu=cpu), now)
        found.append(usage.busy)
    return found


def test_a_kernel_computes_when_it_took_a_twentieth_of_a_processor_over_some_seconds() -> None:
    assert judged((1.0, 0.0), (3.0, 2.0)) == [False, False], "two seconds are too short to tell"
    assert judged((1.0, 0.0), (5.0, 5.0), (5.2, 10.0)) == [False, True, False]


def test_the_mean_over_a_long_silence_says_nothing() -> None:
    assert judged((0.0, 0.0), (100.0, 1000.0), (105.0, 1005.0)) == [False, False, True]


def test_a_kernel_of_which_nothing_is_heard_any_more_rests() -> None:
    """Only what changes is measured: silence means that it takes no processor time."""
    usage = Usage(expected=0, born=0.0)
    note_use(usage, use(cpu=0.0), 0.0)
    note_use(usage, use(cpu=5.0), 5.0)
    assert [_rested(usage, now) for now in (5.0, 20.0, 20.1)] == [False, False, True]


def _rested(usage: Usage, now: float) -> bool:
    rest(usage, now)
    return not usage.busy

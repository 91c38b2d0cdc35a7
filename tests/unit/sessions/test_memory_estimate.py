"""Memory charged to sessions, the estimate for the next one, and busy sessions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mograder.sandbox.protocol import Arrived, Endpoint, Mode, SessionUse
from mograder.sessions.capacity import (
    MEGABYTE,
    UNKNOWN,
    YOUNG_SECONDS,
    MemoryLedger,
    expected_memory,
    note_use,
    rest,
)
from mograder.sessions.session import LiveSession, SessionKey, Usage
from tests.support.clock import ManualClock

GIGABYTE = 1024 * MEGABYTE
EDIT = Mode.EDIT
A1 = SessionKey("alice", "A1", EDIT)


def use(session_id: str = "a", *, memory: int = 0, cpu: float = 0.0) -> SessionUse:
    """A measurement."""
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

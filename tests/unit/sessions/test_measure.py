"""What sessions count with, what the next one is expected to need, and who computes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.sandbox.protocol import Arrived, Endpoint, Mode, SessionUse
from mograder.sessions.capacity import MEGABYTE
from mograder.sessions.live import LiveSession, SessionKey, Usage
from mograder.sessions.measure import (
    UNKNOWN,
    YOUNG_SECONDS,
    Expectations,
    Ledger,
    adapted,
    by_item,
    note_use,
    rest,
)
from mograder.sessions.tally import ItemMemory
from tests.support.clock import ManualClock

GIGABYTE = 1024 * MEGABYTE
EDIT = Mode.EDIT


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
    ledger = Ledger(clock)
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


def test_a_session_that_was_never_measured_counts_with_what_is_expected_for_ever() -> None:
    """An older supervisor measures nothing."""
    clock = ManualClock()
    ledger = Ledger(clock)
    ledger.open("a", 100)
    clock.advance(10 * YOUNG_SECONDS)
    assert ledger.used() == 100


def test_news_of_sessions_that_nobody_knows_are_no_use() -> None:
    ledger = Ledger(ManualClock())
    ledger.measured([use("stranger", memory=100)], overhead=0)
    ledger.arrived(Arrived(session_id="stranger", warm=True))
    assert ledger.used() == 0


def test_how_it_started_is_known_once_it_arrived() -> None:
    ledger = Ledger(ManualClock())
    usage = ledger.open("a", 100)
    known = [usage.warm]
    ledger.arrived(Arrived(session_id="a", warm=False, fallback="no zygote"))
    known.append(usage.warm)
    assert known == [None, False]


# --- what is expected -----------------------------------------------------------------------


NOW = YOUNG_SECONDS
"""When those that were born at 0 are grown."""


def test_an_unknown_item_is_taken_for_an_ordinary_one() -> None:
    assert Expectations().expect("A1", EDIT, (), NOW) == UNKNOWN


def test_what_runs_now_counts_by_its_third_quartile() -> None:
    """One memory bomb among them does not make everybody wait."""
    alike = [running("A1", 300 * MEGABYTE) for _ in range(4)]
    bomb, other = running("A1", 2 * GIGABYTE), running("A2", 2 * GIGABYTE)
    lecture = running("A1", 2 * GIGABYTE, Mode.RUN)
    expectations = Expectations()
    expectations.remember("A1", EDIT, 200 * MEGABYTE)
    assert expectations.expect("A1", EDIT, alike, NOW) == 300 * MEGABYTE
    found = expectations.expect("A1", EDIT, [*alike, bomb, other, lecture], NOW)
    assert found < GIGABYTE * 1.2
    assert expectations.expect("A1", EDIT, alike[:3], NOW) == 200 * MEGABYTE, "too few to tell"
    assert expectations.expect("A1", EDIT, alike, NOW - 1) == 200 * MEGABYTE, "too young to tell"


def test_of_an_item_that_was_never_opened_before_the_first_students_tell() -> None:
    """Else the first three hundred would count with three times what they use."""
    alike = [running("A1", 40 * MEGABYTE) for _ in range(4)]
    assert Expectations().expect("A1", EDIT, alike, NOW) == 60 * MEGABYTE


@pytest.mark.parametrize(("peak", "learnt"), [(50, 50), (1, 16), (200, 162.5), (4000, 187.5)])
def test_the_first_session_takes_the_place_of_the_guess_but_a_bomb_does_not(
    peak: int, learnt: float
) -> None:
    expectations = Expectations()
    expectations.learn("A1", EDIT, peak * MEGABYTE)
    assert expectations.changes() == [("A1", EDIT, round(learnt * MEGABYTE))]


def test_what_was_learnt_is_told_until_it_is_written_down() -> None:
    expectations = Expectations()
    expectations.remember("A1", EDIT, 100 * MEGABYTE)
    assert expectations.changes() == []
    expectations.learn("A1", EDIT, 120 * MEGABYTE)
    ((item, mode, learnt),) = expectations.changes()
    assert (item, mode, learnt) == ("A1", EDIT, 105 * MEGABYTE)
    expectations.learn("A1", EDIT, 120 * MEGABYTE)
    expectations.written(item, mode, learnt)
    assert len(expectations.changes()) == 1, "more was learnt meanwhile"
    expectations.written(*expectations.changes()[0])
    assert expectations.changes() == []
    expectations.learn("A1", EDIT, 0)
    assert expectations.changes() == [], "what was never measured teaches nothing"


@given(known=st.integers(16 * MEGABYTE, GIGABYTE), peak=st.integers(1, 100 * GIGABYTE))
def test_one_session_changes_little_and_never_past_itself(known: int, peak: int) -> None:
    after = adapted(known, peak)
    assert after <= known * 1.25 + 1
    assert after >= min(known * 0.9 - 1, peak)
    assert min(known, peak) - 1 <= after <= max(known, peak, 16 * MEGABYTE) + 1


@pytest.mark.parametrize("truth", [45 * MEGABYTE, 400 * MEGABYTE])
def test_after_some_sessions_the_truth_is_about_known(truth: int) -> None:
    expected = UNKNOWN
    for _ in range(30):
        expected = adapted(expected, truth)
    assert abs(expected - truth) < truth * 0.15


def test_memory_is_added_up_per_item_and_mode() -> None:
    sessions = [running("A1", 1), running("A1", 2), running("A1", 4, Mode.RUN), running("A0", 8)]
    assert by_item(sessions) == [
        ItemMemory("A0", "edit", 1, 8),
        ItemMemory("A1", "edit", 2, 3),
        ItemMemory("A1", "run", 1, 4),
    ]


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

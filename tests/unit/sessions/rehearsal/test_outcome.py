"""The figures of a rehearsal."""

from __future__ import annotations

from mograder.sandbox.protocol import Mode
from mograder.sessions.capacity import MEGABYTE
from mograder.sessions.rehearsal_outcome import (
    STALLED_SECONDS,
    Seconds,
    State,
    Trial,
    plan,
    summary,
)
from mograder.sessions.session import SessionKey


def trial(number: int, state: State, seconds: float | None, megabytes: int = 0) -> Trial:
    key = SessionKey(f"__rehearsal-{number}", "A1", Mode.EDIT)
    asked = 100.0 + number
    end = None if seconds is None else asked + seconds
    return Trial(key, state, asked, end, end, end, megabytes * MEGABYTE, warm=True, errors=2)


def test_times_count_from_the_request_and_memory_says_how_many_fit() -> None:
    trials = [trial(n, State.FINISHED, float(n), 50) for n in range(1, 20)]
    trials += [trial(20, State.FINISHED, 100.0, 90), trial(21, State.NO_ROOM, None)]
    trials[-1].warm = None
    total = 1000 * MEGABYTE
    found = summary(
        trials, together=1040 * MEGABYTE, total=total, used=500 * MEGABYTE, seconds=30.0
    )
    assert found.all_cells == Seconds(median=10.5, p95=19.0, worst=100.0)
    assert (found.memory_each, found.memory_largest) == (50 * MEGABYTE, 90 * MEGABYTE)
    assert (found.holds, found.holds_now) == (20, 10)
    assert (found.states[State.FINISHED], found.states[State.NO_ROOM]) == (20, 1)
    assert (found.warm, found.errors) == (20, 2)


def test_without_a_single_session_there_are_no_figures() -> None:
    failed = trial(1, State.FAILED, None)
    failed.failure, failed.warm = "no sandbox", False
    found = summary([failed], together=0, total=100, used=200, seconds=1.0)
    assert (found.started, found.memory_each, found.holds, found.holds_now) == (None, 0, 0, 0)
    assert found.failures == {"no sandbox": 1}


def test_the_estimate_says_how_many_fit_and_how_long_it_takes() -> None:
    each, total = 100 * MEGABYTE, 1000 * MEGABYTE
    all_fit = plan(5, 60.0, each=each, total=total, used=0, start=1.0, places=2)
    assert (all_fit.fits, all_fit.seconds) == (5, 70.0)
    some = plan(50, 0.0, each=each, total=total, used=total // 2, start=2.0, places=2)
    assert (some.fits, some.seconds) == (5, 5.0 + STALLED_SECONDS + 10)
    assert plan(5, 0.0, each=each, total=total, used=2 * total, start=1.0, places=1).fits == 0

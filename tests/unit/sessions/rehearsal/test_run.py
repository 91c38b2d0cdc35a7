"""Rehearsals in a real pool, with sandboxes in memory: students come first, and nothing stays."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from marimo._messaging.errors import MarimoAncestorStoppedError, MarimoExceptionRaisedError
from marimo._types.ids import CellId_t
from msgspec import Struct, to_builtins

from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict, RemoteFailed, SandboxUnavailable
from mograder.core.names import ItemName, Username, is_rehearsal, rehearsal_user
from mograder.sandbox.protocol import Endpoint, Measured, Mode, SessionUse
from mograder.sessions import rehearsal
from mograder.sessions.admission import Kind
from mograder.sessions.capacity import MEGABYTE, CapacityLimits
from mograder.sessions.idle_culler import idle
from mograder.sessions.manager import SessionManager
from mograder.sessions.rehearsal import (
    STALLED_SECONDS,
    CellRun,
    Outcome,
    Pace,
    Rehearsal,
    Seconds,
    State,
    Trial,
    Wish,
    clear,
    left_over,
    plan,
    summary,
)
from mograder.sessions.session import SessionKey
from mograder.store.copies.workspaces import Workspaces
from mograder.store.releases.releases import Releases
from tests.support.fake_marimo import FakeMarimo, fake_marimo
from tests.support.session_pools import (
    ALICE,
    BOB,
    PATIENCE,
    TTL,
    Rig,
    ignore_progress,
    measure,
    owner,
    soon,
    terms,
)
from tests.support.supervisors import until

QUICK = Pace(look=0.01, settle=0.02, stalled=0.2, patience=20.0, news=0.05)
FIRST = SessionKey("__rehearsal-1", "A1", Mode.EDIT)


@dataclass
class Stage:
    """A pool, its sessions' server, and the students' folders."""

    rig: Rig
    pool: SessionManager
    marimo: FakeMarimo
    root: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        directory = self.root.parent / "release" / "A1"
        directory.mkdir(parents=True)
        (directory / "A1.py").write_text("import marimo\napp = marimo.App()\n")
        release = Releases(directory.parent).get(ItemName("A1"))
        assert release is not None
        self.release = release
        self.workspaces = Workspaces(self.root)

    def rehearsal(self, students: int, pace: Pace = QUICK, mode: Mode = Mode.EDIT) -> Rehearsal:
        wish = Wish(self.release, mode, students, within=0.0)
        return Rehearsal(self.pool, self.marimo, self.workspaces, SystemClock(), wish, pace)

    async def run(self, students: int, pace: Pace = QUICK, mode: Mode = Mode.EDIT) -> Outcome:
        async with asyncio.timeout(20):
            return await self.rehearsal(students, pace, mode).run(self.said.append)

    def nothing_is_left(self) -> bool:
        """Whether no session, row, ending or folder of a rehearsal is there."""
        folders = [each for each in self.root.iterdir() if is_rehearsal(each.name)]
        endings = [FIRST] if self.pool.history.of_key(FIRST) else []
        rows = [each for each in self.rig.rows() if is_rehearsal(each[0])]
        return not (folders or endings or rows or left_over(self.pool))


@asynccontextmanager
async def stage(
    rig: Rig, directory: Path, on: CapacityLimits | None = None
) -> AsyncIterator[Stage]:
    (directory / "hub-notebooks").mkdir()
    async with fake_marimo(directory) as marimo, rig.pool(on or terms()) as pool:
        yield Stage(rig, pool, marimo, directory / "hub-notebooks")


@pytest.fixture
async def here(rig: Rig, tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(rig, tmp_path) as here:
        yield here


async def test_all_run_their_cells_at_once_and_nothing_is_left(rig: Rig, here: Stage) -> None:
    most = 0

    def count(_: str) -> None:
        nonlocal most
        most = max(most, len(here.marimo.open))

    here.marimo.joined = count
    outcome = await here.run(5)
    assert outcome.states == {State.FINISHED: 5}
    assert most == 5, "their sessions stay open until all are through"
    assert outcome.all_cells is not None
    assert outcome.all_cells.median < 20
    assert rig.launcher.requests == {}
    assert here.nothing_is_left()
    assert here.pool.tally.starts == {}, "no student has started anything"


async def test_each_has_a_copy_or_runs_the_lecture(here: Stage) -> None:
    seen: list[list[str]] = []
    here.marimo.joined = lambda _: seen.append([path.name for path in here.root.iterdir()])
    await here.run(1)
    await here.run(1, mode=Mode.RUN)
    assert [[each for each in names if each[0] != "."] for names in seen] == [
        ["__rehearsal-1"],
        [],
    ]
    assert here.marimo.pages == ["/edit/user/__rehearsal-1/A1/", "/run/user/__rehearsal-1/A1/"]


async def test_those_without_memory_would_wait(rig: Rig, tmp_path: Path) -> None:
    async with stage(rig, tmp_path, terms(memory_mb=800, starts=1)) as here:
        outcome = await here.run(6)
        # A quarter of what there is stays free for students: 4 * 150 MB.
        assert outcome.states == {State.FINISHED: 4, State.NO_ROOM: 2}
        assert here.nothing_is_left()


async def test_a_student_who_comes_is_not_kept_waiting(rig: Rig, tmp_path: Path) -> None:
    async with stage(rig, tmp_path, terms(memory_mb=800, starts=1)) as here:
        rehearsal = here.rehearsal(4, Pace(look=0.01, settle=30.0))
        running = asyncio.create_task(rehearsal.run(ignore_progress))
        await until(lambda: all(each.state is State.FINISHED for each in rehearsal.trials))
        keys = (SessionKey(f"student-{number}", "A1", Mode.EDIT) for number in range(5))
        for key in keys:
            await soon(here.pool.get_or_start(key, ignore_progress))
        assert [each.state for each in rehearsal.trials].count(State.GAVE_WAY) == 4
        assert len(here.pool.all()) == 5
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert here.nothing_is_left()


async def test_no_start_of_a_rehearsal_is_before_a_students(rig: Rig, tmp_path: Path) -> None:
    async with stage(rig, tmp_path, terms(starts=1)) as here:
        first = await rig.begin(here.pool)
        running = asyncio.create_task(here.run(2))
        await until(lambda: len(here.pool.admission.waiting(Kind.REHEARSAL)) == 2)
        second = await rig.line_up(here.pool, BOB)
        rig.server.up.set()
        await asyncio.gather(first, second)
        assert [owner(each) for each in rig.launcher.requests.values()][:2] == ["alice", "bob"]
        assert (await running).states == {State.FINISHED: 2}


async def test_failures_are_told_and_end_nothing_else(rig: Rig, here: Stage) -> None:
    here.marimo.status = 500
    outcome = await here.run(2)
    assert outcome.failures == {"The notebook's server answered its page with 500.": 2}
    here.marimo.status, here.marimo.silent = 200, True
    outcome = await here.run(1, Pace(look=0.01, settle=0.02, patience=0.1))
    assert list(outcome.failures) == ["the cells ran for more than 0 seconds"]
    rig.launcher.failure = SandboxUnavailable("No sandbox.")
    assert (await here.run(1)).failures == {"No sandbox.": 1}
    assert here.nothing_is_left()


async def test_its_starts_and_ends_do_not_count_and_need_no_place_in_the_students_line(
    rig: Rig, tmp_path: Path
) -> None:
    async with stage(rig, tmp_path, terms(line=0)) as here:
        assert (await here.run(1)).states == {State.FINISHED: 1}
        rig.launcher.failure = SandboxUnavailable("No sandbox.")
        assert (await here.run(1)).states == {State.FAILED: 1}
        assert not here.pool.tally.starts
        assert not here.pool.tally.endings


async def test_a_session_that_is_ended_for_its_memory_has_failed(rig: Rig, here: Stage) -> None:
    here.marimo.silent = True
    rehearsal = here.rehearsal(1)
    running = asyncio.create_task(rehearsal.run(ignore_progress))
    await until(lambda: bool(here.marimo.open))
    (session_id,) = rig.launcher.requests
    use = SessionUse(session_id=session_id, memory=700 * MEGABYTE, cpu=1.0, processes=3)
    rig.launcher.tell(Measured(sessions=(use,)))
    await until(lambda: rehearsal.trials[0].memory > 0)
    rig.launcher.die(session_id, reason="memory")
    outcome = await running
    assert outcome.failures == {"the session ended by itself (memory)": 1}
    assert outcome.memory_largest == 700 * MEGABYTE


async def test_its_own_young_sessions_do_not_run_beside_it(rig: Rig, here: Stage) -> None:
    """They count with what is expected of them, which is more than they use."""
    wish = Wish(here.release, Mode.EDIT, 5, within=0.0)
    own = Rehearsal(here.pool, here.marimo, here.workspaces, rig.clock, wish, QUICK)

    def tell(text: str) -> None:
        if text == "Measuring the sessions":
            measure(rig, *((live, 50) for live in here.pool.all()))

    outcome = await own.run(tell)
    assert outcome.memory_each == 50 * MEGABYTE
    assert outcome.holds_now == outcome.holds == 2000


async def test_its_sessions_are_in_use_until_the_last_is_through(rig: Rig, here: Stage) -> None:
    """Students may come over a longer time than a session may be idle."""
    here.marimo.silent = True
    running = asyncio.create_task(here.run(2))
    await until(lambda: len(here.marimo.open) == 2)
    rig.clock.advance(2 * TTL)
    limit = timedelta(seconds=TTL)
    await until(lambda: not idle(here.pool.all(), rig.clock.now(), limit))
    assert len(here.pool.all()) == 2
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_cancelling_it_removes_everything_also_what_is_starting(
    rig: Rig, here: Stage
) -> None:
    rig.server.up.clear()
    running = asyncio.create_task(here.run(3))
    await until(lambda: len(rig.launcher.requests) == 3)
    running.cancel()
    await until(lambda: here.pool.states()["starting"] == 3)
    rig.server.up.set()
    with suppress(asyncio.CancelledError):
        await running
    assert running.cancelled()
    assert rig.launcher.requests == {}
    assert here.nothing_is_left()


async def test_stopping_one_of_its_sessions_from_elsewhere_ends_it(here: Stage) -> None:
    here.marimo.silent = True
    running = asyncio.create_task(here.run(2))
    await until(lambda: len(here.marimo.open) == 2)
    await here.pool.stop(FIRST)
    with pytest.raises(Conflict, match="was ended"):
        await running
    assert here.nothing_is_left()


async def test_what_a_killed_hub_left_is_removed_and_nothing_of_students(
    rig: Rig, tmp_path: Path
) -> None:
    async with stage(rig, tmp_path) as here:
        await here.pool.get_or_start(FIRST, ignore_progress)
        await here.pool.get_or_start(ALICE, ignore_progress)
        here.workspaces.ensure(rehearsal_user(1), here.release)
        here.workspaces.ensure(Username("alice"), here.release)
    async with rig.pool() as next_pool:
        assert left_over(next_pool) == (FIRST,)
        await clear(next_pool, left_over(next_pool), here.workspaces)
        assert [live.key for live in next_pool.all()] == [ALICE]
        assert next_pool.history.of_key(FIRST) is None
        assert (here.root / "alice" / "A1" / "A1.py").is_file()
        assert not (here.root / "__rehearsal-1").exists()


# --- a page without a browser: what it does, and what it does not believe ---------------------

BASE = "/edit/user/__rehearsal-1/A1"


def ticks() -> Callable[[], float]:
    """A clock that goes on by one second at each look."""
    numbers = itertools.count()
    return lambda: float(next(numbers))


@asynccontextmanager
async def page_of(fake: FakeMarimo) -> AsyncIterator[CellRun]:
    async with (
        asyncio.timeout(PATIENCE),
        rehearsal.opened(fake, Endpoint(fake.socket), BASE, ticks()) as page,
    ):
        yield page


@pytest.mark.parametrize("by_itself", [False, True])
async def test_all_cells_run_and_the_page_stays_open(tmp_path: Path, by_itself: bool) -> None:
    async with fake_marimo(tmp_path) as fake:
        fake.by_itself = by_itself
        async with page_of(fake) as page:
            await page.run_all()
            assert (page.first_output, page.all_cells, page.errors) == (0.0, 1.0, 0)
            assert fake.open == {f"{BASE}/ws"}
        assert fake.pages == [f"{BASE}/"]


async def test_cells_with_an_error_are_counted_and_none_below_a_stopped_one(tmp_path: Path) -> None:
    def ended(error: Struct) -> dict[str, object]:
        output = {"mimetype": "application/vnd.marimo+error", "data": [to_builtins(error)]}
        return {"op": "cell-op", "data": {"cell_id": "b", "output": output}}

    error = ended(MarimoExceptionRaisedError('"ancestor-stopped"', "ValueError", None))
    below = ended(MarimoAncestorStoppedError("stopped", CellId_t("a")))
    async with fake_marimo(tmp_path) as fake:
        fake.extra = (error, {"op": "nonsense"}, below, error)
        async with page_of(fake) as page:
            await page.run_all()
            assert page.errors == 2


async def test_a_server_that_refuses_or_leaves_is_a_failure(tmp_path: Path) -> None:
    async with fake_marimo(tmp_path) as fake:
        fake.broken = True
        async with page_of(fake) as page:
            with pytest.raises(RemoteFailed, match="closed the connection"):
                await page.run_all()
        fake.status = 500
        async with page_of(fake) as page:
            with pytest.raises(RemoteFailed, match="its page with 500"):
                await page.run_all()
        fake.status, fake.page = 200, "no token"
        async with page_of(fake) as page:
            fake.broken = False
            with pytest.raises(RemoteFailed, match="run all cells with 401"):
                await page.run_all()


async def test_messages_without_end_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "_MOST_MESSAGE", 1000)
    async with fake_marimo(tmp_path) as fake:
        fake.extra = ({"op": "cell-op", "data": "x" * 2000},)
        async with page_of(fake) as page:
            with pytest.raises(RemoteFailed, match="closed the connection"):
                await page.run_all()


# --- the figures ------------------------------------------------------------------------------


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

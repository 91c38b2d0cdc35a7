"""Admission: kinds in their order, first come first served, the memory, and the reported place.

The rule is a table; the queue is tried with requests of all kinds (decision 25).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mograder.core.errors import Conflict
from mograder.sandbox.protocol import Endpoint, Measured, Mode
from mograder.sessions.admission import (
    AdmissionQueue,
    Kind,
    Load,
    Obstacle,
    Ticket,
    obstacle,
    place_text,
    places,
    retry_after,
)
from mograder.sessions.capacity import MEGABYTE, UNKNOWN, CapacityLimits, MemoryLedger
from mograder.sessions.counters import Counters
from mograder.sessions.session import LiveSession, SessionKey, Usage
from tests.support.clock import ManualClock
from tests.support.session_pools import ALICE, Rig, ignore_progress, soon, terms
from tests.support.supervisors import until

OPENS = "Your notebook opens by itself."
FEW_STEPS = 8
"""Turns of the event loop that any news takes to arrive here."""
ALMOST = 1.99
"""Seconds after which a session has waited almost as long as any does."""
STUDENT, REHEARSAL, RUN = Kind
MACHINES, STUDENTS, PLACES, MEMORY = Obstacle


@dataclass
class Queue:
    """A queue, and the requests that entered it, by number."""

    on: CapacityLimits
    clock: ManualClock = field(default_factory=ManualClock)
    tally: Counters = field(default_factory=Counters)
    tickets: dict[int, Ticket] = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[Usage]] = field(default_factory=dict)
    told: dict[int, list[str]] = field(default_factory=dict)
    inside: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger(self.clock)
        self.line = AdmissionQueue(self.on, self.ledger, self.tally, self.clock)

    async def come(self, number: int, expected: int = 100, kind: Kind = STUDENT) -> None:
        """Request a start that needs this number of megabytes."""
        key = None if kind is RUN else key_of(number)
        told = self.told[number] = []
        ticket = Ticket(kind, number, f"s{number}", expected * MEGABYTE, key, told.append)
        self.tickets[number] = ticket
        ticket.admitted.add_done_callback(lambda done: self._note(number, done))
        self.tasks[number] = asyncio.create_task(self.line.enter(ticket))
        await settle()

    def _note(self, number: int, admitted: asyncio.Future[Usage]) -> None:
        if not admitted.cancelled() and admitted.exception() is None:
            self.inside.append(number)

    async def answer(self, number: int) -> None:
        """Let the server of an admitted start answer."""
        await self.tasks[number]
        self.line.leave(self.tickets[number])
        await settle()

    async def end(self, number: int) -> None:
        """End the session of an admitted start, or a run."""
        await self.answer(number)
        self.ledger.close(f"s{number}")
        self.line.pump()
        await settle()

    async def leave(self, number: int) -> None:
        """Cancel a waiting start."""
        self.tasks[number].cancel()
        await settle()

    async def close(self) -> None:
        """Leave no task and no timer behind."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        for ticket in self.tickets.values():
            self.line.leave(ticket)
        self.line.close()


def key_of(number: int) -> SessionKey:
    return SessionKey(f"user-{number}", "A1", Mode.EDIT)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(FEW_STEPS):
        await asyncio.sleep(0)


# --- deciding -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected", "load", "why"),
    [
        # Of 1000 MB, with 2 starts: what is left for the next starts is 250 MB.
        (STUDENT, 1000, Load(0, 1, starting=1), None),
        (STUDENT, 1, Load(0, 2, starting=2), PLACES),
        (STUDENT, 1, Load(1000, 1), MEMORY),
        (STUDENT, 10**6, Load(10**6, 0), None),  # the only one is let in whatever it needs
        (REHEARSAL, 750, Load(0, 1), None),
        (REHEARSAL, 751, Load(0, 1), MEMORY),
        (REHEARSAL, 1, Load(0, 1, starting=1), PLACES),
        (REHEARSAL, 1, Load(0, 1, students=1), STUDENTS),
        (REHEARSAL, 1, Load(0, 1, waiting=1), STUDENTS),
        (RUN, 300, Load(450, 4), None),
        (RUN, 301, Load(450, 4), MEMORY),
        (RUN, 10**6, Load(0, 0), None),
        (RUN, 1, Load(0, 1, students=2, starting=9), None),
        (RUN, 1, Load(0, 1, waiting=1), STUDENTS),
    ],
)
def test_what_keeps_a_request_out(
    kind: Kind, expected: int, load: Load, why: Obstacle | None
) -> None:
    on = terms(memory_mb=1000, starts=2)
    used = Load(load.used * MEGABYTE, load.others, load.starting, load.students, load.waiting)
    assert obstacle(kind, expected * MEGABYTE, used, on) is why


@pytest.mark.parametrize("kind", Kind)
def test_without_a_machine_or_one_with_room_everything_waits(kind: Kind) -> None:
    none = terms(memory_mb=0, starts=0)
    assert obstacle(kind, 1, Load(), none) is MACHINES
    assert none.most_expected > 10**12, "what a session will need is not known to be less"
    on = terms(memory_mb=9000)
    on.fits = lambda expected: expected <= 100
    assert obstacle(kind, 100, Load(others=5), on) is None
    assert obstacle(kind, 101, Load(others=5), on) is MEMORY
    assert obstacle(kind, 101, Load(), on) is None


def test_little_is_kept_free_where_starts_need_little() -> None:
    on = terms(memory_mb=9000, starts=1)
    assert obstacle(RUN, 9000 * MEGABYTE - UNKNOWN, Load(others=1), on) is None
    assert obstacle(RUN, 9001 * MEGABYTE - UNKNOWN, Load(others=1), on) is MEMORY
    assert [places(REHEARSAL, terms(starts=starts)) for starts in (1, 2, 5)] == [1, 1, 2]


# --- kinds ----------------------------------------------------------------------------------


async def test_students_go_first_then_rehearsals_then_runs() -> None:
    queue = Queue(terms(memory_mb=1000, starts=1))
    await queue.come(1, 900)
    await queue.come(2, 300, RUN)
    await queue.come(3, 300, REHEARSAL)
    await queue.come(4, 300, REHEARSAL)
    await queue.come(5, 400)
    assert queue.inside == [1]
    assert [len(queue.line.waiting(kind)) for kind in Kind] == [1, 2, 1]
    assert queue.tally.queue_length == 1, "only students are in line"
    await queue.end(1)
    assert queue.inside == [1, 5, 2], "the run needs no place"
    await queue.answer(5)
    assert queue.inside == [1, 5, 2], "there is no memory for a rehearsal beside both"
    await queue.end(2)
    assert queue.inside == [1, 5, 2, 3]
    await queue.answer(3)
    assert queue.inside == [1, 5, 2, 3], "400, 300, and 150 for the next student"
    await queue.end(5)
    assert queue.inside == [1, 5, 2, 3, 4]
    assert queue.line.idle
    await queue.close()


async def test_a_rehearsal_neither_counts_as_a_students_start_nor_waits_for_its_place() -> None:
    queue = Queue(terms(starts=2))
    await queue.come(1, 100, REHEARSAL)
    await queue.come(2, 100, REHEARSAL)
    await queue.come(3)
    await queue.come(4)
    assert queue.inside == [1, 3, 4]
    await queue.leave(2)
    await queue.answer(1)
    assert queue.line.idle
    await queue.close()


async def test_runs_take_the_memory_that_is_free_and_give_it_back() -> None:
    queue = Queue(terms(memory_mb=1200, starts=2))
    over = [asyncio.Event() for _ in range(5)]

    async def work(until: asyncio.Event) -> None:
        async with queue.line.run(2 * UNKNOWN):
            await until.wait()

    runs = [asyncio.create_task(work(each)) for each in over]
    await settle()
    assert len(queue.line.waiting(RUN)) == 2, "900 of 1200, and the rest is for students"
    runs[-1].cancel()  # in line
    await settle()
    assert len(queue.line.waiting(RUN)) == 1
    await queue.come(1, 400)
    assert queue.inside == []
    over[0].set()
    await settle()
    assert queue.inside == [1], "the next run lets a student's start go first"
    runs[1].cancel()  # while it runs
    await queue.end(1)
    assert queue.line.idle
    for each in over:
        each.set()
    await asyncio.gather(*runs, return_exceptions=True)
    assert (len(queue.ledger), queue.ledger.used()) == (0, 0)
    await queue.close()


async def test_what_runs_use_counts_as_used(rig: Rig) -> None:
    on = terms(memory_mb=1000, starts=1)
    async with rig.pool(on) as pool, pool.admission.run(2 * UNKNOWN):
        rig.launcher.tell(Measured(runs=900 * MEGABYTE))
        start = asyncio.create_task(pool.get_or_start(ALICE, ignore_progress))
        await until(lambda: pool.tally.queue_length == 1)
        rig.launcher.tell(Measured(runs=400 * MEGABYTE))
        await soon(start)


def test_the_time_to_ask_again_follows_the_pace_of_the_line_within_reason() -> None:
    assert retry_after([], 1000) == 60
    assert retry_after([0.0, 1.0, 2.0], 100) == 100
    assert retry_after([0.0, 0.001], 10) == 10
    assert retry_after([0.0, 1000.0], 1000) == 300


# --- the order ------------------------------------------------------------------------------


async def test_who_asked_first_stands_first_even_if_its_software_took_longer() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 3, 4, 2):
        await queue.come(number)
    await queue.answer(1)
    await queue.answer(2)
    assert queue.inside == [1, 2, 3]
    await queue.close()


async def test_one_who_is_cancelled_at_the_moment_of_being_let_in_takes_no_place() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2, 3):
        await queue.come(number)
    await queue.tasks[1]
    queue.line.leave(queue.tickets[1])  # 2 is let in now, and does not know it yet
    assert queue.tickets[2].admitted.done()
    await queue.leave(2)
    assert queue.inside == [1, 2, 3]
    assert len(queue.ledger) == 2, "what 2 would have used is not counted"
    await queue.close()


async def test_one_who_is_told_to_leave_hears_why() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2, 3):
        await queue.come(number)
    assert queue.line.dismiss(key_of(2))
    assert not queue.line.dismiss(key_of(2))
    assert not queue.line.dismiss(key_of(1)), "who was let in waits no more"
    with pytest.raises(Conflict, match="before its turn"):
        await queue.tasks[2]
    await queue.answer(1)
    assert queue.inside == [1, 3]
    await queue.close()


async def test_a_server_that_hangs_keeps_others_out_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a handful of students with a trick could keep everybody from starting."""
    monkeypatch.setattr("mograder.sessions.admission._PLACE_SECONDS", 0.01)
    queue = Queue(terms(starts=1))
    await queue.come(1)
    await queue.come(2)
    await soon(queue.tasks[2])
    assert queue.inside == [1, 2]
    await queue.answer(1)
    await queue.come(3)
    await soon(queue.tasks[3])
    await queue.close()


async def test_starts_that_wait_for_a_machine_are_admitted_when_there_is_one() -> None:
    queue = Queue(terms(memory_mb=0, starts=0))
    await queue.come(1)
    assert queue.told[1] == ["You are number 1 in line: no machine is ready yet. " + OPENS]
    queue.on.memory, queue.on.starts = 10**9, 4
    queue.line.pump()
    await queue.answer(1)
    assert queue.inside == [1]
    await queue.close()


async def test_what_no_machine_has_room_for_is_what_others_are_to_free() -> None:
    queue = Queue(terms(memory_mb=1000))
    queue.on.fits = lambda expected: expected < 50 * MEGABYTE
    await queue.come(1, 40)
    await queue.come(2, 60)
    assert queue.line.shortage() == 60 * MEGABYTE
    await queue.close()


async def test_no_other_session_is_to_go_for_memory_that_gets_free_anyway() -> None:
    """An end may take minutes, on a disk that hangs; but it may also hang for ever."""
    queue = Queue(terms(memory_mb=200))
    for number in (1, 2, 3):
        await queue.come(number)
    assert queue.line.shortage() == 100 * MEGABYTE
    usage = await queue.tasks[1]
    usage.ends = queue.clock.steady()
    queue.clock.advance(299)
    assert queue.line.shortage() == 0
    assert queue.line.used() == 200 * MEGABYTE, "what waits is not admitted before it has ended"
    queue.clock.advance(1)
    assert queue.line.shortage() == 100 * MEGABYTE
    await queue.close()


# --- the places -----------------------------------------------------------------------------


async def test_everybody_is_told_the_place_and_every_step_forward() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2, 3):
        await queue.come(number)
    assert queue.told[1] == []
    assert queue.told[2] == [place_text(1, Obstacle.PLACES)]
    assert queue.told[3] == [place_text(2, Obstacle.PLACES)]
    assert queue.told[3][0].startswith("You are number 2 in line: ")
    await queue.answer(1)
    await soon(_until_told(queue, 3, 2))
    assert queue.told[3][-1] == place_text(1, Obstacle.PLACES)
    assert queue.told[2] == [place_text(1, Obstacle.PLACES)], "who was let in hears no more"
    await queue.close()


async def _until_told(queue: Queue, number: int, times: int) -> None:
    while len(queue.told[number]) < times:  # noqa: ASYNC110 - the queue appends to a list
        await asyncio.sleep(0.01)


# --- pages first ----------------------------------------------------------------------------


def started(queue: Queue, seconds_ago: float = 0.0) -> LiveSession:
    """A session that was started so long ago."""
    at = queue.clock.now() - timedelta(seconds=seconds_ago)
    key = SessionKey("alice", "A1", Mode.EDIT)
    return LiveSession("s", key, Endpoint(Path("/socket")), "/edit", "1", at, at)


async def test_a_kernel_waits_until_all_who_came_with_it_have_their_page() -> None:
    queue = Queue(terms(starts=1))
    for number in (1, 2):
        await queue.come(number)
    kernel = asyncio.create_task(queue.line.pages_first(started(queue)))
    await settle()
    assert not kernel.done()
    await queue.answer(1)
    assert not kernel.done(), "the second is still starting"
    await queue.answer(2)
    assert kernel.done()
    await queue.close()


@pytest.mark.parametrize(
    ("on", "seconds_ago"),
    [
        (terms(starts=2), 0.0),  # there is no line
        (terms(starts=1), 60.0),  # it was there before the crowd
        (terms(starts=1), ALMOST),  # it has waited long enough
    ],
)
async def test_a_kernel_does_not_wait(on: CapacityLimits, seconds_ago: float) -> None:
    queue = Queue(on)
    for number in (1, 2):
        await queue.come(number)
    await soon(queue.line.pages_first(started(queue, seconds_ago)))
    await queue.close()


async def test_a_line_for_memory_holds_no_kernel_back() -> None:
    queue = Queue(terms(memory_mb=100, starts=5))
    for number in (1, 2):
        await queue.come(number)
    assert queue.inside == [1]
    await queue.answer(1)
    await soon(queue.line.pages_first(started(queue)))
    await queue.close()


# --- whatever happens -----------------------------------------------------------------------

Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "answer", "end", "leave"]), st.integers(1, 400)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, starts=st.integers(1, 4), memory=st.integers(1, 500))
def test_whatever_happens_the_order_and_the_bounds_hold_and_nobody_starves(
    steps: list[Step], starts: int, memory: int
) -> None:
    asyncio.run(_live_through(steps, terms(starts=starts, memory_mb=memory)))


async def _live_through(steps: list[Step], on: CapacityLimits) -> None:
    queue = Queue(on)
    answered: set[int] = set()
    ended: set[int] = set()
    left: set[int] = set()
    for what, value in steps:
        inside = [number for number in queue.inside if number not in ended]
        waiting = [each for each in queue.tasks if each not in queue.inside and each not in left]
        if what == "come":
            await queue.come(len(queue.tasks) + 1, value)
        elif what == "leave" and waiting:
            left.add(waiting[value % len(waiting)])
            await queue.leave(waiting[value % len(waiting)])
        elif what == "answer" and inside:
            answered.add(inside[value % len(inside)])
            await queue.answer(inside[value % len(inside)])
        elif what == "end" and inside:
            ended.add(inside[value % len(inside)])
            await queue.end(inside[value % len(inside)])
        _check(queue, answered | ended, ended, left)
    for number in queue.tasks:
        if number not in left:
            await asyncio.wait_for(asyncio.shield(queue.tasks[number]), 5)
            await queue.end(number)
    assert queue.inside == [number for number in queue.tasks if number not in left]
    await queue.close()


def _check(queue: Queue, quiet: set[int], ended: set[int], left: set[int]) -> None:
    assert queue.inside == sorted(queue.inside), "nobody overtakes"
    starting = [number for number in queue.inside if number not in quiet]
    assert len(starting) <= queue.on.starts
    inside = [number for number in queue.inside if number not in ended]
    used = sum(queue.tickets[number].expected for number in inside)
    assert used <= queue.on.memory or len(inside) == 1
    waiting = [each for each in queue.tasks if each not in queue.inside and each not in left]
    if waiting:
        first = queue.tickets[waiting[0]].expected
        full = len(starting) >= queue.on.starts or (inside and used + first > queue.on.memory)
        assert full, "nobody waits without a reason"

"""Rehearsals of an item, by instructors: what one would take, run one, cancel it.

One runs at a time in the course. A hub that was killed during a rehearsal leaves its sessions and
copies: the next hub removes them.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, fields
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import Query, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from mograder.core.errors import Conflict
from mograder.core.log import get_logger
from mograder.core.tasks import Progress, every
from mograder.hub.items import mode_of
from mograder.hub.services import Services
from mograder.sandbox.protocol import Mode
from mograder.sessions.admission import Kind
from mograder.sessions.capacity import expected_memory
from mograder.sessions.rehearsal import (
    MOST_STUDENTS,
    Outcome,
    Pace,
    Rehearsal,
    Seconds,
    State,
    Wish,
    clear,
    left_over,
    plan,
)
from mograder.sessions.session import SessionKey
from mograder.store.releases.releases import Release
from mograder.web.background import Report, progress_response
from mograder.web.error_responses import Wants, wanted
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, Run
from mograder.web.hub.core.responses import Body, Done, in_json
from mograder.web.request_body import MEGABYTE, read_json
from mograder.web.route import INSTRUCTOR, JsonBody, Route

_MOST_WITHIN = 3600.0
_START_SECONDS = 1.5
"""About how long a start takes, while none was measured."""

_LEAST_STARTS = 5
_ABSENT_SECONDS = 3.0
"""How long a rehearsal goes on without the program that started it."""

_LOOK_SECONDS = 30.0
_PACE = Pace()
_log = get_logger(__name__)
_MOST_REASONS = 20


class Rehearsals:
    """The rehearsal that runs here, if any; for one event loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[Outcome] | None = None
        self._swept = False
        self.current: Rehearsal | None = None

    def make(self, wish: Wish) -> Rehearsal:
        services = self._services
        pool, via, clock = services.pool, services.connections, services.clock
        return Rehearsal(pool, via, services.workspaces, clock, wish, _PACE)

    async def run(self, rehearsal: Rehearsal, tell: Progress) -> Outcome:
        """Raise :class:`Conflict` while another rehearsal runs, or when this one is cancelled."""
        if self.current is not None:
            raise Conflict(
                "A rehearsal runs already.", hint="Wait for its end, or cancel it with --cancel."
            )
        self.current = rehearsal
        try:
            async with self._turn:  # a sweep may be under way
                self._task = asyncio.create_task(rehearsal.run(tell))
                return await self._task
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # not the rehearsal, but its caller
                raise
            raise Conflict("The rehearsal was cancelled.") from None
        finally:
            self._task = self.current = None

    async def cancel(self) -> bool:
        """End the rehearsal that runs, or what one has left; return whether there was one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            return True
        left = left_over(self._services.pool)
        await clear(self._services.pool, left, self._services.workspaces)
        return bool(left)

    async def sweep(self) -> None:
        left = left_over(self._services.pool)
        if (not left and self._swept) or self._turn.locked():
            return
        async with self._turn:
            if left:
                _log.warning("removing %d sessions that a rehearsal left", len(left))
            await clear(self._services.pool, left, self._services.workspaces)
        self._swept = True


def open_rehearsals(hub: HubApp) -> Run:
    rehearsals = hub.add(Rehearsals(hub.services))
    return partial(every, _LOOK_SECONDS, "what a rehearsal left", rehearsals.sweep)


class RehearsalPlan(Body):
    """The facts known before a rehearsal: memory in bytes, ``seconds`` about how long it takes.

    ``memory_each`` is what a session will probably use; ``fits`` of the students there is memory
    for. ``running``: one runs at this hub at the moment.
    """

    item: str
    students: int
    memory_each: int
    memory_total: int
    memory_used: int
    fits: int
    seconds: float
    running: bool


class Rehearsed(Done):
    """The result of a rehearsal of an item; memory is in bytes, times are in seconds.

    Of ``students`` so many ``finished`` all cells (``warm`` of them started warm), ``failed``
    (``failures``: how many for each reason), would ``wait`` in line because no memory was left, or
    ``gave_way`` to students. ``memory_each`` is the median of a session's largest use,
    ``memory_together`` the largest sum. ``holds`` is how many such sessions the memory for all is
    enough for if nothing else runs, ``holds_now`` beside what runs. ``errors`` is how many cells
    ended with an error, in the median notebook.
    """

    item: str
    students: int
    finished: int
    warm: int
    failed: int
    failures: dict[str, int]
    wait: int
    gave_way: int
    started: Seconds | None
    first_output: Seconds | None
    all_cells: Seconds | None
    memory_each: int
    memory_largest: int
    memory_together: int
    memory_total: int
    holds: int
    holds_now: int
    errors: int
    seconds: float


class RehearsalCancelled(Done):
    """The rehearsal has ended and is removed; ``cancelled`` is whether there was one."""

    cancelled: bool


class _Wish(Body):
    students: int = Field(default=30, ge=1, le=MOST_STUDENTS, strict=True)
    within: float = Field(default=60.0, ge=0, le=_MOST_WITHIN)


async def look(
    item: str,
    app: CurrentApp,
    students: Annotated[int, Query(ge=1, le=MOST_STUDENTS)] = 30,
    within: Annotated[float, Query(ge=0, le=_MOST_WITHIN)] = 60.0,
) -> RehearsalPlan:
    """Return how long a rehearsal would take, and how many sessions there is memory for."""
    release = await to_thread.run_sync(_find, app, item)
    pool = app.services.pool
    key, now = SessionKey("", release.name, mode_of(release.kind)), app.services.clock.steady()
    starts = pool.tally.start_seconds
    expected = plan(
        students,
        within,
        each=expected_memory(key, pool.all(), now),
        total=pool.admission.memory,
        used=pool.admission.used(),
        start=starts.total / starts.count if starts.count >= _LEAST_STARTS else _START_SECONDS,
        places=pool.admission.places(Kind.REHEARSAL),
    )
    running = app.of(Rehearsals).current is not None
    return RehearsalPlan(item=release.name, running=running, **asdict(expected))


async def start(
    item: str, request: Annotated[Request, JsonBody(_Wish)], app: CurrentApp
) -> Annotated[Response, Rehearsed]:
    """Let throw-away users open an item, and return what that took; it ends with the connection."""
    asked = await read_json(request, _Wish, MEGABYTE)
    release = await to_thread.run_sync(_find, app, item)
    mode: Mode = mode_of(release.kind)
    rehearsal = app.of(Rehearsals).make(Wish(release, mode, asked.students, asked.within))
    await app.audit.record(request, "rehearse", f"{release.name}: {asked.students}")

    async def job(report: Report) -> Rehearsed:
        outcome = await app.of(Rehearsals).run(rehearsal, report)
        return _answer(release.name, outcome)

    running = app.work.begin(job)
    if wanted(request) is Wants.PROGRESS:
        return progress_response(
            running,
            request,
            in_json,
            absent=_ABSENT_SECONDS,
            figures=rehearsal.counts,
        )
    return JSONResponse(in_json(await running.result()))


async def cancel(item: str, request: Request, app: CurrentApp) -> RehearsalCancelled:
    """End the rehearsal that runs, and remove everything of it."""
    cancelled = await app.of(Rehearsals).cancel()
    if cancelled:
        await app.audit.record(request, "cancel rehearsal", item)
    return RehearsalCancelled(cancelled=cancelled)


def _find(app: HubApp, item: str) -> Release:
    return app.items.get(item, f"There is no such item on this hub: {item}")


def _answer(item: str, outcome: Outcome) -> Rehearsed:
    states, others = outcome.states, {"states", "failures"}
    same = {each.name for each in fields(outcome)} - others
    return Rehearsed(
        item=item,
        finished=states[State.FINISHED],
        failed=states[State.FAILED],
        failures=dict(outcome.failures.most_common(_MOST_REASONS)),
        wait=states[State.NO_ROOM],
        gave_way=states[State.GAVE_WAY],
        **{name: getattr(outcome, name) for name in same},
    )


ROUTES = (
    Route("GET", "/rehearsal/{item}", look, INSTRUCTOR, "Sessions"),
    Route("POST", "/rehearsal/{item}", start, INSTRUCTOR, "Sessions"),
    Route("DELETE", "/rehearsal/{item}", cancel, INSTRUCTOR, "Sessions"),
)

"""Rehearsals of an item, by instructors: what one would take, run one, cancel it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

from anyio import to_thread
from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from mograder.core.errors import NotFound
from mograder.sandbox.protocol import Mode
from mograder.sessions.admission import Kind
from mograder.sessions.capacity import expected_memory
from mograder.sessions.rehearsal import MOST_STUDENTS, Wish
from mograder.sessions.rehearsal_outcome import Outcome, Seconds, State, plan
from mograder.sessions.session import SessionKey
from mograder.store.releases.releases import Release
from mograder.web.background import Report, progress_response
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import find_release, mode_of
from mograder.web.hub.rehearsal.rehearsal_models import (
    Durations,
    RehearsalCancelled,
    RehearsalPlan,
    Rehearsed,
)
from mograder.web.hub.rehearsal.rehearsals import Rehearsals
from mograder.web.problems import HUB_STATUS, Wants, wanted
from mograder.web.request_body import MEGABYTE, read_json
from mograder.web.route import JsonBody

_MOST_WITHIN = 3600.0
_START_SECONDS = 1.5
"""About how long a start takes, while none was measured."""

_LEAST_STARTS = 5
_ABSENT_SECONDS = 3.0
"""How long a rehearsal goes on without the program that started it."""

Students = Annotated[int, Query(ge=1, le=MOST_STUDENTS)]
Within = Annotated[float, Query(ge=0, le=_MOST_WITHIN)]


class _Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    students: int = Field(default=30, ge=1, le=MOST_STUDENTS, strict=True)
    within: float = Field(default=60.0, ge=0, le=_MOST_WITHIN)


async def look(
    item: str, app: CurrentApp, caller: Caller, students: Students = 30, within: Within = 60.0
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
    item: str, request: Annotated[Request, JsonBody(_Wish)], app: CurrentApp, caller: Caller
) -> Annotated[Response, Rehearsed]:
    """Let throw-away users open an item, and return what that took; it ends with the connection."""
    asked = await read_json(request, _Wish, MEGABYTE)
    release = await to_thread.run_sync(_find, app, item)
    mode: Mode = mode_of(release.kind)
    rehearsal = app.of(Rehearsals).make(Wish(release, mode, asked.students, asked.within))
    await app.audit.record(request, caller, "rehearse", f"{release.name}: {asked.students}")

    async def job(report: Report) -> Rehearsed:
        outcome = await app.of(Rehearsals).run(rehearsal, report)
        return _answer(release.name, outcome)

    running = app.work.begin(job)
    if wanted(request) is Wants.PROGRESS:
        return progress_response(
            running,
            request,
            _in_json,
            statuses=HUB_STATUS,
            absent=_ABSENT_SECONDS,
            figures=rehearsal.counts,
        )
    return JSONResponse(_in_json(await running.result()))


async def cancel(
    item: str, request: Request, app: CurrentApp, caller: Caller
) -> RehearsalCancelled:
    """End the rehearsal that runs, and remove everything of it."""
    cancelled = await app.of(Rehearsals).cancel()
    if cancelled:
        await app.audit.record(request, caller, "cancel rehearsal", item)
    return RehearsalCancelled(cancelled=cancelled)


def _find(app: HubApp, item: str) -> Release:
    release = find_release(app, item)
    if release is None:
        raise NotFound("There is no such item on this hub.")
    return release


def _answer(item: str, outcome: Outcome) -> Rehearsed:
    states = outcome.states
    return Rehearsed(
        item=item,
        students=outcome.students,
        finished=states[State.FINISHED],
        warm=outcome.warm,
        failed=states[State.FAILED],
        failures=dict(outcome.failures.most_common(_MOST_REASONS)),
        wait=states[State.NO_ROOM],
        gave_way=states[State.GAVE_WAY],
        started=_durations(outcome.started),
        first_output=_durations(outcome.first_output),
        all_cells=_durations(outcome.all_cells),
        memory_each=outcome.memory_each,
        memory_largest=outcome.memory_largest,
        memory_together=outcome.memory_together,
        memory_total=outcome.memory_total,
        holds=outcome.holds,
        holds_now=outcome.holds_now,
        errors=outcome.errors,
        seconds=outcome.seconds,
    )


_MOST_REASONS = 20


def _durations(seconds: Seconds | None) -> Durations | None:
    if seconds is None:
        return None
    return Durations.model_validate(seconds, from_attributes=True)


def _in_json(result: Rehearsed) -> Mapping[str, object]:
    return result.model_dump(mode="json")

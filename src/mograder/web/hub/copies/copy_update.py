"""An update of one copy, for its student: what it changes, taking it, and going back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import Request
from starlette.responses import Response

from mograder.auth.identity import Identity
from mograder.core.errors import InvalidInput
from mograder.sessions.copy_updates import CopyStanding, CopyUpdates, Standing
from mograder.sessions.session import CopyOf
from mograder.store.copies.copy_updates import CopyUpdateRow, UpdateState, cells_in
from mograder.web.background import Report
from mograder.web.hub.copies.updates import CopyUpdated
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy
from mograder.web.hub.core.responses import Body, deliver
from mograder.web.pages import page, path_segment, with_outcome
from mograder.web.route import OWNER, Route


class NotebookUpdate(Body):
    """An update as the bar above a notebook shows it; ``number`` tells offers apart."""

    state: Standing
    number: int
    conflicts: int = 0
    changes: int = 0


async def show(copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show a student what the author's update changes, or what it has changed."""
    found = await app.of(CopyUpdates).standing(copy)
    problem, proposal = "", None
    if found.state.takeable:
        try:
            proposal = await app.of(CopyUpdates).propose(copy)
        except InvalidInput as error:
            problem = error.message
    mine = copy.user == caller.username
    await app.audit.record_foreign(request, copy.user, "read", str(copy))
    return page(
        request,
        "copy_update.html",
        copy=copy,
        found=found,
        cells=cells_in(found.row) if found.row else None,
        proposal=proposal,
        problem=problem,
        mine=mine,
        running=app.services.pool.find(copy.key) is not None,
    )


async def take(
    copy: KnownCopy, request: Request, app: CurrentApp
) -> Annotated[Response, CopyUpdated]:
    """Merge the offered update into a copy; its session is ended first."""

    async def job(report: Report) -> CopyUpdated:
        report("Stopping the editor and merging the author's corrections")
        row = await app.of(CopyUpdates).take(copy)
        await note_update(app, request, copy, row)
        return updated(row)

    return await deliver(request, job, lambda done: _page(copy, done.state))


async def put_back(
    copy: KnownCopy, request: Request, app: CurrentApp
) -> Annotated[Response, CopyUpdated]:
    """Give a copy its text from before the update again; its session is ended first."""

    async def job(report: Report) -> CopyUpdated:
        report("Stopping the editor and putting your text back")
        row = await app.of(CopyUpdates).put_back(copy)
        await note_update(app, request, copy, row)
        return updated(row)

    return await deliver(request, job, lambda done: _page(copy, done.state))


async def settle(
    app: HubApp, request: Request, caller: Identity, copy: CopyOf, report: Report
) -> None:
    """Do what waits for a student's copy before its session starts; another person's is left."""
    if caller.username != copy.user:
        return
    row = await app.of(CopyUpdates).settle(copy, report)
    if row is not None:
        await note_update(app, request, copy, row)


async def note_update(app: HubApp, request: Request, copy: CopyOf, row: CopyUpdateRow) -> None:
    """Record a change of a copy by an update in the audit log; its last validation is stale."""
    actions = {UpdateState.MERGED: "take update", UpdateState.UNDONE: "undo update"}
    if row.state in actions:
        await app.results.forget(copy.user, copy.item)
        await app.audit.record(request, actions[row.state], str(copy))


def in_bar(found: CopyStanding) -> NotebookUpdate | None:
    """Return what the bar above a notebook says of its update; None if there is nothing to say."""
    if found.offer is None or found.state in (Standing.NONE, Standing.UNDONE):
        return None
    cells = cells_in(found.row) if found.row else None
    if found.state is Standing.MERGED and (cells is None or cells.nothing):
        return None
    return NotebookUpdate(
        state=found.state,
        number=found.offer.number,
        conflicts=len(cells.conflicts) if cells else 0,
    )


def updated(row: CopyUpdateRow) -> CopyUpdated:
    """Return the JSON of what was done to a copy."""
    return CopyUpdated(state=Standing(row.state), reason=row.reason, **asdict(cells_in(row)))


def _page(copy: CopyOf, state: Standing) -> str:
    path = f"/update/{path_segment(copy.user)}/{path_segment(copy.item)}"
    return with_outcome(path, state.value, copy.item)


ROUTES = (
    Route("GET", "/update/{user}/{a}", show, OWNER),
    Route("POST", "/update/{user}/{a}", take, OWNER, "Updates"),
    Route("POST", "/update/{user}/{a}/undo", put_back, OWNER, "Updates"),
)

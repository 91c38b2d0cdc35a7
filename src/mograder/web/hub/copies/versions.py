"""A copy's timeline: its versions, what changed between them, and what is put back of them.

An instructor's look at one is in the audit log; only the student puts something back. Texts are
shown escaped, a bounded part, and none of it runs (security.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, NotFound
from mograder.core.log import get_logger
from mograder.core.name_lookup import counted
from mograder.core.tasks import every, set_within
from mograder.hub.notifier import Part
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.version_diff import (
    CellChange,
    Line,
    PutBack,
    VersionDifference,
)
from mograder.sessions.copy_timeline import Compared, CopyTimelines, Timeline
from mograder.sessions.copy_updates import Standing
from mograder.sessions.session import CopyOf
from mograder.store.versions.version_thinning import Thinning
from mograder.store.versions.versions import Origin, Version
from mograder.web.background import Report
from mograder.web.hub.copies.copies import (
    STOPPING,
    OpenEditors,
    Restored,
    put_text_back,
    send_notebook,
)
from mograder.web.hub.copies.updates import standing_for
from mograder.web.hub.core.access import Caller, Number
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, Run
from mograder.web.hub.core.items import KnownCopy, copy_page
from mograder.web.hub.core.responses import Body, Done, deliver
from mograder.web.pages import page, with_outcome
from mograder.web.request_body import Uploads, read_text
from mograder.web.route import HISTORY, SELF, JsonBody, Route

_ON_A_PAGE = 40

CellIndex = Annotated[int, Path(ge=0, lt=2**31)]
Other = Literal["before", "now"]
_LOOK_SECONDS = 60.0
_AT_ONCE = 50
_IDLE_TIMES = 9
"""It rests so many times as long as it worked: students come first."""
_log = get_logger(__name__)


class VersionEntry(Body):
    """A version of a copy; ``saved`` is a Unix time, ``size`` in bytes.

    ``origin`` is what saved it, ``present`` whether it is the copy's text now.
    """

    number: int
    saved: float
    origin: Origin
    digest: str
    size: int
    present: bool


class CellChanges(Body):
    """The change of one cell; ``before`` and ``after`` are its indexes in the two versions.

    ``heading`` is the nearest one above it or in it.
    """

    change: CellChange
    moved: bool
    name: str
    before: int | None
    after: int | None
    lines: list[Line]
    heading: str = ""


class VersionChanges(Body):
    """The difference between two versions: cells that differ, and lines outside of cells.

    ``problem`` says why the texts were compared by lines only, or is "". ``cut`` is whether there
    are more lines than are told here.
    """

    earlier: int
    later: int
    cells: list[CellChanges]
    outside: list[Line]
    problem: str
    cut: bool


class CellRestored(Done):
    """One cell of a version is in the notebook again; ``archive`` is the file with the one before.

    ``replaced`` is whether it took a present cell's place, ``twice`` are the names that two cells
    define now. ``running`` is whether the editor stayed open.
    """

    archive: str | None
    replaced: bool
    twice: list[str]
    running: bool


class Unsaved(Done):
    """Work that could not be saved is the version ``number`` now; None if nothing was lost.

    ``lines`` is the number of lines that the notebook lacks.
    """

    number: int | None
    lines: int = 0


class _Cells(BaseModel):
    """The body of marimo's save, with the codes that were saved before."""

    codes: list[str] = []
    names: list[str] = []
    configs: list[dict[str, object]] = []
    base: list[str] = []


@dataclass(frozen=True, slots=True)
class Row:
    """A version in a list; ``added`` and ``removed`` are lines, None where none were counted.

    ``checks`` says how many passed when its text was validated, "" if it never was.
    """

    version: Version
    present: bool
    added: int | None = None
    removed: int | None = None
    checks: str = ""


async def versions_page(
    copy: KnownCopy,
    request: Request,
    app: CurrentApp,
    caller: Caller,
    below: Annotated[int, Query(ge=1, lt=2**31)] = 2**31 - 1,
) -> Response:
    """Show a copy's timeline, below a number, and the earlier versions in its folder."""
    timeline = await app.of(CopyTimelines).of(copy)
    archives = await to_thread.run_sync(app.services.workspaces.archives, copy.user, copy.item)
    if not timeline.versions and not archives:
        await to_thread.run_sync(app.items.demand_shown, caller, copy)
    older = [each for each in timeline.versions if each.number < below]
    await app.audit.record_foreign(request, copy.user, "read", f"{copy} versions")
    return page(
        request,
        "versions.html",
        copy=copy,
        rows=await _rows(app, copy, timeline, older[:_ON_A_PAGE]),
        total=len(timeline.versions),
        older=older[_ON_A_PAGE - 1].number if len(older) > _ON_A_PAGE else 0,
        newest=len(older) == len(timeline.versions),
        archives=archives,
        update=(await standing_for(app, caller, copy)).state is not Standing.NONE,
        mine=copy.user == caller.username,
        running=app.services.pool.find(copy.key) is not None,
    )


async def changes_page(
    copy: KnownCopy,
    number: Number,
    request: Request,
    app: CurrentApp,
    caller: Caller,
    to: Other = "before",
) -> Response:
    timeline = await app.of(CopyTimelines).of(copy)
    version = timeline.find(number)
    pair = _pair(timeline, version, to)
    compared = None if pair is None else await app.of(CopyTimelines).compare(copy, *pair)
    await app.audit.record_foreign(request, copy.user, "read", f"{copy} version {number}")
    return page(
        request,
        "changes.html",
        copy=copy,
        version=version,
        present=timeline.present is not None and timeline.present.number == number,
        possible=timeline.present is not None,
        to=to,
        compared=compared,
        changes=compared and _compared(compared),
        mine=copy.user == caller.username,
        running=app.services.pool.find(copy.key) is not None,
    )


async def list_versions(copy: KnownCopy, request: Request, app: CurrentApp) -> list[VersionEntry]:
    """List the versions of a copy, the newest first."""
    timeline = await app.of(CopyTimelines).of(copy)
    await app.audit.record_foreign(request, copy.user, "read", f"{copy} versions")
    return [
        VersionEntry(
            number=each.number,
            saved=each.saved.timestamp(),
            origin=each.origin,
            digest=each.digest,
            size=each.size,
            present=each == timeline.present,
        )
        for each in timeline.versions
    ]


async def send_version(
    copy: KnownCopy, number: Number, request: Request, app: CurrentApp
) -> Response:
    """Send a version of a copy."""
    timeline = await app.of(CopyTimelines).of(copy)
    saved = await app.of(CopyTimelines).text(copy, timeline.find(number))
    what = f"{copy} version {number}"
    await app.audit.record_foreign(request, copy.user, "export", what)
    return send_notebook(saved, f"{copy.item}.version-{number}.py")


async def changes(
    copy: KnownCopy, number: Number, request: Request, app: CurrentApp, to: Other = "before"
) -> VersionChanges:
    """Return what a version changed (``before``), or what changed since (``now``)."""
    timeline = await app.of(CopyTimelines).of(copy)
    pair = _pair(timeline, timeline.find(number), to)
    if pair is None:
        raise NotFound("There is nothing to compare this version with.")
    compared = await app.of(CopyTimelines).compare(copy, *pair)
    await app.audit.record_foreign(request, copy.user, "read", f"{copy} version {number}")
    return _compared(compared)


async def restore(
    copy: KnownCopy, number: Number, request: Request, app: CurrentApp
) -> Annotated[Response, Restored]:
    """Put a version back; the present notebook is kept, and its editor is closed."""

    async def put() -> str | None:
        timeline = await app.of(CopyTimelines).of(copy)
        if timeline.find(number) == timeline.present:
            raise Conflict("This version is your notebook as it is now.")
        return await app.copies.put_back(copy, number)

    done = with_outcome(copy_page("versions", copy), "restored")
    return await put_text_back(request, app, copy, put, done)


async def restore_cell(
    copy: KnownCopy, number: Number, cell: CellIndex, request: Request, app: CurrentApp
) -> Annotated[Response, CellRestored]:
    """Put one cell of a version into the present notebook.

    Its editor puts back a cell whose code was changed, if it is open, and is closed otherwise.
    """

    async def job(report: Report) -> CellRestored:
        put_back = await _put_in_editor(app, copy, number, cell, report)
        running, archive = put_back is not None, None
        if put_back is None:
            report(STOPPING)
            timelines = app.of(CopyTimelines)
            archive, put_back = await timelines.put_back_cell(copy, number, cell)
        await app.results.forget(copy.user, copy.item)
        return CellRestored(
            archive=archive,
            replaced=put_back.replaced,
            twice=list(put_back.twice),
            running=running,
        )

    def next_page(result: CellRestored) -> str:
        done = ("cell-twice" if result.twice else "cell-restored") + ("-open" * result.running)
        return with_outcome(copy_page("versions", copy), done, ", ".join(result.twice))

    return await deliver(request, job, next_page)


async def _put_in_editor(
    app: HubApp, copy: CopyOf, number: int, cell: int, report: Report
) -> PutBack | None:
    """Have the open editor put a cell back; None if none is open, or it cannot."""
    live, timelines = app.services.pool.find(copy.key), app.of(CopyTimelines)
    if live is None or not live.connections:
        return None
    put_back = await timelines.preview_cell(copy, number, cell)
    if put_back.change is None:
        return None
    report("Putting the cell back in the open editor")
    told = partial(app.notifier.notify, copy.user, Part.COPIES)
    if not await app.of(OpenEditors).replace(live.id, put_back.change, told):
        return None
    return put_back if await timelines.has_cell(copy, put_back.change) else None


async def keep_unsaved(
    copy: KnownCopy, request: Annotated[Request, JsonBody(_Cells)], app: CurrentApp
) -> Unsaved:
    """Keep work that the editor's page could not save as a version; the copy is not changed.

    The body is what marimo's page sends to save, with the codes saved before as ``base``.
    """
    with app.of(Uploads).sending(copy.user):
        body = await read_text(request, MAX_NOTEBOOK)
        kept = await app.of(CopyTimelines).keep_unsaved(copy, body)
    if kept is None:
        return Unsaved(number=None)
    app.notifier.notify(copy.user, Part.COPIES)
    return Unsaved(number=kept.version.number, lines=kept.lines)


async def put_unsaved(
    copy: KnownCopy, request: Annotated[Request, JsonBody(_Cells)], app: CurrentApp
) -> Annotated[Response, Restored]:
    """Put work that could not be saved into the notebook, unless that was changed meanwhile.

    The body is as for keeping it; the present notebook is kept, and its editor is closed.
    """
    read = partial(read_text, request, MAX_NOTEBOOK)
    body, until_stored = await app.of(Uploads).received(copy.user, read)
    put = partial(app.of(CopyTimelines).put_unsaved, copy, body)
    done = with_outcome(copy_page("versions", copy), "restored")
    return await put_text_back(request, app, copy, put, done, until_stored)


async def _rows(
    app: HubApp, copy: CopyOf, timeline: Timeline, shown: Sequence[Version]
) -> list[Row]:
    lines = await app.of(CopyTimelines).changes(copy, timeline, shown)
    noted = await to_thread.run_sync(app.services.recorder.versions.checks, copy.user, copy.item)
    rows = []
    for each in shown:
        added, removed = lines.get(each.number, (None, None))
        passed, checks = noted.get(each.digest, (0, 0))
        told = f"{passed} of {counted(checks, 'check')} passed" if checks else ""
        rows.append(Row(each, each == timeline.present, added, removed, told))
    return rows


def _pair(timeline: Timeline, version: Version, to: Other) -> tuple[Version, Version] | None:
    if to == "now":
        return None if timeline.present is None else (version, timeline.present)
    before = timeline.before(version)
    return None if before is None else (before, version)


def _compared(compared: Compared) -> VersionChanges:
    return told_changes(compared.difference, compared.earlier.number, compared.later.number)


def told_changes(difference: VersionDifference, earlier: int = 0, later: int = 0) -> VersionChanges:
    return VersionChanges(
        earlier=earlier,
        later=later,
        outside=list(difference.outside),
        cells=[
            CellChanges.model_validate(each, from_attributes=True) for each in difference.differing
        ],
        problem=difference.problem,
        cut=difference.cut,
    )


async def thin_versions(thinning: Thinning, clock: Clock, stop: asyncio.Event) -> None:
    """Thin the copies that are due, some at most; ``stop`` ends it early."""
    removed = 0
    for copy in await asyncio.to_thread(thinning.due, clock.now(), _AT_ONCE):
        begun = time.monotonic()
        removed += await asyncio.to_thread(thinning.thin, copy, clock.now())
        if await set_within(stop, _IDLE_TIMES * (time.monotonic() - begun)):
            break
    if removed:
        _log.info("removed %d old versions of copies", removed)


@asynccontextmanager
async def _keep_thin(hub: HubApp) -> AsyncIterator[None]:
    stop = asyncio.Event()
    thin = partial(thin_versions, Thinning(hub.services.state.engine), hub.services.clock, stop)
    async with every(_LOOK_SECONDS, "old versions", thin, at_once=False):
        try:
            yield
        finally:
            stop.set()


def open_versions(hub: HubApp) -> Run:
    services = hub.services
    hub.add(CopyTimelines(hub.copies, services.recorder, services.clock))
    hub.add(OpenEditors())
    return partial(_keep_thin, hub)


ROUTES = (
    Route("GET", "/versions/{user}/{a}", versions_page, HISTORY),
    Route("GET", "/versions/{user}/{a}/{number}", changes_page, HISTORY),
    Route("GET", "/timeline/{user}/{a}", list_versions, HISTORY, "Copies"),
    Route("GET", "/timeline/{user}/{a}/{number}", send_version, HISTORY, "Copies"),
    Route("GET", "/timeline/{user}/{a}/{number}/changes", changes, HISTORY, "Copies"),
    Route("POST", "/timeline/{user}/{a}/{number}/restore", restore, SELF, "Copies"),
    Route("POST", "/timeline/{user}/{a}/{number}/restore/{cell}", restore_cell, SELF, "Copies"),
    Route("POST", "/unsaved/{user}/{a}", keep_unsaved, SELF, "Copies"),
    Route("POST", "/unsaved/{user}/{a}/put", put_unsaved, SELF, "Copies"),
)

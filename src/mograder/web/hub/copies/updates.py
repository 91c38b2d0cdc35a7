"""Updates of copies by an item's author: offered and undone by instructors, taken by students."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from mograder.auth.identity import Identity
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.core.tasks import every
from mograder.hub.notifier import Part
from mograder.notebook.merge.cell_merge import Conflict
from mograder.sessions.copy_updates import CopyStanding, CopyUpdates, Standing, UpdateStores
from mograder.sessions.session import CopyOf
from mograder.sessions.update_offers import (
    PreviewLine,
    PreviewState,
    UpdateOffers,
    UpdatePreviews,
)
from mograder.store.copies.update_rows import (
    CopyUpdateRow,
    UpdateRows,
    UpdateState,
    cells_in,
)
from mograder.store.versions.kept_releases import KeptReleases, ReleaseHistory
from mograder.web.background import Report
from mograder.web.error_responses import Wants, wanted
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, Run
from mograder.web.hub.core.items import KnownCopy, copy_page, item_name
from mograder.web.hub.core.responses import Body, Done, UnixTime, deliver, tell
from mograder.web.pages import go_to, page, path_segment, sheet_of, with_outcome
from mograder.web.route import INSTRUCTOR, OWNER, Route

_TOLD_SECONDS = 0.5
_LOOK_SECONDS = 60


class UpdateLine(Body):
    """The effect that an update would have on one student's copy.

    ``replaced``, ``added`` and ``removed`` count the author's cells. ``reason`` is why the copy
    cannot be merged, else "".
    """

    student: str = Field(validation_alias="user")
    changed: bool
    replaced: int
    added: int
    removed: int
    conflicts: int
    reason: str


class UpdatePreview(Body):
    """The last preview of the published release, which has the digest ``release``.

    ``at`` is a Unix time.
    """

    release: str
    state: PreviewState
    at: UnixTime
    total: int
    completed: int
    copies: list[UpdateLine] = Field(validation_alias="lines")


class UpdatedCopy(Body):
    """The effect of the last offer on one student's copy; ``at`` is a Unix time."""

    student: str
    state: UpdateState
    at: float
    conflicts: int
    reason: str


class UpdateStatus(Body):
    """An item's update: whether the published release is offered, and what became of it.

    ``by`` offered it ``at`` a Unix time; ``withdrawn`` is whether the last offer was withdrawn.
    ``preview`` is null without one of the published release.
    """

    item: str
    offered: bool
    withdrawn: bool
    by: str | None
    at: float | None
    preview: UpdatePreview | None
    copies: list[UpdatedCopy]


class UpdateUndone(Done):
    """The result of undoing an update, by student.

    ``undone`` have their text from before. ``kept`` have worked on the merged copy since, and keep
    it unless they choose otherwise. ``waiting`` have it open, and follow when they open it next.
    """

    undone: list[str]
    kept: list[str]
    waiting: list[str]
    failed: dict[str, str]


class PreviewCancelled(Body):
    """Whether a preview was being computed."""

    cancelled: bool


class CopyUpdated(Done):
    """The changes made to a copy; the lists describe the author's cells."""

    state: Standing
    reason: str = ""
    replaced: list[str] = Field(default_factory=list)
    added: list[str] = Field(default_factory=list)
    removed: list[str] = Field(default_factory=list)
    conflicts: list[Conflict] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)


class NotebookUpdate(Body):
    """An update as the bar above a notebook shows it; ``number`` tells offers apart."""

    state: Standing
    number: int
    conflicts: int = 0
    changes: int = 0


@dataclass(frozen=True, slots=True)
class StudentLine:
    user: str
    planned: PreviewLine | None
    done: CopyUpdateRow | None

    @property
    def conflicts(self) -> int:
        return len(cells_in(self.done).conflicts) if self.done else 0

    @property
    def attention(self) -> int:
        """The place in the list: copies that cannot be merged, then those with conflicts."""
        if self.planned is not None and self.planned.reason:
            return 0
        if self.done is not None and self.done.state is UpdateState.REFUSED:
            return 0
        conflicts = self.conflicts or (self.planned is not None and self.planned.conflicts)
        return 1 if conflicts else 2


@dataclass(frozen=True, slots=True)
class PreviewCounts:
    """The copies of a preview: how many merge cleanly, with conflicts, not, or change no cell."""

    clean: int
    conflicts: int
    refused: int
    nothing: int


async def status(item: str, app: CurrentApp) -> UpdateStatus:
    """Return an item's update: its last preview, whether it is offered, and what became of it."""
    return await _status(app, item_name(item))


async def preview(
    item: str, request: Request, app: CurrentApp
) -> Annotated[Response, UpdateStatus]:
    """Compute what the published release would do to each copy; nothing is changed."""
    name = item_name(item)
    previews = app.of(UpdatePreviews)
    task = await previews.begin(name)
    if wanted(request) is Wants.PAGE:
        return go_to(request, update_page(name))

    async def job(report: Report) -> UpdateStatus:
        while not task.done():
            if (found := previews.of(name)) is not None:
                report(f"Merged {found.completed} of {found.total} copies, to look at the results")
            await asyncio.wait({task}, timeout=_TOLD_SECONDS)
        return await _status(app, name)

    return await deliver(request, job, update_page(name))


async def cancel_preview(
    item: str, request: Request, app: CurrentApp
) -> Annotated[Response, PreviewCancelled]:
    """Have the computation of a preview end."""
    name = item_name(item)
    cancelled = app.of(UpdatePreviews).cancel(name)
    app.notifier.notify_instructors(Part.COPIES)
    return tell(request, PreviewCancelled(cancelled=cancelled), update_page(name))


async def offer(
    item: str,
    request: Request,
    app: CurrentApp,
    caller: Caller,
    release: Annotated[str, Query(max_length=200)] = "",
) -> Annotated[Response, UpdateStatus]:
    """Offer the published release to all copies: they are merged when they are opened next.

    With ``release``, a preview's, no other one is offered, nor other data files.
    """
    name = item_name(item)
    await app.of(UpdateOffers).offer(name, caller.username, release)
    await app.audit.record(request, "offer update", name)
    _notify(app, name)
    done = with_outcome(update_page(name), "offered", name)
    return tell(request, await _status(app, name), done)


async def undo(item: str, request: Request, app: CurrentApp) -> Annotated[Response, UpdateUndone]:
    """Withdraw the last offer, and put the text from before into copies not edited since."""
    name = item_name(item)

    async def job(report: Report) -> UpdateUndone:
        found = await app.of(UpdateOffers).withdraw(name, report)
        await app.audit.record(request, "undo update", name)
        for user in found.undone:
            await app.audit.record(request, "undo update", f"{user}/{name}")
            await app.results.forget(user, name)
            app.notifier.notify(user, Part.COPIES)
        _notify(app, name)
        return UpdateUndone.model_validate(found, from_attributes=True)

    done = with_outcome(update_page(name), "undone", name)
    return await deliver(request, job, done)


def update_page(name: ItemName) -> str:
    return f"/course/updates/{path_segment(name)}"


async def show_item(name: str, request: Request, app: CurrentApp) -> Response:
    item = item_name(name)
    found = await app.of(UpdateOffers).overview(item)
    release = await to_thread.run_sync(app.items.find if found.offer else app.items.get, item)
    count = await app.copy_counts.look()
    preview = found.preview
    planned = preview.lines if preview is not None else ()
    return page(
        request,
        "offer_update.html",
        here="items",
        name=item,
        release=release,
        begun=count.begun[str(item)],
        found=found,
        preview=preview,
        running=preview is not None and preview.state is PreviewState.RUNNING,
        counts=_counts(planned),
        states_of=Counter(row.state.value for row in found.copies),
        sheet=sheet_of(_lines(planned, found.copies), request),
    )


async def look(name: str, user: str, request: Request, app: CurrentApp) -> Response:
    copy = CopyOf(Username.of_account(user), item_name(name))
    problem, proposal = "", None
    try:
        proposal = await app.of(CopyUpdates).propose(copy)
    except InvalidInput as error:
        problem = error.message
    await app.audit.record_foreign(request, copy.user, "read", str(copy))
    return page(
        request,
        "preview_in_copy.html",
        here="items",
        copy=copy,
        proposal=proposal,
        problem=problem,
        standing=await app.of(CopyUpdates).standing(copy),
    )


async def show(copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller) -> Response:
    found = await app.of(CopyUpdates).standing(copy)
    has_copy = partial(app.services.workspaces.has_copy, copy.user, copy.item)
    if found.state is Standing.NONE and not await to_thread.run_sync(has_copy):
        raise NotFound("Notebook not found")
    problem, proposal = "", None
    if found.state.takeable:
        await to_thread.run_sync(app.items.demand_shown, caller, copy)
        try:
            proposal = await app.of(CopyUpdates).propose(copy)
        except InvalidInput as error:
            problem = error.message
    mine = copy.user == caller.username
    await app.audit.record_foreign(request, copy.user, "read", str(copy))
    return page(
        request,
        "take_update.html",
        copy=copy,
        found=found,
        cells=cells_in(found.row) if found.row else None,
        proposal=proposal,
        problem=problem,
        mine=mine,
        running=app.services.pool.find(copy.key) is not None,
    )


async def take(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, CopyUpdated]:
    """Merge the offered update into a copy; its session is ended first."""
    await to_thread.run_sync(app.items.demand_shown, caller, copy)
    words = "Stopping the editor and merging the author's corrections"
    return await _change(request, app, copy, app.of(CopyUpdates).take, words)


async def put_back(
    copy: KnownCopy, request: Request, app: CurrentApp
) -> Annotated[Response, CopyUpdated]:
    """Give a copy its text from before the update again; its session is ended first."""
    words = "Stopping the editor and putting your text back"
    return await _change(request, app, copy, app.of(CopyUpdates).put_back, words)


async def _change(
    request: Request,
    app: HubApp,
    copy: CopyOf,
    change: Callable[[CopyOf], Awaitable[CopyUpdateRow]],
    words: str,
) -> Response:
    async def job(report: Report) -> CopyUpdated:
        report(words)
        row = await change(copy)
        await _note_update(app, request, copy, row)
        cells = asdict(cells_in(row))
        return CopyUpdated(state=Standing(row.state), reason=row.reason, **cells)

    def next_page(done: CopyUpdated) -> str:
        return with_outcome(copy_page("update", copy), done.state.value, copy.item)

    return await deliver(request, job, next_page)


async def settle(
    app: HubApp, request: Request, caller: Identity, copy: CopyOf, report: Report
) -> None:
    """Do what waits for a student's copy before its session starts; another person's is left."""
    if caller.username != copy.user:
        return
    row = await app.of(CopyUpdates).settle(copy, report, partial(_is_shown, app, caller, copy))
    if row is not None:
        await _note_update(app, request, copy, row)


async def _note_update(app: HubApp, request: Request, copy: CopyOf, row: CopyUpdateRow) -> None:
    """Record a change of a copy by an update in the audit log; its last validation is stale."""
    actions = {UpdateState.MERGED: "take update", UpdateState.UNDONE: "undo update"}
    if row.state in actions:
        await app.results.forget(copy.user, copy.item)
        await app.audit.record(request, actions[row.state], str(copy))


async def standing_for(app: HubApp, caller: Identity, copy: CopyOf) -> CopyStanding:
    """Return the state of a copy as a person sees it, without an update that they may not see."""
    found = await app.of(CopyUpdates).standing(copy)
    if found.state.takeable and not await to_thread.run_sync(_is_shown, app, caller, copy):
        return CopyStanding(Standing.NONE)
    return found


def _is_shown(app: HubApp, caller: Identity, copy: CopyOf) -> bool:
    return app.items.shown(caller, copy) is not None


def in_bar(found: CopyStanding) -> NotebookUpdate | None:
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


def open_updates(hub: HubApp) -> Run:
    """Make the updates of a hub; instructors' pages hear of the progress of previews."""
    services, notifier = hub.services, hub.notifier
    reserve = services.loaded.settings.limits.disk_reserve
    engine, pool, clock = services.state.engine, services.pool, services.clock
    kept = hub.add(services.recorder.kept)
    stores = UpdateStores(
        releases=services.releases,
        workspaces=services.workspaces,
        versions=services.recorder.versions,
        rows=UpdateRows(engine),
        history=ReleaseHistory(services.releases, kept, services.recorder.versions, clock),
    )
    copies = hub.add(CopyUpdates(pool, stores, clock, reserve=reserve))
    previews = hub.add(UpdatePreviews(copies, clock))
    previews.on_change = lambda _: notifier.notify_instructors(Part.COPIES)
    hub.add(UpdateOffers(copies, previews, pool, clock))
    return partial(_at_work, hub)


@asynccontextmanager
async def _at_work(hub: HubApp) -> AsyncIterator[None]:
    kept, services = hub.of(KeptReleases), hub.services

    def keep_all() -> None:  # also releases that were copied into the course by hand
        kept.keep_all(services.releases.all(), services.clock.now())

    try:
        async with every(_LOOK_SECONDS, "kept releases", partial(asyncio.to_thread, keep_all)):
            yield
    finally:
        await hub.of(UpdatePreviews).close()
        await hub.of(CopyUpdates).close()


def _notify(app: HubApp, name: ItemName) -> None:
    for live in app.services.pool.all():
        if live.key.item == name:
            app.notifier.notify(live.key.user, Part.COPIES)
    app.notifier.notify_all()


async def _status(app: HubApp, name: ItemName) -> UpdateStatus:
    found = await app.of(UpdateOffers).overview(name)
    offer, preview = found.offer, found.preview
    return UpdateStatus(
        item=name,
        offered=found.offered,
        withdrawn=offer is not None and offer.withdrawn,
        by=None if offer is None else offer.offered_by,
        at=None if offer is None else offer.offered_at.timestamp(),
        preview=UpdatePreview.model_validate(preview, from_attributes=True) if preview else None,
        copies=[
            UpdatedCopy(
                student=row.username,
                state=row.state,
                at=row.at.timestamp(),
                conflicts=len(cells_in(row).conflicts),
                reason=row.reason,
            )
            for row in found.copies
        ],
    )


def _counts(lines: Sequence[PreviewLine]) -> PreviewCounts:
    refused = sum(bool(line.reason) for line in lines)
    conflicts = sum(bool(line.conflicts) for line in lines)
    nothing = sum(not (line.changed or line.reason or line.conflicts) for line in lines)
    clean = len(lines) - refused - conflicts - nothing
    return PreviewCounts(clean, conflicts, refused, nothing)


def _lines(planned: Sequence[PreviewLine], copies: Sequence[CopyUpdateRow]) -> list[StudentLine]:
    plans = {line.user: line for line in planned}
    rows = {row.username: row for row in copies}
    lines = [StudentLine(user, plans.get(user), rows.get(user)) for user in {*plans, *rows}]
    return sorted(lines, key=lambda line: (line.attention, line.user))


ROUTES = (
    Route("GET", "/update/{user}/{a}", show, OWNER),
    Route("POST", "/update/{user}/{a}", take, OWNER, "Updates"),
    Route("POST", "/update/{user}/{a}/undo", put_back, OWNER, "Updates"),
    Route("GET", "/course/updates/{name}", show_item, INSTRUCTOR),
    Route("GET", "/course/updates/{name}/{user}", look, INSTRUCTOR),
    Route("POST", "/course/cancel-preview/{item}", cancel_preview, INSTRUCTOR),
    Route("POST", "/course/undo-update/{item}", undo, INSTRUCTOR),
    Route("GET", "/updates/{item}", status, INSTRUCTOR, "Updates"),
    Route("POST", "/updates/{item}/preview", preview, INSTRUCTOR, "Updates"),
    Route("DELETE", "/updates/{item}/preview", cancel_preview, INSTRUCTOR, "Updates"),
    Route("POST", "/updates/{item}", offer, INSTRUCTOR, "Updates"),
    Route("DELETE", "/updates/{item}", undo, INSTRUCTOR, "Updates"),
)

"""Updates of copies, for instructors: preview one, offer it to all copies, undo it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated

from fastapi import Request
from starlette.responses import JSONResponse, Response

from mograder.core.names import ItemName
from mograder.sessions.update_offers import UpdateOverview
from mograder.store.copies.copy_updates import (
    CopyUpdateRow,
    PreviewRow,
    cells_in,
    lines_in,
)
from mograder.web.background import Report
from mograder.web.hub.copies.hub_updates import HubUpdates
from mograder.web.hub.copies.update_models import (
    PreviewCancelled,
    UpdatedCopy,
    UpdateLine,
    UpdatePreview,
    UpdateStatus,
    UpdateUndone,
)
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, go_to
from mograder.web.hub.core.items import item_name
from mograder.web.hub.core.notifier import Part
from mograder.web.hub.core.responses import deliver
from mograder.web.pages import with_outcome
from mograder.web.problems import Wants, wanted
from mograder.web.templating import path_segment

_TOLD_SECONDS = 0.5


async def status(item: str, app: CurrentApp, caller: Caller) -> UpdateStatus:
    """Return an item's update: its last preview, whether it is offered, and what became of it."""
    return await _status(app, item_name(item))


async def preview(
    item: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, UpdateStatus]:
    """Compute what the published release would do to each copy; nothing is changed."""
    name = item_name(item)
    task = await app.of(HubUpdates).previews.begin(name)
    if wanted(request) is Wants.PAGE:
        return go_to(request, update_page(name))

    async def job(report: Report) -> UpdateStatus:
        while not task.done():
            row = await asyncio.to_thread(app.of(HubUpdates).copies.stores.rows.preview, name)
            if row is not None:
                report(f"Merged {row.completed} of {row.total} copies, to look at the results")
            await asyncio.wait({task}, timeout=_TOLD_SECONDS)
        return await _status(app, name)

    return await deliver(request, job, lambda _: update_page(name))


async def cancel_preview(
    item: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, PreviewCancelled]:
    """Have the computation of a preview end."""
    name = item_name(item)
    rows = app.of(HubUpdates).copies.stores.rows
    cancelled = await asyncio.to_thread(rows.cancel_preview, name)
    app.notifier.notify_instructors(Part.COPIES)
    if wanted(request) is Wants.PAGE:
        return go_to(request, update_page(name))
    return JSONResponse(PreviewCancelled(cancelled=cancelled).model_dump(mode="json"))


async def offer(
    item: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, UpdateStatus]:
    """Offer the published release to all copies: they are merged when they are opened next."""
    name = item_name(item)

    async def job(_: Report) -> UpdateStatus:
        await app.of(HubUpdates).offers.offer(name, caller.username)
        await app.audit.record(request, caller, "offer update", name)
        _notify(app, name)
        return await _status(app, name)

    done = with_outcome(update_page(name), "offered", name)
    return await deliver(request, job, lambda _: done)


async def undo(
    item: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, UpdateUndone]:
    """Withdraw the last offer, and put the text from before into copies not edited since."""
    name = item_name(item)

    async def job(report: Report) -> UpdateUndone:
        found = await app.of(HubUpdates).offers.withdraw(name, report)
        await app.audit.record(request, caller, "undo update", name)
        for user in found.undone:
            await app.audit.record(request, caller, "undo update", f"{user}/{name}")
            await app.results.forget(user, name)
            app.notifier.notify(user, Part.COPIES)
        _notify(app, name)
        return UpdateUndone(
            undone=list(found.undone),
            kept=list(found.kept),
            waiting=list(found.waiting),
            failed=dict(found.failed),
        )

    done = with_outcome(update_page(name), "undone", name)
    return await deliver(request, job, lambda _: done)


def update_page(name: ItemName) -> str:
    """Return the address of the instructors' page of an item's update, below the prefix."""
    return f"/course/updates/{path_segment(name)}"


def _notify(app: HubApp, name: ItemName) -> None:
    """Tell the open notebooks of an item, and the instructors' pages."""
    for live in app.services.pool.all():
        if live.key.item == name:
            app.notifier.notify(live.key.user, Part.COPIES)
    app.notifier.notify_all()


async def _status(app: HubApp, name: ItemName) -> UpdateStatus:
    return _in_json(name, await app.of(HubUpdates).offers.overview(name))


def _in_json(name: ItemName, found: UpdateOverview) -> UpdateStatus:
    offer = found.offer
    return UpdateStatus(
        item=name,
        offered=found.offered,
        withdrawn=offer is not None and offer.withdrawn,
        by=None if offer is None else offer.offered_by,
        at=None if offer is None else offer.offered_at.timestamp(),
        preview=_preview(found.preview) if found.preview and found.previewed else None,
        copies=_copies(found.copies),
    )


def _preview(row: PreviewRow) -> UpdatePreview:
    return UpdatePreview(
        state=row.state,
        at=row.at.timestamp(),
        total=row.total,
        completed=row.completed,
        copies=[UpdateLine.model_validate(each, from_attributes=True) for each in lines_in(row)],
    )


def _copies(rows: Iterable[CopyUpdateRow]) -> list[UpdatedCopy]:
    return [
        UpdatedCopy(
            student=row.username,
            state=row.state,
            at=row.at.timestamp(),
            conflicts=len(cells_in(row).conflicts),
            reason=row.reason,
        )
        for row in rows
    ]

"""Assignments and lectures: listing them, their files, and a first copy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import Request
from pydantic import Field
from starlette.responses import FileResponse, Response

from mograder.auth.credentials import Role
from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName
from mograder.hub.items import ItemView, person
from mograder.hub.notifier import Notifier, Part
from mograder.sessions.copy_updates import CopyUpdates
from mograder.sessions.session import CopyOf
from mograder.store.copies.workspaces import FileStatus
from mograder.store.releases.releases import ItemKind
from mograder.web.hub.core.access import Caller, use
from mograder.web.hub.core.items import CurrentItems
from mograder.web.hub.core.responses import Body, Done, tell
from mograder.web.pages import with_outcome
from mograder.web.route import MEMBER, Route


class AssignmentEntry(Body):
    """An assignment in a person's list."""

    name: str
    type: Literal[ItemKind.ASSIGNMENT] = ItemKind.ASSIGNMENT
    file_status: FileStatus
    has_release: bool
    session_active: bool
    updated: bool
    visible: bool
    visible_from: str | None = None


class LectureEntry(Body):
    """A lecture in a person's list; its copy has no status."""

    name: str
    type: Literal[ItemKind.LECTURE] = ItemKind.LECTURE
    file_status: Literal["n/a"] = "n/a"
    has_copy: bool
    updated: bool
    has_release: bool = True
    session_active: bool
    visible: bool
    visible_from: str | None = None


class Downloaded(Done):
    """There is a copy; ``note`` is a sentence for who had one before."""

    note: Annotated[str | None, Field(exclude_if=lambda note: note is None)] = None


Entry = Annotated[AssignmentEntry | LectureEntry, Field(discriminator="type")]


def list_items(items: CurrentItems, caller: Caller) -> list[Entry]:
    """List assignments, then lectures, as the caller sees them."""
    status = partial(items.workspaces.file_status, person(caller))
    return [_entry(view, status) for view in items.survey(caller)]


def release_file(name: str, filename: str, items: CurrentItems, caller: Caller) -> FileResponse:
    """Send one file of a published release; only files in its manifest exist.

    Always as a download: a release may contain HTML, and this is the hub's own origin.
    """
    if ".." in filename or ".." in name:
        raise InvalidInput("Invalid filename")
    release = items.get(name, "File not found")
    items.demand_visible(caller, release.name)
    if release.kind is ItemKind.DEMO and caller.role is not Role.INSTRUCTOR:
        raise InvalidInput("Demos can only be run")  # its code is hidden from students
    path = items.releases.readable(release.name, filename)
    return FileResponse(
        path,
        filename=filename.rpartition("/")[2],
        content_disposition_type="attachment",
        headers={"Cache-Control": "no-cache"},
    )


async def download(
    a: str,
    request: Request,
    items: CurrentItems,
    notifier: Annotated[Notifier, use(Notifier)],
    updates: Annotated[CopyUpdates, use(CopyUpdates)],
    caller: Caller,
) -> Response:
    """Copy a release into the caller's workspace, unless there is a copy already (B52, B69)."""
    release, found, note = await to_thread.run_sync(items.take_copy, caller, a)
    if not found:
        await updates.replaced(CopyOf(person(caller), release.name))
    notifier.notify(person(caller), Part.COPIES)
    done = "downloaded" if note is None else "downloaded-anew"
    return tell(request, Downloaded(note=note), with_outcome("/", done, a))


def _entry(view: ItemView, status: Callable[[ItemName], FileStatus]) -> Entry:
    moment = view.visibility.visible_from
    shared: dict[str, Any] = {
        "name": view.name,
        "session_active": view.active,
        "updated": view.updated,
        "visible": view.visible,
        "visible_from": moment.isoformat() if moment else None,
    }
    if view.kind is ItemKind.ASSIGNMENT:
        file_status = status(view.release.name)
        return AssignmentEntry(file_status=file_status, has_release=True, **shared)
    return LectureEntry(has_copy=view.has_copy, **shared)


ROUTES = (
    Route("POST", "/download/{a}", download, MEMBER),
    Route("GET", "/assignments", list_items, MEMBER, "Items"),
    Route("GET", "/release/{name}/{filename:path}", release_file, MEMBER, "Items"),
)

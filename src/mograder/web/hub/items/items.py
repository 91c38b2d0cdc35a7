"""Assignments and lectures: listing them, their files, and a first copy of one.

The rules for what a student may see of an item are here: demos are never listed, and hidden items
only if the student already has a copy (compatibility-0.3.16.md 2.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from anyio import to_thread
from fastapi import Request
from starlette.responses import FileResponse, JSONResponse, Response

from mograder.auth.identity import Identity
from mograder.auth.roles import Role
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from mograder.store.copies.workspaces import FileStatus
from mograder.store.releases.releases import ItemKind, Release
from mograder.store.releases.visibility import Visibility
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, go_to
from mograder.web.hub.core.models import AssignmentEntry, Done, Entry, LectureEntry
from mograder.web.hub.core.notifier import Part
from mograder.web.pages import with_outcome
from mograder.web.problems import Wants, wanted

_MADE_ANEW = (
    "There was no {0}.py in your folder any more, so it was copied anew. "
    "Your other files were kept, such as {1}."
)


@dataclass(frozen=True, slots=True)
class ItemView:
    """One item as one person sees it."""

    release: Release
    visibility: Visibility
    visible: bool
    status: FileStatus
    has_copy: bool
    updated: bool
    active: bool

    @property
    def name(self) -> str:
        """The item's name."""
        return self.release.name

    @property
    def kind(self) -> ItemKind:
        """Assignment or lecture."""
        return self.release.kind


def person(identity: Identity) -> Username:
    """Return the directory name of the caller."""
    name = identity.username
    return Username.of_account(name)


def mode_of(kind: ItemKind) -> Mode:
    """Return how items of a kind are opened: assignments to edit, the others to run."""
    return Mode.EDIT if kind is ItemKind.ASSIGNMENT else Mode.RUN


def survey(app: HubApp, identity: Identity, at: datetime | None = None) -> list[ItemView]:
    """Return all items that a person may see, now or at a time, in list order. Reads the disk."""
    moment = at or app.services.clock.now()
    views = (_view(app, identity, release, moment) for release in app.services.releases.all())
    return [view for view in views if _listed(view, identity)]


def find_release(app: HubApp, name: str) -> Release | None:
    """Return the release of that name, or None; an invalid name is treated as unknown."""
    try:
        item = ItemName.parse(name)
    except InvalidInput:
        return None
    return app.services.releases.get(item)


def find_assignment(app: HubApp, name: str) -> Release:
    """Return the release of an item that a person may copy.

    Raises: NotFound, InvalidInput (a demo).
    """
    release = find_release(app, name)
    if release is None:
        raise NotFound("Assignment not found")
    if release.kind is ItemKind.DEMO:
        raise InvalidInput("Demos can only be run")
    return release


def demand_visible(app: HubApp, identity: Identity, name: str) -> None:
    """Refuse a student an item that is hidden or not open yet.

    Raises: NotFound with the message of compatibility-0.3.16.md 2.3.
    """
    rule, now = app.visibility.of(name), app.services.clock.now()
    if identity.role is not Role.INSTRUCTOR and not rule.visible(now):
        raise rule.refusal(now)


async def list_items(app: CurrentApp, caller: Caller) -> list[Entry]:
    """List assignments, then lectures, as the caller sees them."""
    views = await to_thread.run_sync(survey, app, caller)
    return [_entry(view) for view in views]


async def release_file(name: str, filename: str, app: CurrentApp, caller: Caller) -> FileResponse:
    """Send one file of a published release; only files in its manifest exist.

    Always as a download: a release may contain HTML, and this is the hub's own origin.
    """
    path = await to_thread.run_sync(_find_file, app, caller, name, filename)
    return FileResponse(
        path,
        filename=filename.rpartition("/")[2],
        content_disposition_type="attachment",
        headers={"Cache-Control": "no-cache"},
    )


async def download(a: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Copy a release into the caller's workspace, unless there is a copy already (B52, B69)."""
    await take_copy(app, caller, a)
    app.notifier.notify(person(caller), Part.COPIES)
    if wanted(request) is Wants.PAGE:
        return go_to(request, with_outcome("/", "downloaded", a))
    return JSONResponse(Done().model_dump(mode="json"))


async def take_copy(app: HubApp, identity: Identity, name: str) -> tuple[Release, str | None]:
    """Create a person's copy of an item if there is none; never overwrite one (B66, B69).

    Returns the release, and a sentence if the folder had other files but no notebook.

    Raises: NotFound (unknown or not available), InvalidInput (a demo).
    """
    return await to_thread.run_sync(_take_copy, app, identity, name)


def _take_copy(app: HubApp, identity: Identity, name: str) -> tuple[Release, str | None]:
    release = find_assignment(app, name)
    user, workspaces = person(identity), app.services.workspaces
    note = None
    if not workspaces.has_copy(user, release.name):
        demand_visible(app, identity, release.name)
        if others := workspaces.others(user, release):
            note = _MADE_ANEW.format(release.name, ", ".join(others))
    workspaces.ensure(user, release)
    app.services.recorder.look(user, release.name)
    return release, note


def _find_file(app: HubApp, identity: Identity, name: str, filename: str) -> Path:
    if ".." in filename or ".." in name:
        raise InvalidInput("Invalid filename")
    release = find_release(app, name)
    if release is None:
        raise NotFound("File not found")
    demand_visible(app, identity, release.name)
    return app.services.releases.readable(release.name, filename)


def _view(app: HubApp, identity: Identity, release: Release, moment: datetime) -> ItemView:
    services, user = app.services, person(identity)
    rule = app.visibility.of(release.name)
    key = SessionKey(user, release.name, mode_of(release.kind))
    has_copy = services.workspaces.has_copy(user, release.name)
    return ItemView(
        release=release,
        visibility=rule,
        visible=rule.visible(moment),
        status=services.workspaces.file_status(user, release.name),
        has_copy=has_copy,
        updated=has_copy and services.workspaces.updated(user, release),
        active=services.pool.find(key) is not None,
    )


def _listed(view: ItemView, identity: Identity) -> bool:
    if view.kind is ItemKind.DEMO:
        return False
    kept = view.kind is ItemKind.ASSIGNMENT and view.has_copy
    return view.visible or kept or identity.role is Role.INSTRUCTOR


def _entry(view: ItemView) -> Entry:
    moment = view.visibility.visible_from
    visible_from = moment.isoformat() if moment else None
    if view.kind is ItemKind.ASSIGNMENT:
        return AssignmentEntry(
            name=view.name,
            file_status=view.status,
            has_release=True,
            session_active=view.active,
            updated=view.updated,
            visible=view.visible,
            visible_from=visible_from,
        )
    return LectureEntry(
        name=view.name,
        has_copy=view.has_copy,
        updated=view.updated,
        session_active=view.active,
        visible=view.visible,
        visible_from=visible_from,
    )

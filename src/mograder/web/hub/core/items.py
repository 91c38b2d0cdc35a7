"""Items and copies as a person sees them, and as an address names them.

The rules for what a student may see of an item are here: demos are never listed, and hidden items
only if the student already has a copy (compatibility-0.3.16.md 2.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from anyio import to_thread
from fastapi import Depends

from mograder.auth.identity import Identity
from mograder.auth.roles import Role
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from mograder.sessions.student_copies import CopyOf
from mograder.store.copies.workspaces import FileStatus
from mograder.store.releases.releases import ItemKind, Release
from mograder.store.releases.visibility import Visibility
from mograder.web.hub.core.hub_app import HubApp

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


def item_name(name: str) -> ItemName:
    """Return the name of an item in a request; raise InvalidInput if it cannot be one."""
    if name in ItemName.reserved:
        raise InvalidInput(f"'{name}' is reserved and cannot be used as a name")
    return ItemName.parse(name)


def item_page(name: str) -> str:
    """Return the address of the instructors' page of an item, below the prefix."""
    return f"/course/items/{quote(name, safe='')}"


def copy_in(user: str, name: str) -> CopyOf:
    """Return the copy that an address names. Raises: :class:`InvalidInput`."""
    return CopyOf(Username.of_account(user), ItemName.parse(name))


def known_copy(user: str, name: str) -> CopyOf:
    """Return the copy that an address names. Raises: :class:`NotFound`."""
    try:
        return copy_in(user, name)
    except InvalidInput as error:
        raise NotFound("Notebook not found") from error


async def _copy_in_path(user: str, a: str) -> CopyOf:
    return known_copy(user, a)


KnownCopy = Annotated[CopyOf, Depends(_copy_in_path)]
"""A handler's parameter: the copy that the path names; else the response is 404."""

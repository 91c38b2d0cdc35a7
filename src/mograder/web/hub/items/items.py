"""Assignments and lectures: listing them, their files, a first copy, and the instructors' page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import Request
from pydantic import (
    Field,
)
from starlette.responses import FileResponse, JSONResponse, Response

from mograder.auth.identity import Identity
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.item_dates import OwnDates
from mograder.sessions.launch_spec import script_of
from mograder.store.copies.workspaces import FileStatus
from mograder.store.releases.releases import ItemKind, Release
from mograder.store.releases.visibility import Visibility
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.copy_counts import Count
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, go_to
from mograder.web.hub.core.items import (
    ItemView,
    demand_visible,
    find_release,
    person,
    survey,
    take_copy,
)
from mograder.web.hub.core.notifier import Part
from mograder.web.hub.core.responses import Body, Done
from mograder.web.pages import outcome, page, with_outcome
from mograder.web.problems import Wants, wanted
from mograder.web.route import INSTRUCTOR, MEMBER, Route


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


Entry = Annotated[AssignmentEntry | LectureEntry, Field(discriminator="type")]
"""One line of ``GET /assignments``."""


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


def _find_file(app: HubApp, identity: Identity, name: str, filename: str) -> Path:
    if ".." in filename or ".." in name:
        raise InvalidInput("Invalid filename")
    release = find_release(app, name)
    if release is None:
        raise NotFound("File not found")
    demand_visible(app, identity, release.name)
    return app.services.releases.readable(release.name, filename)


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


@dataclass(frozen=True, slots=True)
class ItemLine:
    """One item; ``environment`` is ready, building, failed or waiting, ``said`` is the error."""

    release: Release
    visibility: Visibility
    visible: bool
    dates: OwnDates
    environment: str
    said: str
    begun: int


async def items_page(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the published items, their visibility, and whether their environments are ready."""
    count = await app.copy_counts.look()
    lines = await to_thread.run_sync(_item_lines, app, count)
    done, item = outcome(request)
    return page(
        request,
        "items.html",
        here="items",
        items=lines,
        now=app.services.clock.now(),
        count=count,
        done=done,
        done_item=item,
        limits=app.services.loaded.settings.limits,
    )


def failed_items(app: HubApp) -> list[ItemLine]:
    """Return the items whose environments could not be prepared; blocks."""
    return [line for line in _item_lines(app, Count()) if line.environment == "failed"]


def _item_lines(app: HubApp, count: Count) -> list[ItemLine]:
    begun, now = count.begun, app.services.clock.now()
    app.checks.look()
    lines = []
    for release in app.services.releases.all():
        rule = app.visibility.of(release.name)
        environment, said = _environment(app, release)
        line = ItemLine(
            release,
            rule,
            rule.visible(now),
            app.dates.usual(release.name),
            environment,
            said,
            begun[str(release.name)],
        )
        lines.append(line)
    return lines


def _environment(app: HubApp, release: Release) -> tuple[str, str]:
    environments = app.services.environments
    try:
        script = script_of(release)
    except (InvalidInput, OSError, UnicodeDecodeError) as error:
        return "failed", str(error)
    if environments.ready(script) is not None:
        return "ready", ""
    if environments.building(script):
        return "building", ""
    said = environments.trouble(script)
    return ("failed", said) if said else ("waiting", "")


ROUTES = (
    Route("POST", "/download/{a}", download, MEMBER),
    Route("GET", "/course/items", items_page, INSTRUCTOR),
    Route("GET", "/assignments", list_items, MEMBER, "Items"),
    Route("GET", "/release/{name}/{filename:path}", release_file, MEMBER, "Items"),
)

"""A student's copy of an item over HTTP (B117-B122; compatibility-0.3.16.md 2.3, 2.4, 2.8)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from email.utils import formatdate
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.errors import Busy, Conflict, InvalidInput, NotFound
from mograder.hub.notifier import Part
from mograder.notebook.denied_code import denied_by
from mograder.notebook.version_diff import CodeChange
from mograder.sessions.copy_updates import CopyUpdates
from mograder.sessions.session import CopyOf, LiveSession
from mograder.store.copies.workspaces import FileStatus, Saved
from mograder.store.releases.releases import ItemKind, Release
from mograder.web.app import WAS_HEAD
from mograder.web.background import Report
from mograder.web.hub.core.access import Caller, identity_of
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy, copy_in
from mograder.web.hub.core.responses import Body, Done, UnixTime, back_from, deliver, tell
from mograder.web.pages import attachment
from mograder.web.request_body import MEGABYTE, Uploads, closing, receive
from mograder.web.route import HISTORY, OWNER, SELF, FileBody, Route

_UPLOAD = 16 * MEGABYTE
"""Bytes of a form with one notebook of the largest size that marimo accepts."""

_MOST_OWN = 10
"""Most folders of one student without a release: each may have ``workspace_mb`` of the disk."""

STOPPING = "Stopping the editor and keeping your work"
_DO_WITHOUT = "Do without, or ask your instructor to allow it."

_PAGE_SECONDS = 12.0
"""How long the page has: it hears within 2 seconds, and gives up 8 seconds after that."""


class CopyStatus(Body):
    """The state of a copy; an unknown item is reported like one that was not started."""

    file_status: FileStatus
    session_active: bool
    has_release: bool


class Uploaded(Done):
    """The notebook replaced the copy; ``path`` is where the hub stores it."""

    path: str


class Taken(Uploaded):
    """The release was copied; ``archive`` is the file with the previous copy."""

    archive: str | None


class ArchiveEntry(Body):
    """An earlier version; ``kept`` and ``modified`` are Unix times, as ``last_seen`` is."""

    name: str
    size: int
    kept: UnixTime
    modified: UnixTime


class Restored(Done):
    """The release or a version is the copy again; ``archive`` is the file of the previous one."""

    file_status: FileStatus
    archive: str | None


class CellToPut(Body):
    """A cell that the open page is to replace; ``mark`` is the request's, for its answer.

    The cell is the one at ``index`` with the code ``before``, or else the only one with that code.
    """

    mark: str
    index: int
    before: str
    after: str


class OpenEditors:
    """Asks the pages of open notebooks to replace a cell, for one event loop.

    A text that the hub writes below a running marimo would be lost at the next save, or replace
    what was typed since the last one. Only marimo's page knows what is typed, so the bar above it
    passes the change on (``static/frame-cell.js``, ``session-frame.js``), and the file is saved as
    always. The page is the student's: it may say anything, so the caller looks into the file.

    Mutable state: ``_asked``, the one cell that is asked of a session's page, by the session's id.
    """

    def __init__(self) -> None:
        self._asked: dict[str, tuple[CellToPut, asyncio.Future[bool]]] = {}

    async def replace(self, session: str, change: CodeChange, tell: Callable[[], None]) -> bool:
        """Return whether the page says that it has replaced the cell and saved it.

        ``tell`` is called once it can ask for the change. Raises: :class:`Conflict` while it is
        asked for another one.
        """
        if session in self._asked:
            raise Conflict(
                "Another cell of this notebook is just being put back.",
                hint="Wait a moment, then try again.",
            )
        cell = CellToPut(mark=secrets.token_urlsafe(6), **asdict(change))
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[session] = cell, answered
        tell()
        try:
            async with asyncio.timeout(_PAGE_SECONDS):
                return await answered
        except TimeoutError:
            return False
        finally:
            del self._asked[session]

    def asked_of(self, session: str) -> CellToPut | None:
        asked = self._asked.get(session)
        return asked and asked[0]

    def answer(self, session: str, mark: str, *, done: bool) -> None:
        """Take the page's answer. Raises: :class:`NotFound` where this is not asked any more."""
        asked = self._asked.get(session)
        if asked is None or asked[0].mark != mark:
            raise NotFound("This cell is not asked for any more.")
        if not asked[1].done():
            asked[1].set_result(done)


def status(user: str, a: str, app: CurrentApp, caller: Caller) -> CopyStatus:
    """Return the state of a copy; an unknown item has no copy."""
    try:
        copy = copy_in(user, a)
    except InvalidInput:
        return CopyStatus(
            file_status=FileStatus.NOT_STARTED, session_active=False, has_release=False
        )
    services = app.services
    release = services.releases.get(copy.item)
    return CopyStatus(
        file_status=services.workspaces.file_status(copy.user, copy.item),
        session_active=services.pool.find(copy.key) is not None,
        has_release=release is not None and _may_know(app, caller, copy),
    )


async def upload(
    user: str,
    a: str,
    request: Annotated[Request, FileBody("file")],
    app: CurrentApp,
    caller: Caller,
) -> Annotated[Response, Uploaded]:
    """Replace the copy by the notebook in the field ``file``, and archive the old one."""
    copy = copy_in(user, a)
    data, until_stored = await app.of(Uploads).received(copy.user, partial(_sent, request))

    async def job(report: Report) -> Uploaded:
        with until_stored:
            release = await to_thread.run_sync(_known, app, caller, copy)
            report("Looking at the notebook")
            await _screen(app, copy, data, release, report)
            report("Putting it in its place")
            await to_thread.run_sync(app.items.ensure_files, caller, copy)
            await app.copies.upload(copy, data)
        await app.of(CopyUpdates).replaced(copy)
        await app.results.forget(copy.user, copy.item)
        await app.audit.record_foreign(request, copy.user, "upload", str(copy))
        return Uploaded(path=_place(app, copy))

    return await deliver(request, job, back_from(request, copy, "uploaded"))


async def export(copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Send the newest complete save, and record that its owner exported it."""
    saved = await app.copies.export(copy)
    mark = app.services.workspaces.mark_exported
    # A link on another site may lead here but must not change anything; nor may a HEAD.
    foreign = request.headers.get("sec-fetch-site") == "cross-site" or WAS_HEAD in request.scope
    if caller.username == copy.user and not foreign:
        with suppress(Busy):  # on a full disk the work can still be exported
            await to_thread.run_sync(mark, copy.user, copy.item, saved.modified_ns)
        app.notifier.notify(copy.user, Part.COPIES)
    await app.audit.record_foreign(request, copy.user, "export", str(copy))
    return send_notebook(saved, copy.notebook)


async def mark_exported(
    user: str, a: str, request: Request, app: CurrentApp
) -> Annotated[Response, Done]:
    """Record that the copy was exported by other means."""
    copy = copy_in(user, a)
    await to_thread.run_sync(app.services.workspaces.mark_exported, copy.user, copy.item)
    app.notifier.notify(copy.user, Part.COPIES)
    return tell(request, Done(), back_from(request, copy, "exported"))


async def reset(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, Restored]:
    """Replace the copy by the release; the student's work is archived."""

    async def job(report: Report) -> Restored:
        archive = await _begin_anew(request, app, caller, copy, report, only_replace=True)
        return Restored(file_status=await file_status(app, copy), archive=archive)

    def told(result: Restored) -> str:
        return back_from(request, copy, "reset" if result.archive else "nothing-reset")

    return await deliver(request, job, told)


async def download_release(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, Taken]:
    """Copy the release; an existing copy is replaced and archived."""

    async def job(report: Report) -> Taken:
        archive = await _begin_anew(request, app, caller, copy, report, only_replace=False)
        return Taken(path=_place(app, copy), archive=archive)

    def told(result: Taken) -> str:
        return back_from(request, copy, "fetched" if result.archive else "downloaded")

    return await deliver(request, job, told)


async def _begin_anew(
    request: Request,
    app: HubApp,
    caller: Identity,
    copy: CopyOf,
    report: Report,
    *,
    only_replace: bool,
) -> str | None:
    """Put the release in place of a copy; return the file with that, if it was there."""

    def obtain() -> Release:
        release = app.items.assignment(copy.item)
        app.items.demand_visible(caller, copy.item)
        return release

    await to_thread.run_sync(obtain)  # before the editor is closed
    report(STOPPING if only_replace else "Copying the release")
    archive = await app.copies.renew(copy, obtain, only_replace=only_replace)
    await app.of(CopyUpdates).replaced(copy)
    await app.results.forget(copy.user, copy.item)
    action = "reset" if only_replace else "download release"
    await app.audit.record_foreign(request, copy.user, action, str(copy))
    return archive


def list_archives(copy: KnownCopy, app: CurrentApp) -> list[ArchiveEntry]:
    """List the earlier versions of a copy, the newest first."""
    found = app.services.workspaces.archives(copy.user, copy.item)
    return [ArchiveEntry.model_validate(each, from_attributes=True) for each in found]


async def archive(copy: KnownCopy, archive: str, request: Request, app: CurrentApp) -> Response:
    """Send an earlier version."""
    saved = await app.copies.archive(copy, archive)
    await app.audit.record_foreign(request, copy.user, "export", f"{copy.user}/{archive}")
    return send_notebook(saved, archive)


async def restore(
    copy: KnownCopy, archive: str, request: Request, app: CurrentApp
) -> Annotated[Response, Restored]:
    """Restore an earlier version; the version that it replaces is archived."""

    async def put() -> str | None:
        kept = await app.copies.restore(copy, archive)
        await app.audit.record_foreign(request, copy.user, "restore", f"{copy.user}/{archive}")
        return kept

    return await put_text_back(request, app, copy, put, back_from(request, copy, "restored"))


async def put_text_back(
    request: Request,
    app: HubApp,
    copy: CopyOf,
    put: Callable[[], Awaitable[str | None]],
    next_page: str,
    until_stored: AbstractContextManager[object] | None = None,
) -> Response:
    """Put an earlier text into a notebook; ``until_stored`` ends once that is stored or failed."""

    async def job(report: Report) -> Restored:
        with until_stored or nullcontext():
            report(STOPPING)
            if who := identity_of(request):
                await to_thread.run_sync(app.items.ensure_files, who, copy)
            kept = await put()
        await app.results.forget(copy.user, copy.item)
        return Restored(file_status=await file_status(app, copy), archive=kept)

    return await deliver(request, job, next_page)


async def answer(copy: KnownCopy, app: CurrentApp, mark: str, *, done: bool) -> Done:
    """Hear from the page of an open notebook whether it has put a cell back."""
    live = app.services.pool.find(copy.key)
    app.of(OpenEditors).answer("" if live is None else live.id, mark, done=done)
    return Done()


def asked_of_page(app: HubApp, caller: Caller, live: LiveSession) -> CellToPut | None:
    return app.of(OpenEditors).asked_of(live.id) if caller.username == live.key.user else None


async def file_status(app: HubApp, copy: CopyOf) -> FileStatus:
    look = app.services.workspaces.file_status
    return await to_thread.run_sync(look, copy.user, copy.item)


def send_notebook(saved: Saved, filename: str) -> Response:
    """Return a student's file, always as a download and never as a page."""
    headers = {
        "Content-Disposition": attachment(filename),
        "ETag": f'"{saved.digest}"',
        "Last-Modified": formatdate(saved.modified.timestamp(), usegmt=True),
        "Cache-Control": "no-store",
    }
    return Response(saved.data, headers=headers, media_type="text/x-python; charset=utf-8")


def _may_know(app: HubApp, identity: Identity, copy: CopyOf) -> bool:
    if identity.role is Role.INSTRUCTOR or app.services.workspaces.has_copy(copy.user, copy.item):
        return True
    return app.visibility.of(copy.item).visible(app.services.clock.now())


def _known(app: HubApp, identity: Identity, copy: CopyOf) -> Release | None:
    """Return the release of an item that a student uploads to (compatibility-0.3.16.md 2.3).

    Raises: NotFound, InvalidInput (a demo), Conflict (too many).
    """
    release = app.items.find(copy.item)
    if release is not None and release.kind is ItemKind.DEMO:
        raise InvalidInput("Demos can only be run")
    if not _may_know(app, identity, copy):
        app.items.demand_visible(identity, copy.item)
    if release is None and identity.role is not Role.INSTRUCTOR:
        workspaces = app.services.workspaces
        own = [each for each in workspaces.items_of(copy.user) if app.items.find(each) is None]
        if len(own) >= _MOST_OWN and not workspaces.has_copy(copy.user, copy.item):
            raise Conflict(
                f"You have {len(own)} notebooks that are no items of this course, and that is all.",
                hint="Upload it under the name of its item, or tell your instructor.",
            )
    return release


async def _screen(
    app: HubApp, copy: CopyOf, data: bytes, release: Release | None, report: Report
) -> None:
    """Refuse constructs that the course denies (B133), except in cells unchanged from the release.

    Unfinished work may be broken, and must remain exportable: what cannot be parsed is only
    reported.
    """
    settings = app.services.loaded.settings
    released = None if release is None else await to_thread.run_sync(_text_of, release)
    denied = denied_by(settings.safety)
    found = await app.copies.screen(copy, data, released, denied)
    level = settings.security.safety_scan
    if level == "off":
        return
    for each in (*found.denied, *found.unchecked):
        report(str(each))
    if found.denied and level == "refuse":
        raise InvalidInput(f"{found.unsafe}.", hint=_DO_WITHOUT)


def _text_of(release: Release) -> bytes | None:
    try:
        return release.notebook.read_bytes()
    except FileNotFoundError:
        return None


async def _sent(request: Request) -> bytes:
    form = await receive(request, _UPLOAD, 1, field="file")
    async with closing(form):
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise InvalidInput(
                "Nothing was uploaded.", hint="Send the notebook in the multipart field 'file'."
            )
        return await part.read()


def _place(app: HubApp, copy: CopyOf) -> str:
    return str(app.services.workspaces.notebook(copy.user, copy.item))


ROUTES = (
    Route("GET", "/status/{user}/{a}", status, OWNER, "Copies"),
    Route("POST", "/upload/{user}/{a}", upload, OWNER, "Copies"),
    Route("GET", "/export/{user}/{a}", export, OWNER, "Copies"),
    Route("POST", "/mark-exported/{user}/{a}", mark_exported, OWNER, "Copies"),
    Route("POST", "/reset/{user}/{a}", reset, OWNER, "Copies"),
    Route("POST", "/download-release/{user}/{a}", download_release, OWNER, "Copies"),
    Route("GET", "/archives/{user}/{a}", list_archives, HISTORY, "Copies"),
    Route("GET", "/archives/{user}/{a}/{archive}", archive, HISTORY, "Copies"),
    Route("POST", "/restore/{user}/{a}/{archive}", restore, OWNER, "Copies"),
    Route("POST", "/standing/{user}/{a}", answer, SELF, "Copies"),
)

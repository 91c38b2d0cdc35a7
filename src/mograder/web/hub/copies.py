"""A student's copy of an item over HTTP (B117, B118, B120-B122; compat.md 2.3, 2.4, 2.8).

``sessions.copies`` does the work; this door says who may, for which item, and in which words.
"""

from __future__ import annotations

from contextlib import suppress
from email.utils import formatdate
from urllib.parse import quote

from anyio import to_thread
from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from mograder.auth.identity import Identity
from mograder.auth.roles import Role
from mograder.core.errors import Busy, InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.grading.report_html import has_our_elements_only
from mograder.notebook.screening import denied_by
from mograder.sessions.copies import CopyOf
from mograder.store.archives import Archive
from mograder.store.releases import ItemKind, Release
from mograder.store.renamed import printable
from mograder.store.workspaces import FileStatus, Saved
from mograder.web.hub.access import Caller
from mograder.web.hub.answers import deliver
from mograder.web.hub.behalf import Deed, note_foreign
from mograder.web.hub.bell import Part
from mograder.web.hub.desk import HEAD, Desk, TheDesk
from mograder.web.hub.intake import MEGABYTE, closing, receive
from mograder.web.hub.items import demand_visible, find_release
from mograder.web.hub.models import (
    ArchiveEntry,
    CopyStatus,
    Done,
    Reset,
    Restored,
    Taken,
    Uploaded,
)
from mograder.web.hub.onward import back_from
from mograder.web.hub.progress import Report

_UPLOAD = 16 * MEGABYTE
"""A form with one notebook of the largest size that marimo is given."""

_REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""For a page that the student's own code may have written: it shows itself, and can do nothing.

No policy keeps a browser from connecting to the host of an ``<iframe>`` or of a ``<link
rel="preconnect">``, so a page with other elements than ours is not shown at all.
"""


_DO_WITHOUT = "Do without, or ask your instructor to allow it."


async def status(user: str, a: str, desk: TheDesk, caller: Caller) -> CopyStatus:
    """Tell how a copy stands; unknown items have no copy."""
    try:
        copy = _copy(user, a)
    except InvalidInput:
        return CopyStatus(
            file_status=FileStatus.NOT_STARTED, session_active=False, has_release=False
        )
    return await to_thread.run_sync(_standing, desk, caller, copy)


async def upload(user: str, a: str, request: Request, desk: TheDesk, caller: Caller) -> Response:
    """Put the notebook in the field ``file`` in the copy's place, and keep the old one."""
    copy = _copy(user, a)
    form = await receive(request, _UPLOAD, 1, field="file")
    async with closing(form):
        data = await _sent(form)

    async def job(report: Report) -> Uploaded:
        release = await to_thread.run_sync(_known, desk, caller, copy)
        report("Looking at the notebook")
        await _screen(desk, copy, data, release, report)
        report("Putting it in its place")
        await desk.copies.upload(copy, data)
        await desk.results.forget(copy.user, copy.item)
        await note_foreign(request, caller, copy.user, Deed("upload", _what(copy)))
        return Uploaded(path=_place(desk, copy))

    onward = back_from(request, caller, copy.user, "uploaded", copy.item)
    return await deliver(request, job, onward)


async def export(user: str, a: str, request: Request, desk: TheDesk, caller: Caller) -> Response:
    """Send the newest complete save, and remember that its owner took it along."""
    copy = known_copy(user, a)
    saved = await desk.copies.export(copy)
    mark = desk.services.workspaces.mark_exported
    # Another site's link may lead here, but must not change anything; nor may a HEAD.
    foreign = request.headers.get("sec-fetch-site") == "cross-site" or HEAD in request.scope
    if caller.username == copy.user and not foreign:
        with suppress(Busy):  # on a full disk the work can be taken home all the same
            await to_thread.run_sync(mark, copy.user, copy.item, saved.modified_ns)
        desk.bell.ring(copy.user, Part.COPIES)
    await note_foreign(request, caller, copy.user, Deed("export", _what(copy)))
    return _attachment(saved, copy.notebook)


async def mark_exported(
    user: str, a: str, request: Request, desk: TheDesk, caller: Caller
) -> Response:
    """Remember that the copy was exported some other way."""
    copy = _copy(user, a)

    async def job(_: Report) -> Done:
        await to_thread.run_sync(desk.services.workspaces.mark_exported, copy.user, copy.item)
        return Done()

    onward = back_from(request, caller, copy.user, "exported", copy.item)
    return await deliver(request, job, onward)


async def reset(user: str, a: str, request: Request, desk: TheDesk, caller: Caller) -> Response:
    """Begin anew from the release; the work is kept beside it."""
    copy = known_copy(user, a)

    async def job(report: Report) -> Reset:
        release = await to_thread.run_sync(_obtainable, desk, caller, copy)
        report("Stopping the editor and keeping your work")
        archive = await desk.copies.reset(copy, release)
        await desk.results.forget(copy.user, copy.item)
        await note_foreign(request, caller, copy.user, Deed("reset", _what(copy)))
        return Reset(file_status=await _file_status(desk, copy), archive=archive)

    onward = back_from(request, caller, copy.user, "reset", copy.item)
    return await deliver(request, job, onward)


async def download_release(
    user: str, a: str, request: Request, desk: TheDesk, caller: Caller
) -> Response:
    """Copy the release, also over a copy that is there, which is kept beside it."""
    copy = known_copy(user, a)

    async def job(report: Report) -> Taken:
        release = await to_thread.run_sync(_obtainable, desk, caller, copy)
        report("Copying the release")
        archive = await desk.copies.take_release(copy, release)
        await desk.results.forget(copy.user, copy.item)
        await note_foreign(request, caller, copy.user, Deed("download release", _what(copy)))
        return Taken(path=_place(desk, copy), archive=archive)

    onward = back_from(request, caller, copy.user, "fetched", copy.item)
    return await deliver(request, job, onward)


async def list_archives(user: str, a: str, desk: TheDesk, caller: Caller) -> list[ArchiveEntry]:
    """List the earlier versions of a copy, the newest first."""
    copy = known_copy(user, a)
    found = await to_thread.run_sync(desk.services.workspaces.archives, copy.user, copy.item)
    return [_entry(each) for each in found]


async def archive(
    user: str, a: str, archive: str, request: Request, desk: TheDesk, caller: Caller
) -> Response:
    """Send an earlier version."""
    copy = known_copy(user, a)
    saved = await desk.copies.archive(copy, archive)
    await note_foreign(request, caller, copy.user, Deed("export", f"{copy.user}/{archive}"))
    return _attachment(saved, archive)


async def restore(
    user: str, a: str, archive: str, request: Request, desk: TheDesk, caller: Caller
) -> Response:
    """Put an earlier version back; what it replaces is kept in turn."""
    copy = known_copy(user, a)

    async def job(report: Report) -> Restored:
        report("Stopping the editor and keeping your work")
        kept = await desk.copies.restore(copy, archive)
        await desk.results.forget(copy.user, copy.item)
        await note_foreign(request, caller, copy.user, Deed("restore", f"{copy.user}/{archive}"))
        return Restored(file_status=await _file_status(desk, copy), archive=kept)

    onward = back_from(request, caller, copy.user, "restored", copy.item)
    return await deliver(request, job, onward)


async def validate_report(
    user: str, a: str, request: Request, desk: TheDesk, caller: Caller
) -> Response:
    """Show the last validation, confined: it lies where the student's code could change it."""
    try:
        copy = _copy(user, a)
    except InvalidInput as error:
        raise NotFound("No validation report") from error
    saved = await desk.copies.report(copy)
    if not await to_thread.run_sync(has_our_elements_only, saved.data):
        raise NotFound("No validation report", hint="Validate the notebook once more.")
    await note_foreign(request, caller, copy.user, Deed("read report", _what(copy)))
    headers = {"Content-Security-Policy": _REPORT_POLICY, "X-DNS-Prefetch-Control": "off"}
    return Response(saved.data, headers=headers, media_type="text/html; charset=utf-8")


def _copy(user: str, name: str) -> CopyOf:
    return CopyOf(Username.of_account(user), ItemName.parse(name))


def known_copy(user: str, name: str) -> CopyOf:
    """Return the copy that an address names. Raises: :class:`NotFound`."""
    try:
        return _copy(user, name)
    except InvalidInput as error:
        raise NotFound("Notebook not found") from error


def _standing(desk: Desk, identity: Identity, copy: CopyOf) -> CopyStatus:
    services = desk.services
    release = services.releases.get(copy.item)
    renamed = services.workspaces.renamed(copy.user, copy.item)
    return CopyStatus(
        file_status=services.workspaces.file_status(copy.user, copy.item),
        session_active=services.pool.find(copy.key) is not None,
        has_release=release is not None and _may_know(desk, identity, copy),
        renamed=printable(renamed) if renamed else None,
    )


def _may_know(desk: Desk, identity: Identity, copy: CopyOf) -> bool:
    """Whether this person may learn that the item is published."""
    if identity.role is Role.INSTRUCTOR or desk.services.workspaces.has_copy(copy.user, copy.item):
        return True
    return desk.visibility.of(copy.item).visible(desk.services.clock.now())


def _known(desk: Desk, identity: Identity, copy: CopyOf) -> Release | None:
    """The release of an item that somebody uploads to; there need not be one (compat.md 2.3)."""
    release = find_release(desk, copy.item)
    if release is not None and release.kind is ItemKind.DEMO:
        raise InvalidInput("Demos can only be run")
    if not _may_know(desk, identity, copy):
        demand_visible(desk, identity, copy.item)
    return release


def _obtainable(desk: Desk, identity: Identity, copy: CopyOf) -> Release:
    """The release that a person may have a copy of, also one who has worked on it already."""
    release = find_release(desk, copy.item)
    if release is None:
        raise NotFound("Assignment not found")
    if release.kind is ItemKind.DEMO:
        raise InvalidInput("Demos can only be run")
    demand_visible(desk, identity, copy.item)
    return release


async def _screen(
    desk: Desk, copy: CopyOf, data: bytes, release: Release | None, report: Report
) -> None:
    """Refuse what the course denies (B133), but for cells that stand as they were handed out.

    What cannot be read is told only: half a solution may be broken, and can be taken home.
    """
    settings = desk.services.loaded.settings
    released = None if release is None else await to_thread.run_sync(_text_of, release)
    denied = denied_by(settings.safety)
    found = await desk.copies.screen(data, copy.notebook, released, denied)
    level = settings.security.safety_scan
    if level == "off":
        return
    for each in (*found.denied, *found.unchecked):
        report(str(each))
    if found.denied and level == "refuse":
        raise InvalidInput(found.unsafe, hint=_DO_WITHOUT)


def _text_of(release: Release) -> bytes | None:
    """The release's notebook, if nobody is just replacing it."""
    try:
        return release.notebook.read_bytes()
    except FileNotFoundError:
        return None


async def _sent(form: FormData) -> bytes:
    part = form.get("file")
    if not isinstance(part, UploadFile):
        raise InvalidInput(
            "Nothing was uploaded.", hint="Send the notebook in the multipart field 'file'."
        )
    return await part.read()


async def _file_status(desk: Desk, copy: CopyOf) -> FileStatus:
    look = desk.services.workspaces.file_status
    return await to_thread.run_sync(look, copy.user, copy.item)


def _attachment(saved: Saved, filename: str) -> Response:
    """A file of a student's, always as a download and never as a page."""
    quoted = quote(filename)
    shown = f'filename="{filename}"' if quoted == filename else f"filename*=utf-8''{quoted}"
    headers = {
        "Content-Disposition": f"attachment; {shown}",
        "ETag": f'"{saved.digest}"',
        "Last-Modified": formatdate(saved.modified.timestamp(), usegmt=True),
        "Cache-Control": "no-store",
    }
    return Response(saved.data, headers=headers, media_type="text/x-python; charset=utf-8")


def _entry(found: Archive) -> ArchiveEntry:
    return ArchiveEntry(
        name=found.name,
        size=found.size,
        kept=found.kept.timestamp(),
        modified=found.modified.timestamp(),
    )


def _place(desk: Desk, copy: CopyOf) -> str:
    return str(desk.services.workspaces.notebook(copy.user, copy.item))


def _what(copy: CopyOf) -> str:
    return f"{copy.user}/{copy.item}"

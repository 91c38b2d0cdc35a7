"""Submitting on the hub, into the course's own ``submitted/``; never to Moodle (B59)."""

from __future__ import annotations

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import InvalidInput
from mograder.notebook.integrity import UNTOUCHED, Tampering
from mograder.sessions.student_copies import CopyOf
from mograder.store.releases import Release
from mograder.web.background import Report
from mograder.web.hub.handlers.copies import KnownCopy
from mograder.web.hub.handlers.items import find_release
from mograder.web.hub.support.access import Caller
from mograder.web.hub.support.hub_app import CurrentApp, HubApp
from mograder.web.hub.support.models import Submitted
from mograder.web.hub.support.responses import back_from, deliver


async def submit(copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Submit the newest complete save; it is on disk before the answer is sent."""

    async def job(report: Report) -> Submitted:
        saved = await app.copies.export(copy)
        report("Comparing it with what was handed out")
        release = await to_thread.run_sync(find_release, app, copy.item)
        tampering = await _tampering(app, copy, saved.data, release)
        report("Keeping your submission")
        now = app.services.clock.now()
        add = app.submissions.add
        kept = await to_thread.run_sync(add, copy.user, copy.item, saved.data, now)
        mark = app.services.workspaces.mark_submitted
        await to_thread.run_sync(mark, copy.user, copy.item)
        await app.audit.record(request, caller, "submit", f"{copy.user}/{copy.item}")
        return Submitted(
            submitted_path=str(kept.path),
            tampered_checks=list(tampering.checks),
            tampered_marks=tampering.marks,
        )

    next_page = back_from(request, caller, copy.user, "submitted", copy.item)
    return await deliver(request, job, next_page)


async def _tampering(app: HubApp, copy: CopyOf, data: bytes, release: Release | None) -> Tampering:
    """Return the differences from the release; one that cannot be compared is accepted too."""
    if release is None:
        return UNTOUCHED
    released = await to_thread.run_sync(release.notebook.read_bytes)
    try:
        return await app.copies.compare(data, copy.notebook, released)
    except InvalidInput:
        return Tampering((), marks=True)

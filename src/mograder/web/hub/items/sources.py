"""Sources of assignments, which instructors send so that the hub can grade submissions.

A source has solutions and hidden tests: it is taken and never given out.
"""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.publishing.publish import check_upload
from mograder.web.background import Report
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp
from mograder.web.hub.core.items import item_name, item_page
from mograder.web.hub.core.models import HeldSource, SourceKept
from mograder.web.hub.core.notifier import Part
from mograder.web.hub.core.responses import deliver
from mograder.web.hub.items.publishing import staging, uploads
from mograder.web.pages import with_outcome
from mograder.web.request_body import MEGABYTE, closing, receive
from mograder.web.route import FileBody


async def held(name: str, app: CurrentApp, caller: Caller) -> HeldSource:
    """Return what the hub has as an item's source: digests of the files that were sent."""
    item, sources = item_name(name), app.services.grading.sources
    limits = app.services.loaded.settings.limits
    found = await to_thread.run_sync(sources.find, item)
    return HeldSource(
        files=dict(await to_thread.run_sync(sources.digests, item)),
        own=found is not None and found.own,
        most_mb=limits.upload_mb,
        most_files=limits.upload_files,
    )


async def replace(
    name: str,
    request: Annotated[Request, FileBody("files", many=True)],
    app: CurrentApp,
    caller: Caller,
) -> Annotated[Response, SourceKept]:
    """Replace an item's source by the uploaded files (multipart field ``files``)."""
    item, sources = item_name(name), app.services.grading.sources
    limits = app.services.loaded.settings.limits
    form = await receive(request, limits.upload_mb * MEGABYTE, limits.upload_files, field="files")

    async def job(report: Report) -> SourceKept:
        async with closing(form), staging(sources.stage, item, uploads(form)) as staged:
            await to_thread.run_sync(check_upload, item, staged.path)
            await to_thread.run_sync(sources.commit, staged)
        await app.audit.record(request, caller, "send source", item)
        app.notifier.notify_instructors(Part.MARKS)
        return SourceKept(files=list(staged.files))

    return await deliver(request, job, lambda _: with_outcome(item_page(item), "source", item))

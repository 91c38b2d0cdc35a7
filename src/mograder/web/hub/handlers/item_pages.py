"""The instructors' page of one item: its source, the grading of its submissions, and the marks."""

from __future__ import annotations

from urllib.parse import quote

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import MograderError, NotFound
from mograder.core.names import ItemName
from mograder.web.hub.handlers.admin import item_name
from mograder.web.hub.support.access import Caller
from mograder.web.hub.support.hub_app import CurrentApp, HubApp
from mograder.web.hub.support.mark_lines import MarkLine, mark_lines
from mograder.web.pages import outcome, page


async def item(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show an item to instructors: where its source is, its grading, and the students' marks."""
    parsed, grading = item_name(name), app.services.grading
    release = await to_thread.run_sync(app.services.releases.get, parsed)
    source = await to_thread.run_sync(grading.sources.find, parsed)
    submitted = await to_thread.run_sync(app.submissions.people, parsed)
    job = await grading.jobs.of(parsed)
    if release is None and source is None and not submitted and job is None:
        raise NotFound("There is no such item.")
    lines, trouble = await to_thread.run_sync(_lines, app, parsed)
    done, done_item = outcome(request)
    return page(
        request,
        "item.html",
        here="items",
        name=parsed,
        release=release,
        source=source,
        submitted=len(submitted),
        job=job,
        lines=lines,
        trouble=trouble,
        limits=app.services.loaded.settings.limits,
        done=done,
        done_item=done_item,
    )


def page_of(name: str) -> str:
    """Return the address of the instructors' page of an item, below the prefix."""
    return f"/course/items/{quote(name, safe='')}"


def _lines(app: HubApp, name: ItemName) -> tuple[list[MarkLine], str]:
    """Return the marks, and why they cannot be read, if so."""
    try:
        return mark_lines(app.services.grading.grades(name)), ""
    except MograderError as error:
        return [], str(error)

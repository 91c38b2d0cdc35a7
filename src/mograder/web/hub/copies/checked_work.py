"""What a check is about in a student's notebook: the cells, with what the editor shows below them.

The outputs come from the student's open session. They are shown as an inert page in a frame of an
opaque origin, as the notebook as it ran is in marking (``grading.pages``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import Query, Request
from starlette.responses import Response

from mograder.core.errors import NotFound
from mograder.grading.marking.question_sources import sources_or_none
from mograder.grading.marking.shown_work import WorkCell, WorkToShow
from mograder.grading.pages.editor_outputs import render_editor_outputs
from mograder.notebook.points import key_of
from mograder.processes.isolated_call import IsolatedCall
from mograder.sessions.connections import exported_page
from mograder.sessions.session import CopyOf
from mograder.store.copies.workspaces import Saved
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy
from mograder.web.inert_page import inert_page
from mograder.web.route import VISITOR, Route

Label = Annotated[str, Query(max_length=300)]
"""A handler's parameter: the label of a check."""


@dataclass(frozen=True, slots=True)
class CheckedWork:
    """A student's cells that a check is about, and the last validation's words ``at`` a time.

    ``running`` is whether the notebook is open, so that its outputs can be shown.
    """

    check: str
    cells: tuple[WorkCell, ...]
    running: bool
    said: tuple[str, ...] = ()
    at: datetime | None = None


async def checked_work(app: HubApp, copy: CopyOf, saved: Saved, check: str) -> CheckedWork:
    """Return the cells that a check uses, as marking shows them, and what validation said of it."""
    sources, _ = await to_thread.run_sync(sources_or_none, app.marking.source(copy.item))
    work = await app.marking.works.show(WorkToShow(_text(saved), copy.notebook, sources))
    cells = tuple(each for each in work.of(key_of(check)) if each.own)
    found = CheckedWork(check, cells, app.services.pool.find(copy.key) is not None)
    result = app.results.of(copy.user, copy.item)
    for each in () if result is None else result.answer.checks:
        if result is not None and each.label == check:
            return replace(found, said=each.details, at=result.at)
    return found


async def outputs(copy: KnownCopy, request: Request, app: CurrentApp, check: Label) -> Response:
    """Return a check's cells with their outputs in the editor, for an opaque frame of ours."""
    saved = await app.copies.export(copy)
    live = app.services.pool.find(copy.key)
    if live is None:
        raise NotFound("The notebook is not open, so there are no outputs.")
    await app.audit.record_foreign(request, copy.user, "read", str(copy))
    work, text = await checked_work(app, copy, saved, check), _text(saved)
    via, indexes = app.services.connections, frozenset(each.index for each in work.cells)
    exported = await exported_page(live.endpoint, live.base_url, via)
    render = partial(render_editor_outputs, text, copy.notebook, exported, indexes, check)
    size = len(text) + len(exported)
    page = await app.of(IsolatedCall).call(render, size=size, whose=copy.user)
    return inert_page(page.encode("utf-8", "replace"), framed=True)


def _text(saved: Saved) -> str:
    return saved.data.decode("utf-8", "replace")


def open_checked_work(hub: HubApp) -> None:
    """Make what parses large outputs in another process, two at a time."""
    hub.add(IsolatedCall())


ROUTES = (Route("GET", "/look/{user}/{a}/-/outputs", outputs, VISITOR),)

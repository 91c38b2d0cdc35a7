"""Pages about one copy: resetting it, its text, its validation result, and what a check is about.

A notebook is shown as plain text: none of its code runs and its markup is escaped, so it may be
shown on the hub's own origin (security.md). What the editor of an open session shows is an inert
page in a frame of an opaque origin.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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
from mograder.sessions.copy_timeline import CopyTimelines
from mograder.sessions.session import CopyOf
from mograder.store.copies.workspaces import CopyFacts, Saved
from mograder.store.releases.releases import Release
from mograder.store.versions.versions import Version
from mograder.web.app import content_security_policy
from mograder.web.context import request_context
from mograder.web.hub.core.access import Caller, identity_of, part
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy
from mograder.web.pages import inert_page, page
from mograder.web.route import HISTORY, OWNER, VISITOR, Route

_LINES = 400
_CHARACTERS = 24_000
"""Maximum of a notebook on one page, which bounds the page's size."""

_LONGEST_LINE = 2000
_PIECE = 65_536
_LARGE = 1_000_000
"""Bytes of a text from which a person's are read one after the other."""

Label = Annotated[str, Query(max_length=300)]


@dataclass(frozen=True, slots=True)
class Extract:
    """Some lines of a notebook, counted from 1, after the metadata in ``header``."""

    header: str
    text: str
    first: int
    last: int
    total: int
    before: int
    following: int


@dataclass(frozen=True, slots=True)
class CheckedWork:
    """A student's cells that a check is about, and the words of the validation ``at`` a time."""

    check: str
    cells: tuple[WorkCell, ...]
    running: bool
    said: tuple[str, ...] = ()
    at: datetime | None = None


async def reset_page(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Response:
    workspaces = app.services.workspaces

    def read() -> tuple[CopyFacts | None, Release | None, bool]:
        facts, release = workspaces.facts(copy.user, copy.item), app.items.find(copy.item)
        newer = bool(facts and release and workspaces.updated(copy.user, release))
        return facts, release, newer

    facts, release, updated = await to_thread.run_sync(read)
    if release is None:
        raise NotFound(
            f"{copy.item} is not published any more, so there is nothing to begin anew from.",
            hint="Your own notebook stays as it is.",
        )
    app.items.demand_visible(caller, copy.item)
    return page(
        request,
        "reset.html",
        copy=copy,
        facts=facts,
        release=release,
        updated=updated,
        running=app.services.pool.find(copy.key) is not None,
        mine=copy.user == caller.username,
    )


async def look(
    copy: KnownCopy,
    request: Request,
    app: CurrentApp,
    caller: Caller,
    check: Label = "",
) -> Response:
    """Show a copy's text as last saved, also a broken one; for a check first what it is about."""
    saved = await app.copies.newest(copy)
    await app.audit.record_foreign(request, copy.user, "read", str(copy))
    about = None
    if check:
        about = await _checked_work(app, copy, await to_thread.run_sync(_text, saved), check)
    return await _shown(request, copy, saved, "", mine=copy.user == caller.username, about=about)


async def look_back(
    copy: KnownCopy, archive: str, request: Request, app: CurrentApp, caller: Caller
) -> Response:
    if archive.isascii() and archive.isdigit():
        timeline = await app.of(CopyTimelines).of(copy)
        version = timeline.find(int(archive) if len(archive) < 10 else 0)
        saved = await app.of(CopyTimelines).text(copy, version)
        what = f"{copy} version {version.number}"
        await app.audit.record_foreign(request, copy.user, "read", what)
        mine, present = copy.user == caller.username, version == timeline.present
        return await _shown(request, copy, saved, "", mine=mine, version=version, present=present)
    saved = await app.copies.archive(copy, archive)
    await app.audit.record_foreign(request, copy.user, "read", f"{copy.user}/{archive}")
    return await _shown(request, copy, saved, archive, mine=copy.user == caller.username)


async def validation(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Response:
    """Show the result of the last validation (B55)."""
    facts = await to_thread.run_sync(app.services.workspaces.facts, copy.user, copy.item)
    if facts is None:
        raise NotFound("Notebook not found", hint="Download it first.")
    mine = copy.user == caller.username
    await app.audit.record_foreign(request, copy.user, "read result", str(copy))
    result = app.results.of(copy.user, copy.item)
    stale = result is not None and facts.saved > result.at
    return page(
        request, "validation.html", copy=copy, facts=facts, result=result, stale=stale, mine=mine
    )


async def extract_of(request: Request, data: bytes, first: int) -> Extract:
    """Return a page's lines, by a thread: tenths of a second, 200 MB for the largest file."""
    who = identity_of(request)
    whose = who.username if who is not None and len(data) > _LARGE else ""
    async with part(request, IsolatedCall).turn_of(whose):
        return await to_thread.run_sync(lambda: extract(data.decode("utf-8", "replace"), first))


def extract(text: str, first: int) -> Extract:
    """Return as many lines from ``first`` on as fit on one page.

    They are counted, and not split: 16 MB of them would take 0.4 s.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    total = text.count("\n") + (text[-1:] not in ("", "\n"))
    start = min(max(first, 1), max(total, 1))
    shown: list[str] = []
    at, room = _beginning(text, start), _CHARACTERS
    while at < len(text) and len(shown) < _LINES:
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[at:end] if end - at <= _LONGEST_LINE else f"{text[at : at + _LONGEST_LINE]} …"
        room -= len(line) + 1
        if room < 0 and shown:
            break
        shown.append(line)
        at = end + 1
    last = start + len(shown) - 1
    following = last + 1 if last < total else 0
    before = max(1, start - _LINES) if start > 1 else 0
    header = _header(shown) if start == 1 else 0
    return Extract(
        "\n".join(shown[:header]),
        "\n".join(shown[header:]),
        start,
        last,
        total,
        before,
        following,
    )


def _beginning(text: str, line: int) -> int:
    at, ends = 0, line - 1
    while (found := text.count("\n", at, at + _PIECE)) < ends:
        at, ends = at + _PIECE, ends - found
    for _ in range(ends):
        at = text.find("\n", at) + 1
    return at


def _header(lines: Sequence[str]) -> int:
    comments = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    if not comments or comments[0] != "# /// script" or "# ///" not in comments:
        return 0
    return comments.index("# ///") + 1


async def _shown(
    request: Request,
    copy: CopyOf,
    saved: Saved,
    archive: str,
    *,
    mine: bool,
    version: Version | None = None,
    present: bool = False,
    about: CheckedWork | None = None,
) -> Response:
    asked = request.query_params.get("from", "1")
    first = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 1
    response = page(
        request,
        "look.html",
        copy=copy,
        archive=archive,
        version=version,
        present=present,
        modified=saved.modified,
        extract=await extract_of(request, saved.data, first),
        about=about,
        mine=mine,
    )
    if about is not None and about.running:
        own = content_security_policy(request_context(request))
        response.headers["Content-Security-Policy"] = f"{own}; frame-src 'self'"
    return response


async def _checked_work(app: HubApp, copy: CopyOf, text: str, check: str) -> CheckedWork:
    sources, _ = await to_thread.run_sync(sources_or_none, app.marking.source(copy.item))
    asked = WorkToShow(text, copy.notebook, sources)
    work = await app.marking.works.show(asked, copy.user)
    cells = tuple(each for each in work.of(key_of(check)) if each.own)
    found = CheckedWork(check, cells, app.services.pool.find(copy.key) is not None)
    result = app.results.of(copy.user, copy.item)
    for each in () if result is None else result.answer.checks:
        if result is not None and each.label == check:
            return replace(found, said=each.details, at=result.at)
    return found


async def outputs(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller, check: Label
) -> Response:
    """Return a check's cells with their outputs in the editor, for an opaque frame of ours."""
    live = app.services.pool.find(copy.key)
    if live is None:
        raise NotFound("The notebook is not open, so there are no outputs.")
    await app.audit.record_foreign(request, copy.user, "read", str(copy))
    apart, via = app.of(IsolatedCall), app.services.connections
    async with apart.turn_of(caller.username):  # notebook and outputs may have 16 MB each
        saved = await app.copies.export(copy)
        text = await to_thread.run_sync(_text, saved)
        work = await _checked_work(app, copy, text, check)
        exported = await exported_page(live.endpoint, live.base_url, via)
        indexes, size = frozenset(each.index for each in work.cells), len(text) + len(exported)
        render = partial(render_editor_outputs, text, copy.notebook, exported, indexes, check)
        page = await apart.call(render, size=size)
    return inert_page(page.encode("utf-8", "replace"), framed=True)


def open_copy_pages(hub: HubApp) -> None:
    hub.add(IsolatedCall())


def _text(saved: Saved) -> str:
    return saved.data.decode("utf-8", "replace")


ROUTES = (
    Route("GET", "/reset/{user}/{a}", reset_page, OWNER),
    Route("GET", "/look/{user}/{a}", look, VISITOR),
    Route("GET", "/look/{user}/{a}/{archive}", look_back, HISTORY),
    Route("GET", "/look/{user}/{a}/-/outputs", outputs, VISITOR),
    Route("GET", "/validation/{user}/{a}", validation, OWNER),
)

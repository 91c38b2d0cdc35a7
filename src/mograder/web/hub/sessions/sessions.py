"""Sessions: listing, starting and stopping them (B114-B116, B124, B126).

Concurrent requests for a session share one start; the pool decides whether a session is reused or
made, these handlers decide for whom, and build the error messages. The pages that start one
redirect to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from anyio import to_thread
from fastapi import Request
from pydantic import (
    Field,
)
from starlette.responses import Response

from mograder.auth.identity import Identity
from mograder.auth.roles import Role
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username, is_rehearsal
from mograder.notebook.pep723 import Script
from mograder.sandbox.execution.item_limits import limited, limits_of
from mograder.sandbox.protocol import Limits, Mode
from mograder.sessions.end_reasons import Ending, EndReason, Explanation, describe
from mograder.sessions.launch_spec import script_of
from mograder.sessions.session import CopyOf, LiveSession, SessionKey
from mograder.store.releases.releases import ItemKind, Release
from mograder.web.background import Report
from mograder.web.hub.copies.copy_update import settle
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import (
    copy_in,
    known_copy,
    mode_of,
    person,
)
from mograder.web.hub.core.responses import ABSENT_SECONDS, Body, Done, back_from, deliver
from mograder.web.pages import page
from mograder.web.route import INSTRUCTOR, MEMBER, OWNER, Route
from mograder.web.sheets import sheet_of


class SessionEntry(Body):
    """A running session; ``url`` has no leading slash, ``port`` is always 0."""

    username: str
    assignment: str
    port: int = 0
    url: str
    type: ItemKind
    mode: Mode
    last_seen: float


class Started(Done):
    """A session runs and answers below ``url`` (no leading slash, percent-encoded names)."""

    url: str
    port: int = 0
    note: Annotated[str | None, Field(exclude_if=lambda note: note is None)] = None
    """A sentence that the student should read before the notebook opens."""


class Stopped(Done):
    """The session has ended; ``terminated`` is whether there was one."""

    terminated: bool


async def list_sessions(app: CurrentApp, caller: Caller) -> list[SessionEntry]:
    """List running sessions: the caller's own; for instructors, all."""
    releases = await to_thread.run_sync(app.services.releases.all)
    kinds = {str(release.name): release.kind for release in releases}
    return [_entry(session, kinds) for session in visible_sessions(app, caller)]


async def start_edit_deep(
    a: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, Started]:
    """Copy the release if there is no copy yet, and start or find the caller's editor."""

    async def job(report: Report) -> Started:
        report("Getting your copy ready")
        release, note = await to_thread.run_sync(app.items.take_copy, caller, a)
        copy = CopyOf(person(caller), release.name)
        await settle(app, request, caller, copy, report)
        return await _start(app, copy.key, report, note)

    return await deliver(request, job, page_of, absent=ABSENT_SECONDS)


async def start_edit(
    user: str, a: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, Started]:
    """Start or find the editor of an existing copy; an instructor may for a student."""

    async def job(report: Report) -> Started:
        key = await to_thread.run_sync(_existing_copy, app, user, a)
        await app.audit.record_foreign(request, key.user, "start session", _what(key))
        copy = CopyOf(Username(key.user), ItemName(key.item))
        await settle(app, request, caller, copy, report)
        return await _start(app, key, report)

    return await deliver(request, job, page_of)


async def start_run(
    lecture: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, Started]:
    """Start or find the caller's own session of a lecture."""

    async def job(report: Report) -> Started:
        report("Opening the lecture")
        release = await to_thread.run_sync(_lecture, app, caller, lecture)
        return await _start(app, SessionKey(person(caller), release.name, Mode.RUN), report)

    return await deliver(request, job, page_of, absent=ABSENT_SECONDS)


async def stop_edit(
    user: str, a: str, request: Request, app: CurrentApp, mode: Mode = Mode.EDIT
) -> Annotated[Response, Stopped]:
    """End a session; with ``mode=run`` a lecture's."""
    copy = copy_in(user, a)
    key = SessionKey(copy.user, copy.item, mode)

    async def job(report: Report) -> Stopped:
        report("Stopping")
        await app.audit.record_foreign(request, key.user, "stop session", _what(key))
        return Stopped(terminated=await app.services.pool.stop(key))

    return await deliver(request, job, back_from(request, copy, "stopped"))


def visible_sessions(app: HubApp, identity: Identity) -> list[LiveSession]:
    """Return the sessions that a person may see, sorted by user and item; none of rehearsals."""
    everything = identity.role is Role.INSTRUCTOR
    sessions = [
        session
        for session in app.services.pool.all()
        if session.key.user == identity.username
        or (everything and not is_rehearsal(session.key.user))
    ]
    return sorted(sessions, key=lambda session: (session.key.user, session.key.item))


async def _start(app: HubApp, key: SessionKey, report: Report, note: str | None = None) -> Started:
    if note is not None:
        report(note)
    session = await app.services.pool.get_or_start(key, report)
    return Started(url=session.key.url, note=note)


def page_of(started: Started) -> str:
    """Return the address of a started session, below the prefix."""
    return f"/{started.url}"


def _existing_copy(app: HubApp, user: str, name: str) -> SessionKey:
    copy = known_copy(user, name)
    if not app.services.workspaces.has_copy(copy.user, copy.item):
        raise NotFound("Notebook not found")
    return copy.key


def _lecture(app: HubApp, identity: Identity, name: str) -> Release:
    release = app.items.find(name)
    if release is None or mode_of(release.kind) is not Mode.RUN:
        raise InvalidInput("Not a lecture")
    app.items.demand_visible(identity, release.name)
    return release


def _what(key: SessionKey) -> str:
    return f"{key.user}/{key.item} ({key.mode})"


def _entry(session: LiveSession, kinds: Mapping[str, ItemKind]) -> SessionEntry:
    guess = ItemKind.ASSIGNMENT if session.key.mode is Mode.EDIT else ItemKind.LECTURE
    return SessionEntry(
        username=session.key.user,
        assignment=session.key.item,
        url=session.key.url,
        type=kinds.get(session.key.item, guess),
        mode=session.key.mode,
        last_seen=session.last_seen.timestamp(),
    )


_WANTED = frozenset({EndReason.STOPPED, EndReason.REPLACED, EndReason.REWRITTEN})
UNKNOWN = Explanation("This session has ended.", "Open it again to go on.")


def news_of(app: HubApp, ending: Ending | None) -> Explanation | None:
    """Return the explanation of an ending that the student did not cause; None for the others.

    It may read the release, so it blocks.
    """
    if ending is None or ending.reason in _WANTED:
        return None
    return explain(app, ending)


def explain(app: HubApp, ending: Ending) -> Explanation:
    """Return what happened and what to do; blocks.

    Where an earlier hub started the session, the limits are those that a new one would have.
    """
    return describe(ending, ending.limits or _limits_now(app, ItemName(ending.key.item)))


def _limits_now(app: HubApp, item: ItemName) -> Limits:
    settings = app.services.loaded.settings
    try:
        script = script_of(app.services.releases.get(item))
    except (InvalidInput, OSError, UnicodeDecodeError):
        script = Script()
    return limited(limits_of(settings.limits), script, settings.items.get(item))


def edit_spinner(a: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the page that starts an editor and then redirects to it (B66, B68)."""
    return _spinner(request, app, caller, a, Mode.EDIT)


def run_spinner(lecture: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the page that starts a lecture and then redirects to it (B67, B68)."""
    return _spinner(request, app, caller, lecture, Mode.RUN)


def _spinner(request: Request, app: HubApp, caller: Identity, name: str, mode: Mode) -> Response:
    """Show the same page for known and unknown names; the start itself reports an unknown one."""
    what = "editor" if mode is Mode.EDIT else "lecture"
    try:
        item = ItemName.parse(name)
    except InvalidInput as error:
        raise NotFound(f"There is no {what} of this name.", hint="Check the link.") from error
    user, services = person(caller), app.services
    before = services.pool.history.of_key(SessionKey(user, item, mode))
    copy = None
    if before is not None and mode is Mode.EDIT:
        copy = app.services.workspaces.facts(user, item)
    return page(
        request,
        "starting.html",
        name=item,
        start="start-edit-deep" if mode is Mode.EDIT else "start-run",
        what=what,
        before=news_of(app, before),
        saved=copy.saved if copy else None,
    )


async def sessions_page(request: Request, app: CurrentApp) -> Response:
    """Show the running sessions with their memory, and offer to stop them."""
    by_memory = request.query_params.get("order") == "memory"
    found = app.services.pool.all()
    shown = (each for each in found if not is_rehearsal(each.key.user))
    live = sorted(
        shown, key=lambda each: (-each.usage.memory * by_memory, each.key.user, each.key.item)
    )
    return page(
        request,
        "sessions.html",
        here="sessions",
        sheet=sheet_of(live, request),
        rehearsed=len(found) - len(live),
        by_memory=by_memory,
        states=app.services.pool.states(),
        now=app.services.clock.now(),
        limit=app.services.loaded.settings.limits.memory_mb,
    )


ROUTES = (
    Route("GET", "/edit/{a}", edit_spinner, MEMBER),
    Route("GET", "/edit/{a}/", edit_spinner, MEMBER),
    Route("GET", "/run/{lecture}", run_spinner, MEMBER),
    Route("GET", "/run/{lecture}/", run_spinner, MEMBER),
    Route("GET", "/course/sessions", sessions_page, INSTRUCTOR),
    Route("GET", "/sessions", list_sessions, MEMBER, "Sessions"),
    Route("POST", "/start-edit-deep/{a}", start_edit_deep, MEMBER, "Sessions"),
    Route("POST", "/start-edit/{user}/{a}", start_edit, OWNER, "Sessions"),
    Route("POST", "/start-run/{lecture}", start_run, MEMBER, "Sessions"),
    Route("POST", "/stop-edit/{user}/{a}", stop_edit, OWNER, "Sessions"),
)

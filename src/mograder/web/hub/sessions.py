"""Sessions: starting and stopping them, the list of them, and the state of an open notebook.

B114-B116, B124, B126. The state is for the bar above the notebook (``proxy/replies.py``), which
asks after a change event: memory and a few inodes are read, and perhaps the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, is_rehearsal
from mograder.hub.items import mode_of, person
from mograder.notebook.pep723 import Script
from mograder.sandbox.execution.item_limits import limits_for
from mograder.sandbox.protocol import Mode
from mograder.sessions.copy_updates import CopyUpdates
from mograder.sessions.end_reasons import (
    Ending,
    EndReason,
    Explanation,
    describe,
    describe_to_others,
)
from mograder.sessions.launch_spec import script_of
from mograder.sessions.session import CopyOf, LiveSession, SessionKey
from mograder.store.releases.releases import ItemKind
from mograder.web.background import Report
from mograder.web.hub.board.board import HelpAsked, help_of, shown_name
from mograder.web.hub.copies.copies import CellToPut, asked_of_page
from mograder.web.hub.copies.hand_in import hand_in_of
from mograder.web.hub.copies.updates import NotebookUpdate, in_bar, settle, standing_for
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy, copy_in
from mograder.web.hub.core.responses import ABSENT_SECONDS, Body, Done, back_from, deliver
from mograder.web.hub.machines import MachineWatch
from mograder.web.pages import page, sheet_of
from mograder.web.route import HELPED, INSTRUCTOR, MEMBER, OWNER, Route

_WANTED = frozenset({EndReason.STOPPED, EndReason.REPLACED, EndReason.REWRITTEN})
UNKNOWN = Explanation("This session has ended.", "Open it again to go on.")

_HELPED = Explanation(
    "You are not in this notebook any more.",
    "The request for help has ended. What was saved stays in the student's notebook.",
)


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
        release, found, note = await to_thread.run_sync(app.items.take_copy, caller, a)
        copy = CopyOf(person(caller), release.name)
        if found:  # nothing waits for a copy of the release as it is now
            await settle(app, request, caller, copy, report)
        else:
            await app.of(CopyUpdates).replaced(copy)
        return await _start(app, copy.key, report, note)

    return await deliver(request, job, page_of, absent=ABSENT_SECONDS, keeps_turn=False)


async def start_edit(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, Started]:
    """Start or find the editor of an existing copy; an instructor may for a student."""

    async def job(report: Report) -> Started:
        has_copy = app.services.workspaces.has_copy
        if not await to_thread.run_sync(has_copy, copy.user, copy.item):
            raise NotFound("Notebook not found")
        await app.audit.record_foreign(request, copy.user, "start session", _what(copy.key))
        await settle(app, request, caller, copy, report)
        return await _start(app, copy.key, report)

    return await deliver(request, job, page_of, keeps_turn=False)


async def start_run(
    lecture: str, request: Request, app: CurrentApp, caller: Caller
) -> Annotated[Response, Started]:
    """Start or find the caller's own session of a lecture."""

    async def job(report: Report) -> Started:
        report("Opening the lecture")
        release = await to_thread.run_sync(app.items.find, lecture)
        if release is None or mode_of(release.kind) is not Mode.RUN:
            raise InvalidInput("Not a lecture")
        await to_thread.run_sync(app.items.demand_visible, caller, release.name)
        return await _start(app, SessionKey(person(caller), release.name, Mode.RUN), report)

    return await deliver(request, job, page_of, absent=ABSENT_SECONDS, keeps_turn=False)


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
    return f"/{started.url}"


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


def news_of(app: HubApp, ending: Ending | None) -> Explanation | None:
    """Return the explanation of an ending that the student did not cause, else None; blocks."""
    if ending is None or ending.reason in _WANTED:
        return None
    return explain(app, ending)


def explain(app: HubApp, ending: Ending) -> Explanation:
    """Return what happened and what to do, by the limits of then, or else of now; blocks."""
    limits = ending.limits
    if limits is None:
        item, script = ItemName(ending.key.item), Script()
        with suppress(InvalidInput, OSError, UnicodeDecodeError):
            script = script_of(app.services.releases.get(item))
        limits = limits_for(app.services.loaded.settings, script, item)
    return describe(ending, limits)


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


class SessionMachine(Body):
    """Whether the machine of a session will be shut down, and in how many seconds, if known.

    ``elsewhere`` is whether another machine takes the notebook then.
    """

    leaving: bool
    seconds: int | None = None
    elsewhere: bool = False


class NotebookMessage(Body):
    """A message of an instructor; ``seconds`` are left, ``sent`` is a Unix time.

    ``alone`` is whether it is for this student, and not for all open notebooks of the item.
    """

    number: int
    text: str
    sender: str
    sent: float
    seconds: int
    alone: bool


class NotebookState(Body):
    """The state of an open page's session and notebook; the times are Unix times.

    ``state`` is "replaced" if another session of the same notebook runs now. ``title`` and ``text``
    say why a session has ended. ``saved`` and ``submitted`` are null before the first save or
    submission, ``due`` and ``closes`` where the item has no such date for this person.
    """

    state: Literal["running", "replaced", "ended"]
    title: str = ""
    text: str = ""
    saved: float | None = None
    submitted: float | None = None
    late: str = ""
    """How late the submission is, or one would be now, in words, with what it costs."""
    edited: bool = False
    """Whether the notebook is another one than its submission."""
    hand_in: bool = False
    """Whether handing in is what comes next."""
    due: float | None = None
    closes: float | None = None
    machine: Annotated[SessionMachine | None, Field(exclude_if=lambda machine: machine is None)] = (
        None
    )
    """The node that runs the session; left out for a session on the hub's own machine."""
    help: Annotated[HelpAsked | None, Field(exclude_if=lambda asked: asked is None)] = None
    """The owner's request for help; left out without one."""
    messages: list[NotebookMessage] = Field(
        default_factory=list, exclude_if=lambda messages: not messages
    )
    """Messages that are shown now; left out if there are none."""

    update: Annotated[NotebookUpdate | None, Field(exclude_if=lambda update: update is None)] = None
    """The author's update of the notebook; left out where there is nothing to say of one."""
    cell: Annotated[CellToPut | None, Field(exclude_if=lambda cell: cell is None)] = None
    """A cell that this page is to put back; left out without one."""


async def standing(
    copy: KnownCopy,
    app: CurrentApp,
    caller: Caller,
    mode: Mode = Mode.EDIT,
    session: str = "",
    together: bool = False,
) -> NotebookState:
    """Return whether a session runs or why it ended, and when the notebook was saved and submitted.

    ``session`` is the session that the page shows. If another session has taken its place, its
    state is "replaced". With ``together`` the page is a helper's, and ends with the help.
    """
    key = SessionKey(copy.user, copy.item, mode)
    if together and not app.desk.works_with(caller.username, copy.user, copy.item):
        return NotebookState(state="ended", title=_HELPED.title, text=_HELPED.text)
    live = app.services.pool.find(key)
    work: dict[str, Any] = {}
    update = None
    if mode is Mode.EDIT:
        work = await to_thread.run_sync(_work, app, caller, copy)
        update = in_bar(await standing_for(app, caller, copy))
    if live is not None:
        same = live.id == session
        return NotebookState(
            state="running" if same else "replaced",
            **work,
            machine=_machine(app, live.endpoint.node),
            update=update,
            help=help_of(app, copy) if mode is Mode.EDIT else None,
            messages=_messages(app, copy),
            cell=asked_of_page(app, caller, live) if same else None,
        )
    words = await to_thread.run_sync(partial(_words, app, caller, key, session, helps=together))
    return NotebookState(state="ended", title=words.title, text=words.text, **work)


def _messages(app: HubApp, copy: CopyOf) -> list[NotebookMessage]:
    now = app.services.clock.now()
    return [
        NotebookMessage(
            number=each.number,
            text=each.text,
            sender=shown_name(each.sender),
            sent=each.sent_at.timestamp(),
            seconds=max(1, int((each.until - now).total_seconds())),
            alone=bool(each.username),
        )
        for each in app.desk.messages(copy.item, copy.user)
    ]


def _words(
    app: HubApp, caller: Caller, key: SessionKey, session: str, *, helps: bool
) -> Explanation:
    ending = app.services.pool.history.of_session(session)
    mine = caller.username == key.user
    if ending is None or ending.key != key:
        return UNKNOWN if mine else Explanation(UNKNOWN.title, "What was saved stays.")
    if not mine:
        return describe_to_others(ending, helps=helps)
    return explain(app, ending)


def _machine(app: HubApp, node: str) -> SessionMachine | None:
    machines = app.find(MachineWatch)
    if machines is None or not node:
        return None
    leaving = machines.leaving(node)
    if leaving is None:
        return SessionMachine(leaving=False)
    seconds = leaving.seconds(app.services.clock.now())
    return SessionMachine(leaving=True, seconds=seconds, elsewhere=leaving.elsewhere)


def _work(app: HubApp, caller: Caller, copy: CopyOf) -> dict[str, Any]:
    """Return the fields about a copy, its dates and submission; none without a copy."""
    facts = app.services.workspaces.facts(copy.user, copy.item)
    if facts is None:
        return {}
    knows = app.items.may_know(caller, copy)
    found = hand_in_of(app, copy.user, copy.item, facts, knows=knows)
    sent, own = found.submission, found.own
    return {
        "saved": facts.saved.timestamp(),
        "submitted": sent.received.timestamp() if sent else None,
        "late": f"{found.lateness}, {found.cost}" if found.cost else found.lateness,
        "edited": found.edited,
        "hand_in": found.is_next(facts, app.services.clock.now()),
        "due": own.due.timestamp() if own.due else None,
        "closes": own.closes.timestamp() if own.closes else None,
    }


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
    Route("GET", "/standing/{user}/{a}", standing, HELPED, "Sessions"),
)

"""The instructors' pages: items, sessions, people, recent problems, and the audit log.

All are read from memory, from database rows or from the last count (``copy_counts``), a page at a
time, so that they stay fast with five hundred students. Their changes go through the
same handlers as the API's (``course``, ``admin``, ``sessions``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.files.disk import Space
from mograder.core.item_dates import OwnDates
from mograder.core.name_lookup import misnamed
from mograder.core.names import INSTRUCTOR, Username, is_rehearsal
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.launch_spec import script_of
from mograder.sessions.session import LiveSession
from mograder.store.copies.copy_facts import CopyFacts
from mograder.store.hub.hub_state import AuditRow, EndingRow
from mograder.store.hub.letters import LetterRow
from mograder.store.releases.releases import Release
from mograder.store.releases.visibility import Visibility
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.copy_counts import Count
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, PlatformFacts
from mograder.web.hub.mail.post import Post
from mograder.web.hub.service.client import lines_if_any
from mograder.web.pages import outcome, page
from mograder.web.sheets import number_in, sheet_of

if TYPE_CHECKING:  # imported by hubs with platforms only
    from mograder.exchange.lti.roster import CourseMembers

_PAGE = 50


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


@dataclass(frozen=True, slots=True)
class PersonLine:
    """One person; ``saved`` is the copy saved last, ``checked`` the time of the last validation."""

    name: str
    here: bool
    sessions: int
    copies: int
    saved: CopyFacts | None
    checked: datetime | None


async def items(request: Request, app: CurrentApp, caller: Caller) -> Response:
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


async def sessions(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the running sessions with their memory, and offer to stop them."""
    by_memory = request.query_params.get("order") == "memory"
    found = app.services.pool.all()
    shown = (each for each in found if not is_rehearsal(each.key.user))
    live = sorted(shown, key=_by_memory if by_memory else _by_name)
    done, item = outcome(request)
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
        done=done,
        done_item=item,
    )


async def students(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the people of the course, those present first."""
    wanted = request.query_params.get("q", "").strip()[:100]
    count = await app.copy_counts.look()
    listed = await to_thread.run_sync(app.services.roster.listed)
    everybody = (live.key.user for live in app.services.pool.all())
    running = [user for user in everybody if not is_rehearsal(user)]
    courses = await to_thread.run_sync(_platform_courses, app)
    called = {
        each.users[member.subject]: member.display_name
        for each in courses
        for member in each.members
        if member.subject in each.users
    }
    names = {*map(str, count.copies), *(listed or ()), *running, *called} - {INSTRUCTOR}
    found = sorted(name for name in names if wanted.casefold() in name.casefold())
    here = app.notifier.present() | set(running)
    sheet = sheet_of(sorted(found, key=lambda name: (name not in here, name)), request)
    return page(
        request,
        "students.html",
        here="students",
        sheet=sheet,
        people=[
            _person_line(name, count, running.count(name), name in here) for name in sheet.lines
        ],
        present=len(here & names),
        count=count,
        wanted=wanted,
        called=called,
        courses=courses,
        install=await lines_if_any(request, app),
    )


async def people(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the list of enrolled users, for editing."""
    roster = app.services.roster
    listed = await to_thread.run_sync(roster.listed)
    done, item = outcome(request)
    return page(
        request,
        "people.html",
        here="people",
        listed=listed,
        stamp=str(await to_thread.run_sync(roster.stamp)),
        by_platform=roster.more is not None and roster.more.decides(),
        instructors=sorted(app.services.policy.instructors),
        external=_signs_in_elsewhere(app),
        done=done,
        done_item=item,
    )


async def problems(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show recent problems."""
    problems = await to_thread.run_sync(gather, app)
    failed = await to_thread.run_sync(failed_items, app)
    return page(request, "problems.html", here="problems", problems=problems, failed=failed)


def failed_items(app: HubApp) -> list[ItemLine]:
    """Return the items whose environments could not be prepared; blocks."""
    return [line for line in _item_lines(app, Count()) if line.environment == "failed"]


async def log(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show the audit log, the newest entries first, a page at a time."""
    before = number_in(request, "before") or None
    read = app.services.state.recent_audit
    rows = await to_thread.run_sync(lambda: read(_PAGE + 1, before=before))
    older = rows[_PAGE - 1].number if len(rows) > _PAGE else 0
    return page(
        request, "log.html", here="log", rows=rows[:_PAGE], older=older, newest=before is None
    )


def _signs_in_elsewhere(app: HubApp) -> bool:
    """Return whether people of other systems can sign in."""
    return bool(app.services.loaded.settings.oidc.issuer) or app.find(PlatformFacts) is not None


def _platform_courses(app: HubApp) -> Sequence[CourseMembers]:
    """Return the courses of learning platforms whose members are known, none without a platform."""
    platforms = app.find(PlatformFacts)
    return () if platforms is None else platforms.courses()


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


def _person_line(name: str, count: Count, sessions: int, here: bool) -> PersonLine:
    copies = count.copies.get(Username(name), ())
    checked = [each.validated for each in copies if each.validated is not None]
    return PersonLine(
        name=name,
        here=here,
        sessions=sessions,
        copies=len(copies),
        saved=max(copies, key=lambda each: each.saved, default=None),
        checked=max(checked, default=None),
    )


def _by_name(live: LiveSession) -> tuple[int, str, str]:
    return (0, live.key.user, live.key.item)


def _by_memory(live: LiveSession) -> tuple[int, str, str]:
    return (-live.usage.memory, live.key.user, live.key.item)


_LATELY = timedelta(hours=24)
_MOST = 60
_AUDIT_LINES = 400
_NO_TROUBLE = frozenset(
    {
        *(EndReason.STOPPED, EndReason.IDLE, EndReason.REMOVED),
        *(EndReason.REPLACED, EndReason.REWRITTEN),
    }
)


class CurrentProblem(StrEnum):
    """A problem that lasts until it is repaired."""

    UNSANDBOXED = "unsandboxed"
    DEV = "dev"
    RULES = "rules"
    """The file of visibility rules cannot be read, so everything is hidden."""

    DISK = "disk"


@dataclass(frozen=True, slots=True)
class RecentProblems:
    """``current`` problems, and those of the last day, the newest first; ``free`` is in bytes.

    ``mail`` is why the mail server sends nothing, else ""; ``letters`` were not sent. ``misnamed``
    are the tables of items in the settings that no item has for its name, with the item meant.
    """

    current: tuple[CurrentProblem, ...]
    endings: tuple[EndingRow, ...]
    refusals: tuple[AuditRow, ...]
    free: int
    mail: str = ""
    letters: tuple[LetterRow, ...] = ()
    misnamed: tuple[tuple[str, str], ...] = ()

    @property
    def now(self) -> int:
        """The number of those that last until they are repaired."""
        return len(self.current) + len(self.misnamed)


def gather(app: HubApp) -> RecentProblems:
    """Return the machine's state, sessions that ended badly and refused actions; reads the disk."""
    services = app.services
    since = services.clock.now() - _LATELY
    endings = [row for row in services.state.endings(since) if row.reason not in _NO_TROUBLE]
    lines = services.state.recent_audit(_AUDIT_LINES)
    refusals = [row for row in lines if row.outcome == "refused" and row.at >= since]
    space, post = services.workspaces.space(), app.find(Post)
    return RecentProblems(
        current=tuple(_current(app, space)),
        endings=tuple(reversed(endings))[:_MOST],
        refusals=tuple(refusals)[:_MOST],
        free=space.free,
        mail=post.problem if post else "",
        letters=post.failures(since) if post else (),
        misnamed=misnamed(
            services.loaded.settings.items, [each.name for each in services.releases.all()]
        ),
    )


def _current(app: HubApp, space: Space) -> list[CurrentProblem]:
    services, found = app.services, []
    if not services.sandboxed:
        found.append(CurrentProblem.UNSANDBOXED)
    if services.dev:
        found.append(CurrentProblem.DEV)
    try:
        app.visibility.all()
    except Conflict:
        found.append(CurrentProblem.RULES)
    if space.free < 2 * services.loaded.settings.limits.disk_reserve.of(space.total):
        found.append(CurrentProblem.DISK)
    return found

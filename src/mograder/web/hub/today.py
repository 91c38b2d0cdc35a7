"""Today's work, the problems of the last day, and the audit log, for instructors.

Each line of the page of today leads to where it is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from anyio import to_thread
from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from mograder.core.errors import Conflict, InvalidInput, MograderError
from mograder.core.files.disk import Space
from mograder.core.item_dates import OwnDates
from mograder.core.name_lookup import misnamed
from mograder.core.names import ItemName
from mograder.core.tasks import to_its_end
from mograder.exchange.mailing import Post
from mograder.grading.marking.answer_names import question_title
from mograder.hub.counts import Numbers
from mograder.sandbox.protocol import Mode
from mograder.sessions.end_reasons import EndReason
from mograder.store.hub.hub_state import AuditRow, EndingRow
from mograder.store.hub.letters import LetterRow
from mograder.store.marking.regrade_requests import RegradeRequest, RegradeRequests
from mograder.web.hub.board.board_tables import BoardTables
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.responses import Body, UnixTime
from mograder.web.hub.items.grading import ungraded
from mograder.web.hub.items.item_pages import ItemLine, failed_items
from mograder.web.pages import number_in, page
from mograder.web.route import Access, Route

_SOON = timedelta(days=7)
_LATELY = timedelta(days=1)
_STUCK = timedelta(minutes=10)
_PAGE = 50
_MOST, _MOST_LETTERS = 60, 50
_AUDIT_LINES = 400
_NO_TROUBLE = frozenset(
    {
        *(EndReason.STOPPED, EndReason.IDLE, EndReason.REMOVED),
        *(EndReason.REPLACED, EndReason.REWRITTEN),
    }
)


@dataclass(frozen=True, slots=True)
class DueLine:
    """An item that is due or closes soon, and how many have handed it in."""

    item: str
    dates: OwnDates
    handed_in: int


@dataclass(frozen=True, slots=True)
class CountLine:
    """Something about an item in numbers; ``since`` is the oldest or the newest time of it."""

    item: str
    count: int
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Today:
    """The items that are due, the submissions that came, and what waits for a mark.

    Of ``to_grade`` are submissions without a result, of ``to_mark`` answers without a mark; they
    and ``requests`` are empty if the gradebook cannot be read, and ``trouble`` says why.
    """

    due: tuple[DueLine, ...]
    came: tuple[CountLine, ...]
    to_grade: tuple[CountLine, ...]
    to_mark: tuple[CountLine, ...]
    requests: tuple[RegradeRequest, ...]
    problems: RecentProblems
    failed: Sequence[ItemLine]
    trouble: str = ""


async def today_page(request: Request, app: CurrentApp) -> Response:
    found = await to_thread.run_sync(read_today, app)
    return page(
        request,
        "today.html",
        here="today",
        found=found,
        asking=[each for each in app.desk.requests() if not each.helper],
        stuck=await _stuck(app),
        collects=app.services.loaded.settings.hub.collect,
        now=app.services.clock.now(),
        title_of=question_title,
    )


def _count_numbers(app: HubApp) -> Numbers:
    """Return the numbers in the navigation; blocks."""
    problems = gather(app)
    wrong = problems.count + len(failed_items(app))
    if problems.gradebook:
        return Numbers(problems=wrong)
    requests = len(_open_requests(app))
    return Numbers(sum(each.count for each in _to_mark(app)), requests, wrong)


def open_numbers(hub: HubApp) -> None:
    hub.numbers.count = partial(to_its_end, _count_numbers, hub)


_Marking = tuple[tuple[CountLine, ...], tuple[CountLine, ...], tuple[RegradeRequest, ...]]
"""Submissions to grade, answers to mark, and requests to answer."""


def read_today(app: HubApp) -> Today:
    """Return what there is to do; blocks."""
    now = app.services.clock.now()
    app.checks.look()
    due, came, trouble = [], [], ""
    marking: _Marking = (), (), ()
    names = app.services.releases.assignments()
    arrivals = {name: app.submissions.arrivals(name) for name in names}
    for name in names:
        dates, arrived = app.dates.usual(name), arrivals[name].values()
        if any(at is not None and now <= at <= now + _SOON for at in (dates.due, dates.closes)):
            due.append(DueLine(name, dates, len(arrived)))
        new = [at for at in arrived if at >= now - _LATELY]
        if new:
            came.append(CountLine(name, len(new), max(new)))
    due.sort(key=lambda each: each.dates.due or each.dates.closes or now)
    try:
        marking = _to_grade(app, arrivals), _to_mark(app), _open_requests(app)
    except MograderError as error:
        trouble = str(error)
    return Today(tuple(due), tuple(came), *marking, gather(app), failed_items(app), trouble)


def _to_grade(
    app: HubApp, arrivals: Mapping[ItemName, Mapping[str, datetime]]
) -> tuple[CountLine, ...]:
    """Return the submissions without a result, by assignment; ``arrivals`` are all of each."""
    found = (CountLine(name, len(ungraded(app, name, each))) for name, each in arrivals.items())
    return tuple(each for each in found if each.count)


def _to_mark(app: HubApp) -> tuple[CountLine, ...]:
    book = app.book()
    if book is None:
        return ()
    names = (each.name for each in book.assignments() if ItemName.valid(each.name))
    found = (CountLine(name, app.marking.progress.of(book, name).waiting) for name in names)
    return tuple(each for each in found if each.count)


def _open_requests(app: HubApp) -> tuple[RegradeRequest, ...]:
    book = app.book()
    return tuple(each for each in RegradeRequests(book).of() if each.waits) if book else ()


async def _stuck(app: HubApp) -> list[CountLine]:
    """Return the students at work without progress for some time, by item."""
    keys = (live.key for live in app.services.pool.all())
    found, before = [], app.services.clock.now() - _STUCK
    for item in sorted({key.item for key in keys if key.mode is Mode.EDIT}):
        lines = await app.of(BoardTables).lines(item)
        times = [line.since for line in lines if line.stuck and line.since]
        long = [at for at in times if at < before]
        if long:
            found.append(CountLine(item, len(long), min(long)))
    return found


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
    ``gradebook`` is why the gradebook cannot be opened, else "".
    """

    current: tuple[CurrentProblem, ...]
    endings: tuple[EndingRow, ...]
    refusals: tuple[AuditRow, ...]
    free: int
    mail: str = ""
    letters: tuple[LetterRow, ...] = ()
    misnamed: tuple[tuple[str, str], ...] = ()
    gradebook: str = ""

    @property
    def now(self) -> int:
        """The number of those that last until they are repaired."""
        return len(self.current) + len(self.misnamed) + bool(self.gradebook)

    @property
    def unsent(self) -> int:
        """The number of letters that were not sent, with one more for a server that takes none."""
        return len(self.letters) + bool(self.mail)

    @property
    def count(self) -> int:
        """The number of all but refused actions, for the navigation and *Today*."""
        return self.now + len(self.endings) + self.unsent


def problems(request: Request, app: CurrentApp) -> Response:
    """Show recent problems."""
    return page(
        request, "problems.html", here="problems", problems=gather(app), failed=failed_items(app)
    )


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
        letters=post.letters.failed(since, _MOST_LETTERS) if post else (),
        misnamed=misnamed(
            services.loaded.settings.items, [each.name for each in services.releases.all()]
        ),
        gradebook=_gradebook_failure(app),
    )


def _gradebook_failure(app: HubApp) -> str:
    """Return why the gradebook cannot be opened, "" if it can or does not exist."""
    try:
        app.book()
    except MograderError as error:
        return str(error)
    return ""


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


class AuditEntry(Body):
    """One line of the audit log; ``at`` is Unix time, ``where`` the client's address."""

    number: int
    at: UnixTime
    who: str
    action: str
    what: str
    where: str = Field(validation_alias="origin")
    outcome: str


def log(request: Request, app: CurrentApp) -> Response:
    """Show the audit log, the newest entries first, a page at a time."""
    before = number_in(request, "before") or None
    rows = app.services.state.recent_audit(_PAGE + 1, before=before)
    older = rows[_PAGE - 1].number if len(rows) > _PAGE else 0
    return page(
        request, "log.html", here="log", rows=rows[:_PAGE], older=older, newest=before is None
    )


def audit_log(app: CurrentApp, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
    """Return the entries of the audit log, the newest first; ``before`` is an entry's number."""
    if not 1 <= limit <= 1000 or (before is not None and not 1 <= before < 2**31):
        raise InvalidInput("Ask for 1 to 1000 lines, before the number of one.")
    rows = app.services.state.recent_audit(limit, before=before)
    return [AuditEntry.model_validate(row, from_attributes=True) for row in rows]


ROUTES = (
    Route("GET", "/course/today", today_page, Access.INSTRUCTOR),
    Route("GET", "/course/problems", problems, Access.INSTRUCTOR),
    Route("GET", "/course/log", log, Access.INSTRUCTOR),
    Route("GET", "/audit", audit_log, Access.INSTRUCTOR, "Course"),
)
"""The routes of these pages."""

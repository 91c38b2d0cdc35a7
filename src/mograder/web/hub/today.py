"""The page of today, for instructors: what is due, came, waits or is wrong.

Each line leads to where it is done. The numbers in the navigation are counted here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import MograderError
from mograder.core.item_dates import OwnDates
from mograder.core.names import ItemName
from mograder.core.tasks import to_its_end
from mograder.grading.marking.answer_names import question_title
from mograder.hub.counts import Numbers
from mograder.sandbox.protocol import Mode
from mograder.store.marking.regrade_requests import RegradeRequest, RegradeRequests
from mograder.web.hub.board.board_tables import BoardTables
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.items.grading import ungraded
from mograder.web.hub.items.item_pages import ItemLine, failed_items
from mograder.web.hub.problems import RecentProblems, gather
from mograder.web.pages import page
from mograder.web.route import Access, Route

_SOON = timedelta(days=7)
_LATELY = timedelta(days=1)
_STUCK = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class DueLine:
    """An item that is due or closes soon, and how many have handed it in, None if unreadable."""

    item: str
    dates: OwnDates
    handed_in: int | None


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
    now = app.services.clock.now()
    app.checks.look()
    due, came, trouble = [], [], ""
    marking: _Marking = (), (), ()
    names, problems = app.services.releases.assignments(), gather(app)
    unread = {name for name, _ in problems.submissions}
    arrivals = {name: app.submissions.arrivals(name) for name in names if name not in unread}
    for name in names:
        dates, arrived = app.dates.usual(name), arrivals.get(name, {}).values()
        if any(at is not None and now <= at <= now + _SOON for at in (dates.due, dates.closes)):
            due.append(DueLine(name, dates, None if name in unread else len(arrived)))
        new = [at for at in arrived if at >= now - _LATELY]
        if new:
            came.append(CountLine(name, len(new), max(new)))
    due.sort(key=lambda each: each.dates.due or each.dates.closes or now)
    try:
        marking = _to_grade(app, arrivals), _to_mark(app), _open_requests(app)
    except MograderError as error:
        trouble = str(error)
    return Today(tuple(due), tuple(came), *marking, problems, failed_items(app), trouble)


def _to_grade(
    app: HubApp, arrivals: Mapping[ItemName, Mapping[str, datetime]]
) -> tuple[CountLine, ...]:
    found = (CountLine(name, len(ungraded(app, name, each))) for name, each in arrivals.items())
    return tuple(each for each in found if each.count)


def _to_mark(app: HubApp) -> tuple[CountLine, ...]:
    book = app.book()
    if book is None:
        return ()
    names = (each.name for each in book.assignments() if ItemName.valid(each.name))
    found = (CountLine(name, app.marking.progress.waiting(book, name)) for name in names)
    return tuple(each for each in found if each.count)


def _open_requests(app: HubApp) -> tuple[RegradeRequest, ...]:
    book = app.book()
    return tuple(each for each in RegradeRequests(book).of() if each.waits) if book else ()


async def _stuck(app: HubApp) -> list[CountLine]:
    keys = (live.key for live in app.services.pool.all())
    found, before = [], app.services.clock.now() - _STUCK
    for item in sorted({key.item for key in keys if key.mode is Mode.EDIT}):
        lines = await app.of(BoardTables).lines(item)
        times = [line.since for line in lines if line.stuck and line.since]
        long = [at for at in times if at < before]
        if long:
            found.append(CountLine(item, len(long), min(long)))
    return found


ROUTES = (Route("GET", "/course/today", today_page, Access.INSTRUCTOR),)

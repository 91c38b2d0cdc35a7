"""The page of today, for instructors, and the numbers in the navigation."""

from __future__ import annotations

from collections.abc import Sequence
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
from mograder.hub.counts import Numbers
from mograder.sandbox.protocol import Mode
from mograder.store.marking.regrade_requests import RegradeRequest, RegradeRequests
from mograder.web.hub.board.board_tables import BoardTables
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.items.grading import ungraded
from mograder.web.hub.items.item_pages import ItemLine, failed_items
from mograder.web.hub.problems import RecentProblems, gather
from mograder.web.marking.context import question_title
from mograder.web.pages import page
from mograder.web.route import Access, Route

_SOON = timedelta(days=7)
_LATELY = timedelta(days=1)
_STUCK = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class DueLine:
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
    """What waits; some of it is empty if the gradebook cannot be read, as ``trouble`` says."""

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
    keys = (live.key for live in app.services.pool.all())
    stuck, before = [], app.services.clock.now() - _STUCK
    for item in sorted({key.item for key in keys if key.mode is Mode.EDIT}):
        lines = await app.of(BoardTables).lines(item)
        times = [each.since for each in lines if each.stuck and each.since and each.since < before]
        if times:
            stuck.append(CountLine(item, len(times), min(times)))
    return page(
        request,
        "today.html",
        here="today",
        found=found,
        asking=[each for each in app.desk.requests() if not each.helper],
        stuck=stuck,
        collects=app.services.loaded.settings.hub.collect,
        now=app.services.clock.now(),
        title_of=question_title,
    )


def open_numbers(hub: HubApp) -> None:
    def count() -> Numbers:
        problems = gather(hub)
        wrong = problems.count + len(failed_items(hub))
        if problems.gradebook:
            return Numbers(problems=wrong)
        answers = sum(each.count for each in _to_mark(hub))
        return Numbers(answers, len(_open_requests(hub)), wrong)

    hub.numbers.count = partial(to_its_end, count)


_Lines = tuple[CountLine, ...]


def read_today(app: HubApp) -> Today:
    now = app.services.clock.now()
    app.checks.look()
    due, came, trouble = [], [], ""
    marking: tuple[_Lines, _Lines, tuple[RegradeRequest, ...]] = (), (), ()
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
        lines = (CountLine(name, len(ungraded(app, name, each))) for name, each in arrivals.items())
        to_grade = tuple(each for each in lines if each.count)
        marking = to_grade, _to_mark(app), _open_requests(app)
    except MograderError as error:
        trouble = str(error)
    return Today(tuple(due), tuple(came), *marking, problems, failed_items(app), trouble)


def _to_mark(app: HubApp) -> _Lines:
    book = app.book()
    if book is None:
        return ()
    names = (each.name for each in book.assignments() if ItemName.valid(each.name))
    found = (CountLine(name, app.marking.progress.waiting(book, name)) for name in names)
    return tuple(each for each in found if each.count)


def _open_requests(app: HubApp) -> tuple[RegradeRequest, ...]:
    book = app.book()
    return tuple(each for each in RegradeRequests(book).of() if each.waits) if book else ()


ROUTES = (Route("GET", "/course/today", today_page, Access.INSTRUCTOR),)

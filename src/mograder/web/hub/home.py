"""The first page: a member's assignments, lectures and sessions (B52-B61); scripts keep it current.

An instructor may preview it as a student who has not begun, now or at a later time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.item_dates import read_moment
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.grading.release.student_marks import StudentMark, marks_of_student
from mograder.grading.validation_report import ValidationResult
from mograder.hub.items import ItemView, person
from mograder.publishing.schedule import DEFAULT_ZONE, parse_zone, zone_of_form
from mograder.sandbox.protocol import Mode
from mograder.sessions.copy_updates import CopyUpdates
from mograder.sessions.end_reasons import Ending, EndReason, Explanation
from mograder.sessions.session import CopyOf, LiveSession, spinner_of
from mograder.store.copies.workspaces import CopyFacts, CopyState
from mograder.store.hub.board import Board
from mograder.store.releases.releases import ItemKind
from mograder.store.submissions.history import Submission
from mograder.web.context import request_context
from mograder.web.hub.copies.hand_in import HandIn, course_page, hand_in_of, moodle_pages
from mograder.web.hub.core.access import Visitor
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.machines import Leaving, MachineWatch
from mograder.web.hub.sessions import news_of
from mograder.web.pages import go_to, page
from mograder.web.route import GUEST, INSTRUCTOR, Route

_log = get_logger(__name__)
_LONGEST = 40

_ORDINARY = frozenset({EndReason.IDLE, EndReason.PRESSURE, EndReason.MOVED, EndReason.LOST})
"""Reasons that say nothing of the notebook: most students close the tab and never stop it."""

_TOLD_FOR = timedelta(days=1)
"""How long an ordinary end is told; the others are told until the notebook is opened again."""


@dataclass(frozen=True, slots=True)
class EndedLine:
    """A session that ended unexpectedly; ``again`` restarts it, ``saved`` is its last save."""

    item: str
    mode: str
    words: Explanation
    again: str
    saved: datetime | None


@dataclass(frozen=True, slots=True)
class AssignmentLine:
    """One assignment; ``copy``, ``result`` and ``mark`` are None before they exist.

    ``passed`` is how many of ``checks`` passed when an edited copy that was not validated ran last,
    by what it says. ``versions`` is whether its timeline has any, which it keeps without a copy.
    """

    view: ItemView
    copy: CopyFacts | None
    result: ValidationResult | None
    hand_in: HandIn
    versions: bool = False
    is_next: bool = False
    mark: StudentMark | None = None
    passed: int = 0
    checks: int = 0


@dataclass(frozen=True, slots=True)
class EarlierLine:
    """A person's work on an item that is not among the assignments any more.

    ``copy``, ``submission`` and ``mark`` are None where there is none. ``versions`` is whether its
    timeline has any, ``lecture`` whether the item is a lecture now.
    """

    name: ItemName
    copy: CopyFacts | None
    submission: Submission | None
    versions: bool
    lecture: bool
    mark: StudentMark | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What the page shows of a person's work; ``other_marks`` are those of items in no line.

    ``titles`` are those of the views that the person may know.
    """

    views: list[ItemView]
    titles: Mapping[str, str]
    lines: list[AssignmentLine]
    earlier: list[EarlierLine]
    other_marks: Mapping[str, StudentMark]
    offered: frozenset[str]


@dataclass(frozen=True, slots=True)
class Preview:
    identity: Identity
    at: datetime | None


async def first_page(request: Request, app: CurrentApp, visitor: Visitor) -> Response:
    if visitor is None:
        return page(request, "welcome.html")
    preview = _preview(request, visitor)
    shown = preview.identity if preview else visitor
    now = (preview.at if preview else None) or app.services.clock.now()
    found = await to_thread.run_sync(_look, app, shown, preview, now)
    views, lines = found.views, found.lines
    settings = app.services.loaded.settings
    own = (each for each in app.services.pool.all() if each.key.user == visitor.username)
    sessions = sorted(own, key=lambda session: session.key.item)
    endings = app.services.pool.history.of_user(person(visitor))
    known = frozenset(view.name for view in views)
    saved = {line.view.name: line.copy.saved for line in lines if line.copy}
    ended = await to_thread.run_sync(_ended, app, endings, known, saved) if endings else []
    return page(
        request,
        "home.html",
        here="home",
        assignments=lines,
        earlier=found.earlier,
        other_marks=found.other_marks,
        lectures=[view for view in views if view.kind is ItemKind.LECTURE],
        titles=found.titles,
        sessions=sessions,
        leaving=_leaving(app, sessions),
        offered=found.offered,
        now=now,
        ended=ended,
        preview=preview,
        collects=settings.hub.collect,
        moodle=course_page(settings),
        unsandboxed=not app.services.sandboxed,
        origin=f"{request_context(request).scheme}://{request_context(request).host}",
    )


async def view_as(request: Request) -> Response:
    """Redirect to the preview, at the address that instructors know (compatibility-0.3.16.md 2.3).

    Unlike 0.3.16 it sets no cookie: a link must not change other pages.
    """
    role, text = request.query_params.get("role", ""), request.query_params.get("as_of", "")
    if role not in ("", "student"):
        raise InvalidInput("One can only look as a student.", hint="Ask for role=student.")
    if not role:
        return go_to(request, "/")
    query = {"as": "student"}
    if text:
        moment = read_moment(text[:_LONGEST], parse_zone(DEFAULT_ZONE))
        query["at"] = moment.isoformat()
    return go_to(request, f"/?{urlencode(query)}")


def _offered(app: HubApp, views: Iterable[ItemView]) -> frozenset[str]:
    """Return the updated items that are merged into copies; the person may know updated ones."""
    updated, updates = {view.name for view in views if view.updated}, app.of(CopyUpdates)
    offers = updates.stores.rows.offers() if updated else {}
    return frozenset(each for each in updated & offers.keys() if updates.is_offered(offers[each]))


def _look(app: HubApp, identity: Identity, preview: Preview | None, now: datetime) -> _Found:
    views = app.items.survey(identity, now)
    known = {view.name for view in views if preview or _knows(app, identity, view)}
    titles = {view.name: app.checks.title_in(view.release) for view in views if view.name in known}
    if preview:  # of a student who has none: the instructor's own copies are not shown
        visible = (view for view in views if view.visible)
        views = [dataclasses.replace(each, has_copy=False, updated=False) for each in visible]
    found = [view for view in views if view.kind is ItemKind.ASSIGNMENT]
    marks: Mapping[str, StudentMark] = {}
    earlier: list[EarlierLine] = []
    if preview:
        usual = app.dates.usual
        lines = [AssignmentLine(each, None, None, HandIn(usual(each.name))) for each in found]
    else:
        marks, moodle = _marks(app, identity), moodle_pages(app.services.loaded.settings)
        versions = app.services.recorder.versions.items(person(identity))
        lines = [
            _line(
                app,
                identity,
                view,
                mark=marks.get(view.name),
                knows=view.name in known,
                kept=view.name in versions,
                url=moodle.get(view.name, ""),
            )
            for view in found
        ]
        lines = _with_progress(app, identity, lines)
        earlier = _earlier(app, identity, lines, versions, marks)

    def urgency(line: AssignmentLine) -> tuple[int, float]:
        return line.hand_in.own.urgency(now, handed_in=line.hand_in.submission is not None)

    lines = sorted(lines, key=urgency)
    told = {line.view.name for line in lines} | {line.name for line in earlier}
    others = {name: mark for name, mark in marks.items() if name not in told}
    return _Found(views, titles, lines, earlier, others, _offered(app, views))


def _knows(app: HubApp, identity: Identity, view: ItemView) -> bool:
    """Return the same as ``Items.may_know``, without reading the rules of visibility again."""
    return view.visible or app.items.may_know(identity, CopyOf(person(identity), view.release.name))


def _marks(app: HubApp, identity: Identity) -> Mapping[str, StudentMark]:
    """Return a person's released marks; none if they cannot be read, so that work goes on."""
    services = app.services
    try:
        book = app.book()
        if book is None:
            return {}
        key, user, now = app.marking.key, person(identity), services.clock.now()
        return marks_of_student(services.loaded, book, key, user, now)
    except MograderError as error:
        _log.error("The released marks cannot be read: %s", error)
        return {}


def _line(
    app: HubApp,
    identity: Identity,
    view: ItemView,
    *,
    mark: StudentMark | None,
    knows: bool,
    kept: bool,
    url: str,
) -> AssignmentLine:
    user, name = person(identity), view.release.name
    copy = app.services.workspaces.facts(user, name) if view.has_copy else None
    result = app.results.of(user, name) if copy else None
    hand_in = hand_in_of(app, user, name, copy, knows=knows, url=url)
    is_next = hand_in.is_next(copy, app.services.clock.now())
    return AssignmentLine(view, copy, result, hand_in, kept, is_next, mark)


def _earlier(
    app: HubApp,
    identity: Identity,
    listed: Iterable[AssignmentLine],
    versions: frozenset[str],
    marks: Mapping[str, StudentMark],
) -> list[EarlierLine]:
    """Return a person's work on items that are not listed: withdrawn, renamed, or lectures now."""
    user, services = person(identity), app.services
    named = {line.view.name for line in listed}
    handed_in = _handed_in(app, user, named) if services.loaded.settings.hub.collect else {}
    begun = services.workspaces.items_of(user) | {ItemName(each) for each in versions}
    lines = []
    for item in sorted((begun - named) | handed_in.keys()):
        release = services.releases.get(item)
        line = EarlierLine(
            name=item,
            copy=services.workspaces.facts(user, item) if item in begun else None,
            submission=handed_in.get(item),
            versions=item in versions,
            lecture=release is not None and release.kind is ItemKind.LECTURE,
            mark=marks.get(item),
        )
        work = line.submission is not None
        if line.lecture:  # it is among the lectures; a mere copy of one is no work
            work |= line.copy is not None and line.copy.state is not CopyState.DOWNLOADED
        else:
            work |= line.copy is not None or line.versions
        if work:
            lines.append(line)
    return lines


def _handed_in(app: HubApp, user: Username, listed: Set[str]) -> Mapping[ItemName, Submission]:
    found = {}
    with suppress(MograderError):
        for item in app.submissions.items() - listed:
            with suppress(MograderError):
                found[item] = app.submissions.counting(user, item)
    return {item: sent for item, sent in found.items() if sent is not None}


def _with_progress(
    app: HubApp, identity: Identity, lines: Sequence[AssignmentLine]
) -> list[AssignmentLine]:
    ran = [
        line.view.name
        for line in lines
        if line.result is None and line.copy and line.copy.state is not CopyState.DOWNLOADED
    ]
    if not ran:
        return list(lines)
    known = Board(app.services.state.engine).checks_of(person(identity), ran)
    passed = {(row.item, row.label) for row in known if row.status == "success"}

    def with_counts(line: AssignmentLine) -> AssignmentLine:
        columns = app.checks.columns(line.view.release)
        own = sum((line.view.name, each.label) in passed for each in columns)
        return dataclasses.replace(line, passed=own, checks=len(columns))

    return [with_counts(line) if line.view.name in ran else line for line in lines]


def _preview(request: Request, visitor: Identity) -> Preview | None:
    """Return the preview of ``?as=student&at=2026-10-05T09:00&timezone=UTC``, if any."""
    query = request.query_params
    if visitor.role is not Role.INSTRUCTOR or query.get("as") != "student":
        return None
    student = dataclasses.replace(visitor, role=Role.STUDENT)
    text = query.get("at", "")
    at = read_moment(text[:_LONGEST], zone_of_form(query)) if text else None
    return Preview(student, at)


def _leaving(app: HubApp, sessions: Iterable[LiveSession]) -> Mapping[str, Leaving]:
    machines = app.find(MachineWatch)
    if machines is None:
        return {}
    found = {each.id: machines.leaving(each.endpoint.node) for each in sessions}
    return {session_id: leaving for session_id, leaving in found.items() if leaving is not None}


def _ended(
    app: HubApp, endings: list[Ending], known: frozenset[str], saved: Mapping[str, datetime]
) -> list[EndedLine]:
    pool, lines = app.services.pool, []
    before = app.services.clock.now() - _TOLD_FOR
    for ending in endings:
        words = news_of(app, ending)
        old = ending.reason in _ORDINARY and ending.at < before
        if words is None or old or pool.find(ending.key) is not None:
            continue
        mode, item = ending.key.mode, ending.key.item
        again = spinner_of(mode, item) if item in known else ""
        last = saved.get(item) if mode is Mode.EDIT else None
        lines.append(EndedLine(item, mode.value, words, again, last))
    return lines


ROUTES = (
    Route("GET", "/", first_page, GUEST),
    Route("GET", "/view-as", view_as, INSTRUCTOR),
)

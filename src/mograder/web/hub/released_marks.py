"""A student's released marks, for the student and for instructors: the page and its requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import Conflict, Forbidden, InvalidInput, MograderError, NotFound
from mograder.grading.release import regrade_requests
from mograder.grading.release.feedback_view import FeedbackView
from mograder.grading.release.regrade_requests import LONGEST_TEXT, RequestRules
from mograder.grading.release.releasing import parse_marks
from mograder.grading.release.student_marks import (
    Telling,
    render_marks_page,
    telling,
    view_marks,
)
from mograder.hub.notifier import Part
from mograder.sessions.session import CopyOf
from mograder.store.gradebook.mark_release import (
    MarkReleases,
    ReleaseRow,
    Standing,
    standing,
)
from mograder.store.marking.regrade_requests import RegradeRequest, RegradeRequests, RequestState
from mograder.web.error_responses import status_of
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy, copy_page
from mograder.web.marking.context import question_title
from mograder.web.marking.release_pages import feedback_of
from mograder.web.pages import go_to, inert_page, page, with_outcome
from mograder.web.request_body import read_form
from mograder.web.route import OWNER, SELF, Route

_FORM_BYTES = 64 * 1024
_NO_MARKS = "No marks of {item} are released."


@dataclass(frozen=True, slots=True)
class _Shown:
    """The content of the page: the marks, the requests by question, and the last time for them.

    ``view`` is None if marks were taken back. ``whole`` is whether a person gave one mark for all
    questions without checks.
    """

    stands: Standing
    view: FeedbackView | None
    whole: bool
    requests: Mapping[str, RegradeRequest]
    closes: datetime | None


async def marks_page(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Response:
    shown = await to_thread.run_sync(_shown, app, copy)
    await app.audit.record_foreign(request, copy.user, "read result", str(copy))
    return _marks(request, app, copy, shown, mine=caller.username == copy.user)


def _marks(
    request: Request,
    app: HubApp,
    copy: CopyOf,
    shown: _Shown,
    *,
    mine: bool,
    refused: tuple[MograderError, str] | None = None,
) -> Response:
    """Return the page of marks; ``refused`` is why words were not recorded, and these words."""
    now = app.services.clock.now()
    return page(
        request,
        "marks.html",
        status_of(refused[0]) if refused else 200,
        copy=copy,
        refused=refused,
        shown=shown,
        mine=mine,
        asks=mine and shown.closes is not None and now <= shown.closes,
        longest=LONGEST_TEXT,
        title_of=question_title,
        states=RequestState,
    )


async def feedback_page(copy: KnownCopy, request: Request, app: CurrentApp) -> Response:
    html = await to_thread.run_sync(_page, app, copy)
    await app.audit.record_foreign(request, copy.user, "read result", str(copy))
    return inert_page(html.encode("utf-8", "replace"))


async def ask(copy: KnownCopy, request: Request, app: CurrentApp) -> Response:
    """Record words about a mark; the form's fields: ``action``, ``question`` and ``text``."""
    fields = await read_form(request, _FORM_BYTES)
    try:
        action = await to_thread.run_sync(_ask, app, copy, fields)
    except (InvalidInput, Conflict, Forbidden) as error:
        shown = await to_thread.run_sync(_shown, app, copy)
        refused = error, fields.get("text", "")
        return _marks(request, app, copy, shown, mine=True, refused=refused)
    await app.audit.record(request, f"request: {action}", str(copy))
    app.numbers.note()
    app.notifier.notify_instructors(Part.MARKS)
    return go_to(request, with_outcome(copy_page("marks", copy), action))


def _standing(app: HubApp, copy: CopyOf) -> tuple[Sequence[ReleaseRow], Standing]:
    """Return the releases and what they mean; raises NotFound if the student never saw a mark."""
    book = app.book()
    if book is None:
        raise NotFound(_NO_MARKS.format(item=copy.item))
    rows = MarkReleases(book).rows_for(copy.item, copy.user)
    found = standing(rows, app.services.clock.now())
    if found.shown is None and found.taken_back is None:
        raise NotFound(_NO_MARKS.format(item=copy.item))
    return rows, found


def _shown(app: HubApp, copy: CopyOf) -> _Shown:
    rows, found = _standing(app, copy)
    book, feedback = app.marking.book(), feedback_of(app.marking, copy.item)
    view, whole, tells = None, False, telling(feedback)
    if found.shown is not None:
        told, marks = tells.of(rows), parse_marks(found.shown.grade)
        view, whole = view_marks(feedback, marks, told), marks.grade.whole is not None
    requests = RegradeRequests(book).of(copy.item, copy.user)
    by_question = {each.question: each for each in requests}
    return _Shown(found, view, whole, by_question, _rules(app, tells, found).closes(found))


def _page(app: HubApp, copy: CopyOf) -> str:
    rows, found = _standing(app, copy)
    if found.shown is None:
        raise NotFound(_NO_MARKS.format(item=copy.item))
    feedback = feedback_of(app.marking, copy.item)
    return render_marks_page(feedback, parse_marks(found.shown.grade), telling(feedback).of(rows))


def _ask(app: HubApp, copy: CopyOf, fields: Mapping[str, str]) -> str:
    _, stands = _standing(app, copy)
    book, now = app.marking.book(), app.services.clock.now()
    question, text = fields.get("question", "")[:1000], fields.get("text", "")
    action = fields.get("action", "")
    if action == "ask":
        marks = (str(copy.item), str(copy.user), question)
        rules = _rules(app, telling(feedback_of(app.marking, copy.item)), stands)
        regrade_requests.ask(book, rules, marks, text, now)
        return action
    found = RegradeRequests(book).of(copy.item, copy.user, question)
    if not found:
        raise NotFound("There is no such request.")
    if action == "reply":
        regrade_requests.reply(book, found[0], text, now)
    elif action == "withdraw":
        regrade_requests.withdraw(book, found[0], now, text)
    else:
        raise InvalidInput("The field action must be ask, reply or withdraw.")
    return action


def _rules(app: HubApp, tells: Telling, stands: Standing) -> RequestRules:
    marking = app.services.loaded.settings.marking
    told_from = None if stands.shown is None else tells.held_until(stands.shown)
    return RequestRules(marking.requests_days, marking.requests_to, told_from)


ROUTES = (
    Route("GET", "/marks/{user}/{a}", marks_page, OWNER),
    Route("GET", "/marks/{user}/{a}/page", feedback_page, OWNER),
    Route("POST", "/marks/{user}/{a}/requests", ask, SELF),
)

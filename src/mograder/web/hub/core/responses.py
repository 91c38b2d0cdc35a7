"""The hub's responses (compatibility-0.3.16.md 2.3), whose models stand beside their handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

from fastapi import Request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
)
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)

from mograder.core.errors import Busy, Forbidden, MograderError, NotAuthenticated
from mograder.core.names import INSTRUCTOR
from mograder.hub.notifier import Notifier, Part
from mograder.sessions.session import CopyOf
from mograder.web.background import Report, Work, progress_response
from mograder.web.context import request_context
from mograder.web.error_responses import (
    Wants,
    problem_json,
    status_of,
    wanted,
)
from mograder.web.hub.core.access import TURN, NotEnrolled, identity_of, part
from mograder.web.hub.core.audit import AuditTrail, Event
from mograder.web.pages import go_to, page, problem_page, with_outcome

M = TypeVar("M", bound=BaseModel)
ABSENT_SECONDS = 30.0
"""Seconds for which a queued start is kept after its browser has disconnected."""


_COURSE_PAGES: Mapping[str, str] = MappingProxyType(
    {"items": "/course/items", "sessions": "/course/sessions", "people": "/course/people"}
)


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Done(Body):
    """The request was successful."""

    status: Literal["ok"] = "ok"


UnixTime = Annotated[
    float, BeforeValidator(lambda at: at.timestamp() if isinstance(at, datetime) else at)
]
"""A time of a record, which the API tells in Unix seconds."""


class Problem(Body):
    """Every failure: one sentence with the reason, and a hint."""

    detail: str


async def answer_problem(request: Request, error: MograderError) -> Response:
    """Return the response to a failure in the client's format; refusals go into the audit log."""
    if isinstance(error, NotAuthenticated):
        return _ask_to_sign_in(request)
    who = identity_of(request)
    if isinstance(error, Forbidden) and who is not None:
        where = request_context(request)
        action = "not enrolled" if isinstance(error, NotEnrolled) else "access"
        what = f"{request.method} {where.path}"[:300]
        await part(request, AuditTrail).refused(Event(who.username, action, what, where.address))
    if isinstance(error, NotEnrolled):
        return page(request, "restricted.html", 403)
    if wanted(request) is Wants.PAGE:
        return failure_page(request, error)
    return problem_json(error)


def failure_page(request: Request, error: MograderError) -> Response:
    later = error.retry_after if isinstance(error, Busy) else 0
    status = status_of(error)
    return problem_page(request, status, error.message, error.hint, retry_after=later)


async def deliver(
    request: Request,
    job: Callable[[Report], Awaitable[M]],
    next_page: str | Callable[[M], str],
    *,
    absent: float | None = None,
    keeps_turn: bool = True,
) -> Response:
    """Run a job and answer as asked: JSON lines, plain JSON, or for a form the next page.

    The page may depend on the result. When a client that watches the progress disconnects, the job
    is cancelled after ``absent`` seconds; None: it goes on. A student's request keeps its turn
    (``PersonalTurns``) until the job has ended; without ``keeps_turn``, for a job that waits in the
    line of sessions, only until the response begins.

    Raises: what the job raises, unless progress was asked for; then it is the last line.
    """
    notifier, who = part(request, Notifier), identity_of(request)
    user = request.path_params.get("user") or (who.username if who else "")

    async def announced(report: Report) -> M:
        """Do the job, then notify the pages of the copy's or session's user."""
        result = await job(report)
        notifier.notify(user, Part.COPIES)
        return result

    running = part(request, Work).begin(announced)
    turn: ExitStack | None = request.scope.get(TURN)
    if keeps_turn and turn is not None:
        kept = turn.pop_all()
        running.task.add_done_callback(lambda _: kept.close())
    if wanted(request) is Wants.PROGRESS:
        return progress_response(running, request, in_json, absent=absent)
    result = await running.result()
    where = next_page if isinstance(next_page, str) else next_page(result)
    return tell(request, result, where)


def tell(request: Request, result: BaseModel, next_page: str, status: int = 200) -> Response:
    if wanted(request) is Wants.PAGE:
        return go_to(request, next_page)
    return JSONResponse(in_json(result), status)


def in_json(result: BaseModel) -> dict[str, object]:
    return result.model_dump(mode="json")


def back_from(request: Request, copy: CopyOf, done: str) -> str:
    """Return the page to go back to after a form: the one it names (``back``), or the person's."""
    named = _COURSE_PAGES.get(request.query_params.get("back", ""))
    if named is None:
        who = identity_of(request)
        mine = copy.user == INSTRUCTOR or (who is not None and copy.user == who.username)
        named = "/" if mine else f"/course/students/{quote(copy.user, safe='')}"
    return with_outcome(named, done, copy.item)


def _ask_to_sign_in(request: Request) -> Response:
    """Redirect a browser to the login page; send others 403 (compatibility-0.3.16.md 2.1)."""
    where = request_context(request)
    if wanted(request) is not Wants.PAGE:
        return PlainTextResponse("403 Forbidden", 403)
    if request.method not in {"GET", "HEAD"}:
        return page(request, "signed_out.html", 403)
    query = f"?{request.url.query}" if request.url.query else ""
    target = quote(where.prefix + quote(where.path) + query, safe="/")
    return RedirectResponse(f"{where.prefix}/login?next={target}", 303)

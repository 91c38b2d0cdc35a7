"""What every handler of the dashboard finds on its desk, and how it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from mograder.core.clock import Clock
from mograder.core.errors import MograderError, NotAuthenticated
from mograder.exchange.student.course import StudentCourse
from mograder.web.context import RequestContext, context_of
from mograder.web.hub.progress import Report, Running, Work, line
from mograder.web.problems import (
    NDJSON,
    TITLES,
    Wants,
    headers_of,
    problem_json,
    status_of,
    wants,
)
from mograder.web.student.bench import Bench
from mograder.web.student.gate import Doorkeeper
from mograder.web.student.wire import Wire
from mograder.web.templating import Pages

DESK = "mograder.student"
_PATIENCE_SECONDS = 4.0
"""How long a form waits for its answer; then a page that looks again takes its place."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The services of one dashboard."""

    title: str
    course: StudentCourse
    wire: Wire
    bench: Bench
    keeper: Doorkeeper
    pages: Pages
    work: Work
    clock: Clock


@dataclass(frozen=True, slots=True)
class _Viewer:
    """Who looks, as the pages that are the hub's too know people."""

    username: str
    role: str = field(default="student", init=False)
    login_id: str = field(default="here", init=False)


def desk_of(request: Request) -> Desk:
    """The desk that the app put into the request."""
    desk: Desk = request.scope[DESK]
    return desk


def where(request: Request) -> RequestContext:
    """Where the request came in."""
    return context_of(request.scope)


def wanted(request: Request) -> Wants:
    """What this client takes for an answer."""
    return wants(request.headers.get("accept", ""))


def page(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """Answer with a page that knows the course and who is signed in."""
    desk = desk_of(request)
    user = desk.wire.user
    html = desk.pages.render(
        template,
        "",
        course=desk.title,
        viewer=_Viewer(user) if user else None,
        local=True,
        server=desk.wire.connector.server,
        request_id=where(request).request_id,
        **values,
    )
    return HTMLResponse(html, status)


def go_to(path: str) -> RedirectResponse:
    """Send the browser on with a GET."""
    return RedirectResponse(path, 303)


async def deliver(
    request: Request, spinner: str, job: Callable[[Report], Awaitable[str]]
) -> Response:
    """Do what takes a while, and lead to the page that the job names when it is done.

    A form that would wait too long is led to the page that waits, at ``/working/<spinner>``.

    Raises: what the job raises, unless progress was asked for; then it is the last line.
    """
    desk = desk_of(request)
    running = desk.work.begin(job)
    if wanted(request) is Wants.PROGRESS:
        news = _lines(running, where(request).request_id)
        return StreamingResponse(news, media_type=NDJSON, headers={"Cache-Control": "no-store"})
    done, _ = await asyncio.wait((running.task,), timeout=_PATIENCE_SECONDS)
    if not done:
        desk.work.keep(spinner, running)
        return go_to(f"/working/{quote(spinner, safe=':')}")
    return go_to(await running.result())


async def answer_problem(request: Request, error: MograderError) -> Response:
    """Say what went wrong in the client's own form; who has to sign in is led there."""
    page_wanted = wanted(request) is Wants.PAGE
    if page_wanted and isinstance(error, NotAuthenticated):
        return go_to("/sign-in?again=1")
    if page_wanted:
        return problem_page(request, status_of(error), error.message, error.hint)
    return problem_json(error)


def problem_page(request: Request, status: int, message: str, hint: str = "") -> Response:
    """A failure for a person: what it is, and what helps."""
    return page(
        request,
        "problem.html",
        status,
        title=TITLES.get(status, "Something went wrong"),
        answered=status,
        message=message,
        hint=hint,
        again="",
        retry_after=0,
    )


async def _lines(running: Running[str], request_id: str) -> AsyncIterator[bytes]:
    """The progress protocol of the hub's pages, whose scripts are ours too."""
    async for message in running.news():
        yield line("progress", message=message)
    try:
        path = await running.result()
    except MograderError as error:
        yield line("error", status=status_of(error), detail=str(error), **_later(error))
    except Exception:  # noqa: BLE001 - a door: the client gets a reference, the work has logged
        yield line("error", status=500, detail=f"Something broke. Reference: {request_id}")
    else:
        yield line("done", url=path)


def _later(error: MograderError) -> dict[str, object]:
    return {name.lower().replace("-", "_"): value for name, value in headers_of(error).items()}

"""How the hub answers: problems in words, and the result of long work in the form asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar
from urllib.parse import quote

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from mograder.core.errors import Forbidden, MograderError, NotAuthenticated
from mograder.web.hub.audit import Event
from mograder.web.hub.desk import context, desk_of, go_to, identity_of, page, wanted
from mograder.web.hub.progress import Report, Running, line
from mograder.web.problems import (
    HUB_STATUS,
    NDJSON,
    TITLES,
    Wants,
    headers_of,
    problem_json,
    status_of,
)

M = TypeVar("M", bound=BaseModel)


class NotEnrolled(Forbidden):
    """Somebody is signed in who is not on the course's list (B38, B39)."""


async def answer_problem(request: Request, error: MograderError) -> Response:
    """Say what went wrong in the client's own form; refusals go into the audit log."""
    if isinstance(error, NotAuthenticated):
        return _ask_to_sign_in(request)
    if isinstance(error, Forbidden):
        await _note_refusal(request, error)
    if isinstance(error, NotEnrolled):
        return page(request, "restricted.html", 403)
    if wanted(request) is Wants.PAGE:
        return problem_page(request, status_of(error, HUB_STATUS), error.message, error)
    return problem_json(error, HUB_STATUS)


def problem_page(
    request: Request, status: int, message: str, error: MograderError | None = None
) -> Response:
    """A failure for a person: what it is, what helps, and the number to quote."""
    response = page(
        request,
        "problem.html",
        status,
        title=TITLES.get(status, "Something went wrong"),
        answered=status,
        message=message,
        hint=error.hint if error else "",
    )
    response.headers.update(headers_of(error) if error else {})
    return response


async def deliver(
    request: Request, job: Callable[[Report], Awaitable[M]], onward: Callable[[M], str]
) -> Response:
    """Run a job and answer as asked: JSON lines, the plain JSON, or for a form the next page.

    Raises: what the job raises, unless progress was asked for; then it is the last line.
    """
    running = desk_of(request).work.begin(job)
    form = wanted(request)
    if form is Wants.PROGRESS:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            _lines(running, context(request).request_id), media_type=NDJSON, headers=headers
        )
    result = await running.result()
    if form is Wants.PAGE:
        return go_to(request, onward(result))
    return JSONResponse(result.model_dump(mode="json"))


async def _lines(running: Running[M], request_id: str) -> AsyncIterator[bytes]:
    async for message in running.news():
        yield line("progress", message=message)
    try:
        result = await running.result()
    except MograderError as error:
        yield line("error", status=status_of(error, HUB_STATUS), detail=str(error))
    except Exception:  # noqa: BLE001 - a door: the client gets a reference, the work has logged
        yield line("error", status=500, detail=f"Something broke. Reference: {request_id}")
    else:
        yield line("done", **result.model_dump(mode="json"))


def _ask_to_sign_in(request: Request) -> Response:
    """Send a browser to the login page; tell an API client 403 (compat.md 2.1)."""
    where = context(request)
    if wanted(request) is not Wants.PAGE:
        return PlainTextResponse("403 Forbidden", 403)
    if request.method not in {"GET", "HEAD"}:
        return page(request, "signed_out.html", 403)
    query = f"?{request.url.query}" if request.url.query else ""
    target = quote(where.prefix + quote(where.path) + query, safe="/")
    return RedirectResponse(f"{where.prefix}/login?next={target}", 303)


async def _note_refusal(request: Request, error: Forbidden) -> None:
    who = identity_of(request)
    if who is None:
        return
    action = "not enrolled" if isinstance(error, NotEnrolled) else "access"
    where = context(request)
    what = f"{request.method} {where.path}"[:300]
    await desk_of(request).audit.refused(Event(who.username, action, what, where.client or ""))

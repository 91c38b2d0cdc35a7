"""The dashboard's web application: the table of its routes, and what stands around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.web.context import ContextMiddleware
from mograder.web.problems import Wants
from mograder.web.student import deeds, views
from mograder.web.student.desk import DESK, Desk, answer_problem, page, problem_page, wanted, where
from mograder.web.student.gate import Gate

_log = get_logger(__name__)

_LOOK = (
    ("/health", views.health),
    ("/static/{version}/{name}", views.static_file),
    ("/open", views.use_link),
    ("/", views.home),
    ("/sign-in", views.sign_in_page),
    ("/working/{what}", views.working),
    ("/editor/{folder}", views.editor),
    ("/validation/{folder}", views.validation),
    ("/replace/{folder}", views.replace),
    ("/late/{folder}", views.late),
    ("/receipt/{folder}", views.receipt),
    ("/receipt/{folder}/file", views.receipt_file),
    ("/feedback/{folder}", views.feedback),
    ("/feedback/{folder}/{number:int}", views.document),
    ("/feedback/{folder}/{number:int}/file", views.document_file),
)
_DO = (
    ("/sign-in/{way}", deeds.sign_in),
    ("/logout", deeds.sign_out),
    ("/sync", deeds.sync),
    ("/fetch/{folder}", deeds.fetch),
    ("/edit/{folder}", deeds.edit),
    ("/stop/{folder}", deeds.stop),
    ("/validate/{folder}", deeds.validate),
    ("/submit/{folder}", deeds.submit),
    ("/send/{folder}", deeds.send),
    ("/give-up/{folder}", deeds.give_up),
)


def create_app(desk: Desk) -> ASGIApp:
    """Build the dashboard: context, the gate, then the routes."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await desk.wire.resume()
        if desk.wire.user:
            first = desk.work.begin(partial(deeds.look, desk))
            desk.work.keep(views.FIRST_LOOK, first)
        yield
        await desk.work.close()
        await desk.bench.close()
        await desk.wire.close()

    routes = [Route(path, handler, methods=["GET"]) for path, handler in _LOOK]
    routes += [Route(path, handler, methods=["POST"]) for path, handler in _DO]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            MograderError: _tell_problem,
            HTTPException: _tell_http,
            Exception: _tell_bug,
        },
    )

    def closed(scope: Scope) -> Response:
        request = Request({**scope, DESK: desk})
        if wanted(request) is not Wants.PAGE:
            return JSONResponse({"detail": "Open the dashboard by its link first."}, 403)
        return page(request, "student/closed.html", 403, wrong=False)

    gate = Gate(_WithDesk(app, desk), desk.keeper, closed)
    return ContextMiddleware(gate, base_url="", public_url="", trusts=lambda _: False)


class _WithDesk:
    """Puts the desk into each request; a bug is answered and logged, not raised."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app({**scope, DESK: self._desk}, receive, send)
        except Exception:  # a door: the answer was 500 with a reference, the log has the rest
            if scope["type"] != "http":
                raise
            _log.exception("A request failed by a bug of ours")


async def _tell_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, MograderError)
    return await answer_problem(request, error)


async def _tell_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if wanted(request) is not Wants.PAGE:
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    message = "There is nothing at this address." if error.status_code == 404 else error.detail
    return problem_page(request, error.status_code, message)


async def _tell_bug(request: Request, error: Exception) -> Response:
    if wanted(request) is Wants.PAGE:
        return problem_page(request, 500, "The dashboard ran into a mistake of its own.")
    reference = where(request).request_id
    return JSONResponse({"detail": f"Something broke. Reference: {reference}"}, 500)

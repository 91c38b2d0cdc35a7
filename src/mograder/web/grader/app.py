"""The grader's web application: the routes of marking, and its middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from mograder.core.errors import NotFound
from mograder.web.app import AppMiddleware
from mograder.web.browser_access import HEADERS
from mograder.web.context import ContextMiddleware
from mograder.web.fastapi_app import bare_api
from mograder.web.grader.grader_app import GraderApp, answer_problem, grader_app
from mograder.web.grader.view_as import view_as
from mograder.web.marking.context import (
    CurrentMarker,
    CurrentMarking,
    check_instructor,
    check_marker,
)
from mograder.web.marking.routes import MARKING_ROUTES
from mograder.web.pages import go_to, static_file
from mograder.web.route import Access


def create_app(
    app: GraderApp, *, base_url: str = "", trusts: Callable[[str | None], bool] = lambda _: False
) -> ASGIApp:
    """Build the grader: context, the check of the person, then the routes.

    ``trusts`` returns whether an address is a trusted proxy's.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(app.book.close)

    api = bare_api(f"{app.title}: grader", lifespan, answer_problem)
    api.router.routes.extend(_routes().routes)
    own = AppMiddleware(api, app, app.access.admit, HEADERS)
    return ContextMiddleware(own, base_url=base_url, trusts=trusts)


def _routes() -> APIRouter:
    router = APIRouter()
    router.add_api_route("/", _home, methods=["GET"])
    router.add_api_route("/health", _health, methods=["GET"])
    router.add_api_route("/static/{version}/{name}", _static, methods=["GET"])
    router.add_api_route("/open", _enter, methods=["GET"])
    router.add_api_route("/_view_as", view_as, methods=["GET"], response_model=None)
    for route in MARKING_ROUTES:
        router.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            dependencies=[Depends(_GUARDS[route.access])],
            response_model=None,
        )
    return router


async def _marker(request: Request, marking: CurrentMarking, marker: CurrentMarker) -> None:
    await check_marker(request, marker.role, marking.loaded.course_dir)


async def _instructor(marker: CurrentMarker) -> None:
    check_instructor(marker.role)


_GUARDS: Mapping[Access, Callable[..., Awaitable[None]]] = {
    Access.MARKER: _marker,
    Access.INSTRUCTOR: _instructor,
}


async def _home(request: Request) -> Response:
    return go_to(request, "/marking")


async def _health() -> Response:
    return JSONResponse({"status": "ok"})


async def _static(request: Request, version: str, name: str) -> Response:
    return static_file(request, version, name)


async def _enter(request: Request) -> Response:
    enter = grader_app(request).access.enter
    if enter is None:
        raise NotFound("There is nothing at this address.")
    return enter(request)

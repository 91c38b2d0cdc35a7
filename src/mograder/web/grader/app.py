"""The grader's web application: its routes and middleware, and the object that its pages work with.

An instructor can look at the pages as a marker, by 0.3.16's address and cookie
(compatibility-0.3.16.md 5). The cookie only takes rights away, so a marker or a student who sets it
gains nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import unquote

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from mograder.auth.roles import Role
from mograder.core.errors import Forbidden, InvalidInput, MograderError, NotFound
from mograder.core.log import get_logger
from mograder.notebook.title import title_of
from mograder.store.course.course import read_notebook
from mograder.web.app import AppMiddleware, Header
from mograder.web.browser_access import HEADERS
from mograder.web.context import ContextMiddleware
from mograder.web.marking.context import (
    CurrentMarker,
    CurrentMarking,
    MarkingApp,
    SharedGradebook,
    check_instructor,
    check_marker,
    marker_of,
)
from mograder.web.marking.routes import MARKING_ROUTES
from mograder.web.pages import APP, Pages, Viewer, go_to, problem_page, static_file
from mograder.web.problems import Wants, problem_json, status_of, wanted
from mograder.web.route import Access as Demanded
from mograder.web.route import bare_api

_log = get_logger("mograder.grader")

_COOKIE = "mograder_view_as"
_SECONDS = 8 * 3600
_REAL_ROLE = "mograder.real_role"


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


_GUARDS: Mapping[Demanded, Callable[..., Awaitable[None]]] = {
    Demanded.MARKER: _marker,
    Demanded.INSTRUCTOR: _instructor,
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


class Access(Protocol):
    """Admits or refuses a request, and puts the person into it."""

    async def admit(self, request: Request, headers: list[Header]) -> Response | None:
        """Return the refusal of a request, None for one that is admitted."""
        ...

    @property
    def enter(self) -> Callable[[Request], Response] | None:
        """The handler of one-time links, None without any."""
        ...


@dataclass(frozen=True, slots=True)
class GraderApp:
    """The services of one grader."""

    title: str
    pages: Pages
    marking: MarkingApp
    book: SharedGradebook
    access: Access
    program: ClassVar[str] = "grader"

    def page_values(self, request: Request) -> dict[str, object]:
        """Return the values for every page: the person who marks."""
        marker = marker_of(request)
        viewer = marker and Viewer(
            marker.name,
            instructor=marker.role is Role.INSTRUCTOR,
            marks=True,
            can_sign_out=False,
        )
        return {
            "viewer": viewer,
            "local": "mograder grader",
            "switched": marker is not None and _is_switched(request),
            "item_title": self._title,
        }

    def _title(self, item: str) -> str:
        source = self.marking.source(item)
        title = "" if source is None else _title_of(source, source.stat().st_mtime_ns)
        return "" if title == item else title


@lru_cache(maxsize=256)
def _title_of(notebook: Path, changed: int) -> str:
    """Return a source's title; ``changed`` is when it was, in nanoseconds."""
    try:
        return title_of(read_notebook(notebook))
    except MograderError:
        return ""


def grader_app(request: Request) -> GraderApp:
    """Return the object that the middleware put into the request."""
    app: GraderApp = request.scope[APP]
    return app


async def record(request: Request, action: str, what: str) -> None:
    """Write an action into the program's log: the grader has no audit log."""
    marker = marker_of(request)
    _log.info("%s: %s: %s", marker.name if marker else "", action, what)


async def answer_problem(request: Request, error: MograderError) -> Response:
    """Return the response to a failure in the client's format."""
    if wanted(request) is Wants.PAGE:
        return problem_page(request, status_of(error), error.message, error.hint)
    return problem_json(error)


async def view_as(request: Request) -> Response:
    """Switch an instructor to the view of a marker with ``?role=marker``, and back without a role.

    Raises: Forbidden, InvalidInput.
    """
    if request.scope.get(_REAL_ROLE) is not Role.INSTRUCTOR:
        raise Forbidden("Instructors only")
    role = request.query_params.get("role", "")
    if role not in ("", Role.MARKER):
        raise InvalidInput("One can only look as a marker.", hint="Ask for role=marker.")
    seconds = _SECONDS if role else 0
    # Without a path the cookie belongs to the directory of this address, with any path of a proxy.
    cookie = f"{_COOKIE}={role}; Max-Age={seconds}; HttpOnly; SameSite=Lax"
    return RedirectResponse("./", 303, headers={"Set-Cookie": cookie})


def role_shown(request: Request, role: Role) -> Role:
    """Return the role that counts for a request; ``role`` is the person's own."""
    request.scope[_REAL_ROLE] = role
    if role is not Role.INSTRUCTOR:
        return role
    chosen = unquote(request.cookies.get(_COOKIE, "")).partition("|")[0].strip()
    return Role.MARKER if chosen == Role.MARKER else role


def _is_switched(request: Request) -> bool:
    """Return whether an instructor sees the grader as a marker."""
    role: Role = request.scope[_REAL_ROLE]
    return role_shown(request, role) is not role

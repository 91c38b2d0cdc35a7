"""The hub's web application: what stands around the table of its routes (``web.hub.routes``).

Session traffic goes to the proxy, everything else through the gate to the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from mograder import __version__
from mograder.auth.identity import is_trusted
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.session_headers import FRONT_DOOR
from mograder.core.session_url import session_url
from mograder.sandbox.assets import ASSETS
from mograder.sessions.live import LiveSession
from mograder.store.copy_facts import CopyListing
from mograder.store.kept_results import KeptResults
from mograder.store.submissions import Submissions
from mograder.store.visibility import VisibilityRules
from mograder.web.context import ContextMiddleware, context_of
from mograder.web.hub import models
from mograder.web.hub.access import GUARDS, Access
from mograder.web.hub.answers import answer_problem, problem_page
from mograder.web.hub.assets import AssetServer, is_asset_path
from mograder.web.hub.attempts import Attempts
from mograder.web.hub.audit import AuditTrail
from mograder.web.hub.bell import Bell, Part
from mograder.web.hub.census import Census
from mograder.web.hub.desk import Desk, context, copies_of, wanted
from mograder.web.hub.expulsion import keep_watch
from mograder.web.hub.frame_page import FramePages
from mograder.web.hub.front_door import Cuts, FrontDoor, open_to_its_group
from mograder.web.hub.gate import Gate
from mograder.web.hub.meter import Meter
from mograder.web.hub.openapi import summary_of
from mograder.web.hub.progress import Work
from mograder.web.hub.proxy import SessionProxy
from mograder.web.hub.results import Results
from mograder.web.hub.routes import ROUTES, Door
from mograder.web.hub.services import Services
from mograder.web.hub.session_origin import Apart, SessionOrigins
from mograder.web.hub.session_paths import is_session_path
from mograder.web.problems import Wants
from mograder.web.templating import load_pages

_FRONT_DOOR = FRONT_DOOR.encode()


def create_app(services: Services, meter: Meter | None = None, bell: Bell | None = None) -> ASGIApp:
    """Build the hub: context, then the session proxy or the gate and the route table."""
    meter, bell = meter or Meter(services.pool), bell or Bell()
    hub = services.loaded.settings.hub
    release_dir = services.loaded.path(hub.release_dir)
    listing = CopyListing(services.loaded.path(hub.notebooks_dir), services.releases.get)
    results = Results(KeptResults(services.state.engine))
    results.load()
    desk = Desk(
        services=services,
        pages=load_pages(),
        work=Work(),
        audit=AuditTrail(services.state, services.clock),
        attempts=Attempts(services.clock),
        visibility=VisibilityRules(release_dir / ".visibility.json"),
        meter=meter,
        copies=copies_of(services),
        submissions=Submissions(services.loaded.path(services.loaded.settings.dirs.submitted)),
        listing=listing,
        results=results,
        bell=bell,
        census=Census(listing, services.clock),
    )
    services.pool.on_change = lambda key: bell.ring(key.user, Part.SESSIONS)
    url = session_url(hub.session_url, hub.public_url)
    proxy = SessionProxy(
        services,
        meter.traffic,
        FramePages(desk.pages, desk.course, hub.collect, services.sandboxed, url),
        on_save=lambda user: bell.ring(user, Part.COPIES),
        on_visit=desk.audit.visited,
    )
    own = Gate(build_routes(desk, proxy), desk)
    assets = AssetServer(services.loaded.path(hub.environments_dir) / ASSETS)
    trusts = partial(is_trusted, services.policy)
    front = _front_door(services, proxy, trusts) if hub.front_group else own
    crossroads: ASGIApp = Crossroads(proxy, assets, own, front)
    if url:
        origins = SessionOrigins(url, proxy, services.capabilities)
        crossroads = Apart(origins, assets, crossroads)
    return ContextMiddleware(
        crossroads, base_url=hub.base_url, public_url=hub.public_url, trusts=trusts
    )


def _front_door(
    services: Services, proxy: SessionProxy[LiveSession], trusts: Callable[[str | None], bool]
) -> FrontDoor:
    def lives(session_id: str) -> bool:
        return services.pool.by_id(session_id) is not None

    cuts = Cuts(services.capabilities, services.hang_up, lives)
    return FrontDoor(proxy, trusts=trusts, cuts=cuts, reaches=open_to_its_group)


class Crossroads:
    """Sends session paths to the proxy, but for marimo's static files; the rest to our own app.

    What a web server in front asks goes to ``front``.
    """

    def __init__(self, proxy: ASGIApp, assets: ASGIApp, own: ASGIApp, front: ASGIApp) -> None:
        self._proxy = proxy
        self._assets = assets
        self._own = own
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; we have no WebSockets of our own."""
        if scope["type"] == "lifespan":
            await self._own(scope, receive, send)
        elif is_asset_path(context_of(scope).raw_path):
            await self._assets(scope, receive, send)
        elif scope["type"] == "websocket" or is_session_path(context_of(scope).raw_path):
            await self._proxy(scope, receive, send)
        elif context_of(scope).raw_path == _FRONT_DOOR:
            await self._front(scope, receive, send)
        else:
            await self._own(scope, receive, send)


def build_routes(desk: Desk, proxy: SessionProxy[LiveSession]) -> FastAPI:
    """Turn the table into an app; FastAPI's own pages, which need a CDN, stay off."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = asyncio.Event()
        watching = asyncio.create_task(keep_watch(desk, stop))
        yield
        stop.set()
        await watching
        desk.bell.close()
        await desk.census.close()
        await desk.work.close()
        await proxy.aclose()

    app = FastAPI(
        title=f"{desk.course}: hub",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        exception_handlers={
            MograderError: _tell_problem,
            HTTPException: _tell_http,
            RequestValidationError: _tell_invalid,
            Exception: _tell_bug,
        },
    )
    app.router.routes.extend(_installed())
    return app


@cache
def _installed() -> tuple[BaseRoute, ...]:
    """Return the table's routes, which are the same for every hub of a process."""
    router = APIRouter()
    for door in ROUTES:
        _install(router, door)
    return tuple(router.routes)


def _install(router: APIRouter, door: Door) -> None:
    statuses = door.problems if door.access is Access.ANYONE else {403, *door.problems}
    router.add_api_route(
        door.path,
        door.handler,
        methods=[door.method],
        dependencies=[Depends(GUARDS[door.access])],
        response_model=door.answer,
        response_class=JSONResponse if door.answer else FileResponse,
        responses={status: {"model": models.Problem} for status in sorted(statuses)},
        summary=summary_of(door.handler),
        description="",
        tags=[door.chapter] if door.chapter else None,
        include_in_schema=bool(door.chapter),
        openapi_extra=dict(door.extra) or None,
    )


async def _tell_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, MograderError)
    return await answer_problem(request, error)


async def _tell_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if wanted(request) is not Wants.PAGE:
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    message = "There is nothing at this address." if error.status_code == 404 else error.detail
    return problem_page(request, error.status_code, message)


async def _tell_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return await answer_problem(request, InvalidInput(f"{place}: {first['msg']}"))


async def _tell_bug(request: Request, error: Exception) -> Response:
    reference = context(request).request_id
    if wanted(request) is Wants.PAGE:
        return problem_page(request, 500, "The hub ran into a mistake of its own.")
    return JSONResponse({"detail": f"Something broke. Reference: {reference}"}, 500)

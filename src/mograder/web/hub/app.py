"""The hub's web application: the dispatcher and middleware around the route table.

Session traffic goes to the proxy, everything else through ``AppMiddleware`` to the table
(``web.hub.routes``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, FastAPI
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from mograder.auth.identity import is_trusted
from mograder.core.log import get_logger
from mograder.core.session_url import session_url
from mograder.core.tasks.periodic import Loop, keep_running
from mograder.sandbox.environments.static_assets import ASSETS
from mograder.sessions.copy_timeline import CopyTimelines
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import SessionKey
from mograder.sessions.student_copies import Copies
from mograder.store.client_wheel import ClientWheels
from mograder.store.copies.copy_facts import CopyListing
from mograder.store.hub.validation_results import KeptResults
from mograder.store.releases.visibility import VisibilityRules
from mograder.store.releases.warm_times import WarmTimes
from mograder.store.submissions.submissions import Submissions
from mograder.store.versions.version_thinning import Thinning
from mograder.web.app import AppMiddleware
from mograder.web.background import Work
from mograder.web.context import ContextMiddleware, context_of
from mograder.web.fastapi_app import bare_api
from mograder.web.hub.core.access import GUARDS, admit
from mograder.web.hub.core.audit import AuditTrail
from mograder.web.hub.core.copy_counts import CopyCounts
from mograder.web.hub.core.course_numbers import CourseNumbers
from mograder.web.hub.core.hub_app import HubApp
from mograder.web.hub.core.hub_marking import hub_marking
from mograder.web.hub.core.login_throttle import LoginThrottle
from mograder.web.hub.core.metrics import Metrics
from mograder.web.hub.core.notifier import Notifier, Part
from mograder.web.hub.core.responses import answer_problem
from mograder.web.hub.core.services import Services
from mograder.web.hub.core.validation_results import ValidationResults
from mograder.web.hub.external_systems import (
    lti_service,
    machines_in,
    oidc_of,
    optional_routes,
    post_of,
)
from mograder.web.hub.handlers.roster_watch import keep_watch
from mograder.web.hub.mail.events import find_events
from mograder.web.hub.proxy.frame_page import FramePages
from mograder.web.hub.proxy.paths import is_session_path
from mograder.web.hub.proxy.session_origins import SessionOrigins
from mograder.web.hub.proxy.session_proxy import SessionProxy
from mograder.web.hub.proxy.static_assets import AssetServer, is_asset_path
from mograder.web.hub.routes import ROUTES
from mograder.web.hub.support.board.class_board import open_class_board
from mograder.web.hub.support.hub_updates import open_updates
from mograder.web.hub.support.openapi import PROBLEMS
from mograder.web.hub.support.rehearsals import Rehearsals
from mograder.web.hub.support.version_upkeep import VersionUpkeep
from mograder.web.hub.support.warming import Warming
from mograder.web.hub.today.pages import count_numbers
from mograder.web.marking.gradebook import SharedGradebook
from mograder.web.route import Route
from mograder.web.templating import load_pages

if TYPE_CHECKING:  # nodes are imported only where there are some
    from mograder.web.hub.core.node_door import NodeDoor

_OLD_QUESTION = b"/_front/session"
"""The question of an nginx with an earlier release's configuration; 403: let the hub answer."""
_OLD_FRONT = (
    "nginx's configuration is of an earlier release, and asks the hub about each request of a "
    "session's page, which it need not. Write it again: mograder hub proxy-config nginx"
)
_log = get_logger(__name__)


def create_app(
    services: Services, metrics: Metrics | None = None, notifier: Notifier | None = None
) -> ASGIApp:
    """Build the hub: context middleware, then the session proxy or the route table."""
    metrics, notifier = metrics or Metrics(services.pool), notifier or Notifier()
    hub = services.loaded.settings.hub
    book = SharedGradebook(services.loaded)
    app = _make_hub_app(services, metrics, notifier, book)
    if app.machines is not None:
        metrics.machines = app.machines.all
    metrics.recording = services.recorder.tally
    services.pool.on_change = partial(_session_changed, app)
    app.numbers.count = partial(count_numbers, app)
    services.grading.jobs.on_change = lambda _: _graded(app)
    url = session_url(hub.session_url, hub.public_url)
    proxy = SessionProxy(
        services,
        metrics.traffic,
        FramePages(
            app.pages, app.title, hub.collect, services.sandboxed, url, app.board.checks.title
        ),
        on_save=lambda user: notifier.notify(user, Part.COPIES),
        on_visit=app.audit.visited,
        works_with=app.board.desk.works_with,
    )
    own = AppMiddleware(build_routes(app, proxy, book), app, admit)
    assets = AssetServer(services.loaded.path(hub.environments_dir) / ASSETS)
    trusts = partial(is_trusted, services.policy)
    origins = SessionOrigins(url, proxy) if url else None
    door = services.nodes.door if services.nodes is not None else None
    return ContextMiddleware(
        Dispatcher(proxy, assets, own, origins, door),
        base_url=hub.base_url,
        public_url=hub.public_url,
        sessions=url,
        trusts=trusts,
    )


def _make_hub_app(
    services: Services, metrics: Metrics, notifier: Notifier, book: SharedGradebook
) -> HubApp:
    hub = services.loaded.settings.hub
    release_dir = services.loaded.path(hub.release_dir)
    reserve = services.loaded.settings.limits.disk_reserve
    pages = load_pages()
    listing = CopyListing(services.loaded.path(hub.notebooks_dir))
    copies = Copies(
        services.pool, services.workspaces, services.recorder, services.clock, reserve=reserve
    )
    results = ValidationResults(KeptResults(services.state.engine))
    results.load()
    marking = hub_marking(services, book)
    visibility = VisibilityRules(release_dir / ".visibility.json", opens=marking.dates.openings)
    return HubApp(
        services=services,
        pages=pages,
        work=Work(),
        audit=AuditTrail(services.state, services.clock),
        login_throttle=LoginThrottle(services.clock),
        visibility=visibility,
        metrics=metrics,
        copies=copies,
        timelines=CopyTimelines(copies, services.recorder, services.clock),
        submissions=Submissions(
            services.loaded.path(services.loaded.settings.dirs.submitted),
            records=services.loaded.state_dir / "receipts",
        ),
        listing=listing,
        results=results,
        notifier=notifier,
        copy_counts=CopyCounts(listing, services.clock),
        numbers=CourseNumbers(services.clock),
        marking=marking,
        board=open_class_board(services, notifier, pages),
        client_wheels=ClientWheels(services.loaded.course_dir),
        updates=open_updates(services, listing, notifier),
        rehearsals=Rehearsals(services),
        warming=Warming(services, visibility, WarmTimes(release_dir / ".warm.json")),
        oidc=oidc_of(services),
        lti=lti_service(services),
        machines=machines_in(services),
        post=post_of(services),
    )


class Dispatcher:
    """Sends session paths to the proxy, marimo's static files to ``assets``, the rest to ``own``.

    ``origins`` answers the hosts of sessions, where of the hub's paths only marimo's static files
    exist. ``door`` takes the connections of nodes.
    """

    def __init__(
        self,
        proxy: ASGIApp,
        assets: ASGIApp,
        own: ASGIApp,
        origins: SessionOrigins | None = None,
        door: NodeDoor | None = None,
    ) -> None:
        self._proxy = proxy
        self._assets = assets
        self._own = own
        self._origins = origins
        self._door = door
        self._old_front_told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; the hub itself has no WebSockets."""
        if scope["type"] == "lifespan":
            await self._own(scope, receive, send)
        elif is_asset_path(context_of(scope).raw_path):
            await self._assets(scope, receive, send)
        elif self._origins is not None and self._origins.serves(scope):
            await self._origins(scope, receive, send)
        elif scope["type"] == "websocket" or is_session_path(context_of(scope).raw_path):
            await self._proxy(scope, receive, send)
        elif self._door is not None and self._door.serves(context_of(scope).raw_path):
            await self._door(scope, receive, send)
        elif context_of(scope).raw_path == _OLD_QUESTION:
            if not self._old_front_told:
                self._old_front_told = True
                _log.warning(_OLD_FRONT)
            await Response(status_code=403)(scope, receive, send)
        else:
            await self._own(scope, receive, send)


def build_routes(app: HubApp, proxy: SessionProxy, book: SharedGradebook) -> FastAPI:
    """Build the app from the table."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop, state = asyncio.Event(), app.services.state
        upkeep = VersionUpkeep(Thinning(state.engine), app.services.clock)
        loops: dict[str, Loop] = {
            "the list of users": partial(keep_watch, app),
            **app.board.loops(),
            "rehearsals": app.rehearsals.keep_clear,
            "old versions": upkeep.keep_on,
            "kept releases": app.updates.keep_releases,
            "warm environments": app.warming.keep_warm,
        }
        if app.machines is not None:
            users_on = partial(_users_on, app.services.pool)
            loops["machines"] = partial(app.machines.keep_looking, app.notifier, users_on)
        if app.post is not None:
            loops["letters"] = partial(
                app.post.keep_sending,
                app.services.clock,
                partial(find_events, app, app.post.home),
            )
        async with AsyncExitStack() as closing:  # each is closed, whatever another one raises
            closing.push_async_callback(proxy.aclose)
            closing.push_async_callback(asyncio.to_thread, book.close)
            for opened in (app.audit, app.updates, app.work, app.copy_counts, app.numbers):
                closing.push_async_callback(opened.close)
            closing.callback(app.notifier.close)
            closing.push_async_callback(app.services.grading.jobs.close)
            if app.lti is not None:  # before the watch, which asks it who may stay
                closing.push_async_callback(app.lti.close)
                await app.lti.open()
            tasks = [
                asyncio.create_task(keep_running(name, loop, stop)) for name, loop in loops.items()
            ]
            closing.push_async_callback(asyncio.wait, tasks)
            closing.callback(app.board.close)
            closing.callback(stop.set)
            await app.services.grading.jobs.open()
            yield

    api = bare_api(f"{app.title}: hub", lifespan, answer_problem)
    api.router.routes.extend(_installed(ROUTES))
    api.router.routes.extend(_installed(optional_routes(app)))
    return api


def _graded(app: HubApp) -> None:
    app.numbers.note()
    app.notifier.notify_instructors(Part.MARKS)


def _session_changed(app: HubApp, key: SessionKey) -> None:
    app.notifier.notify(key.user, Part.SESSIONS)
    app.board.session_changed(key)


def _users_on(pool: SessionManager, node: str) -> list[str]:
    """Return the users who have a session on a node."""
    return [live.key.user for live in pool.all() if live.endpoint.node == node]


@cache
def _installed(table: tuple[Route, ...]) -> tuple[BaseRoute, ...]:
    """Return a table's routes; they are the same for every hub in a process."""
    router = APIRouter()
    for route in table:
        _install(router, route)
    return tuple(router.routes)


def _install(router: APIRouter, route: Route) -> None:
    answer = route.answer if route.chapter else None
    router.add_api_route(
        route.path,
        route.handler,
        methods=[route.method],
        status_code=route.status,
        dependencies=[Depends(GUARDS[route.access])],
        response_model=answer,
        response_class=JSONResponse if answer else FileResponse,
        responses=PROBLEMS,
        summary=route.summary,
        description="",
        tags=[route.chapter] if route.chapter else None,
        include_in_schema=bool(route.chapter),
        openapi_extra=dict(route.body) or None,
    )

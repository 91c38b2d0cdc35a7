"""The hub's web application: the core, a tuple of features, and the middleware around their routes.

Session traffic goes to the proxy, everything else through ``AppMiddleware`` to the routes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mograder.auth.credentials import Role
from mograder.auth.csrf import check_unsafe, loaded_by_other_site
from mograder.auth.identity import Authenticator, AuthPolicy, Identity, Method
from mograder.core.context_managers import under_way
from mograder.core.errors import MograderError
from mograder.core.web_origin import session_url
from mograder.grading.marking.shown_work import Works
from mograder.hub.checks import ValidationResults
from mograder.hub.counts import CourseNumbers, copy_counts
from mograder.hub.help_desk import HelpDesk
from mograder.hub.items import ItemChecks, Items
from mograder.hub.notifier import Notifier, Part
from mograder.hub.services import Services
from mograder.sandbox.environments.static_assets import ASSETS
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from mograder.sessions.student_copies import Copies
from mograder.store.external.external_tables import has_platforms
from mograder.store.hub.board import Board, HelpRow, KeptResults
from mograder.store.submissions.submissions import Submissions
from mograder.web.app import SAFE_METHODS, AppMiddleware, Header
from mograder.web.background import Work
from mograder.web.context import ContextMiddleware, context_of, request_context
from mograder.web.error_responses import TooManyAttempts, Wants, wanted
from mograder.web.hub import (
    audit_log,
    calendar,
    client_page,
    events,
    gradebook,
    home,
    machines,
    mail,
    people,
    problems,
    rehearsal,
    released_marks,
    service,
    sessions,
    today,
)
from mograder.web.hub.board import board
from mograder.web.hub.copies import (
    copies,
    copy_pages,
    hand_in,
    submissions,
    updates,
    validation,
    versions,
)
from mograder.web.hub.core.access import (
    GUARDS,
    IDENTITY,
    TURN,
    identify,
    login_headers,
    part,
)
from mograder.web.hub.core.audit import BY_FRONT, AuditTrail, Event
from mograder.web.hub.core.hub_app import Feature, HubApp, Run
from mograder.web.hub.core.metrics import Metrics
from mograder.web.hub.core.responses import answer_problem
from mograder.web.hub.items import dates, grading, item_pages, items, publishing, warming
from mograder.web.hub.proxy.paths import SESSION_PATHS
from mograder.web.hub.proxy.replies import FramePages
from mograder.web.hub.proxy.session_origins import SessionOrigins
from mograder.web.hub.proxy.session_proxy import SessionProxy
from mograder.web.hub.proxy.static_assets import AssetServer, is_asset_path
from mograder.web.hub.service import PROBLEMS
from mograder.web.hub.signin import signin
from mograder.web.marking.context import MarkingApp, SharedGradebook, make_marking
from mograder.web.marking.routes import MARKING_ROUTES
from mograder.web.pages import APP, load_pages
from mograder.web.request_body import Uploads
from mograder.web.route import Route, bare_api

if TYPE_CHECKING:  # nodes are imported only where there are some
    from mograder.web.hub.core.node_door import NodeDoor

REQUESTS_AT_ONCE = 8
"""A browser opens six connections to a server of HTTP/1.1; the hub has 40 threads for everybody."""

MOST_WAITING = 200
"""Most requests of a student that wait: over HTTP/2 a browser with many tabs sends some dozens."""

_POSTS_OF_OTHERS = frozenset({b"/lti/login", b"/lti/launch", b"/auth/oidc/backchannel-logout"})
"""The routes that platforms' pages and providers post to; what they send is signed."""

FEATURES: tuple[Feature, ...] = (
    Feature((*home.ROUTES, *calendar.ROUTES)),
    Feature((*copies.ROUTES, *validation.ROUTES, *hand_in.ROUTES, *submissions.ROUTES)),
    Feature(copy_pages.ROUTES, copy_pages.open_copy_pages),
    Feature(versions.ROUTES, versions.open_versions),
    Feature(updates.ROUTES, updates.open_updates),
    Feature(sessions.ROUTES),
    Feature((*items.ROUTES, *item_pages.ROUTES, *publishing.ROUTES)),
    Feature(grading.ROUTES, grading.open_grading),
    Feature(warming.ROUTES, warming.open_warming),
    Feature(dates.ROUTES),
    Feature(people.ROUTES, people.open_watch),
    Feature(client_page.ROUTES, client_page.open_client),
    Feature(gradebook.ROUTES),
    Feature((*today.ROUTES, *problems.ROUTES, *audit_log.ROUTES), today.open_numbers),
    Feature(board.ROUTES, board.open_board),
    Feature(MARKING_ROUTES),
    Feature(released_marks.ROUTES),
    Feature(rehearsal.ROUTES, rehearsal.open_rehearsals),
    Feature(signin.ROUTES, signin.open_signin),
    Feature((*service.ROUTES, *events.ROUTES)),
)

ROUTES: tuple[Route, ...] = tuple(route for feature in FEATURES for route in feature.routes)


def _oidc() -> Feature:
    from mograder.web.hub.signin import oidc  # noqa: PLC0415 - see OPTIONAL

    return Feature(oidc.ROUTES, oidc.open_oidc)


def _lti() -> Feature:
    from mograder.web.hub.lti import launch, register, sent_marks  # noqa: PLC0415

    rows = (*launch.ROUTES, *register.ROUTES, *sent_marks.ROUTES)
    return Feature(rows, launch.open_lti)


def _external_people() -> Feature:
    from mograder.web.hub.signin import external_signin  # noqa: PLC0415 - see OPTIONAL

    return Feature(external_signin.ROUTES)


OPTIONAL: Mapping[str, Callable[[], Feature]] = MappingProxyType(
    {
        "oidc": _oidc,
        "lti": _lti,
        "oidc or lti": _external_people,
        "nodes": lambda: Feature(machines.ROUTES, machines.open_machines),
        "mail": lambda: Feature((), mail.open_mail),
    }
)
"""Each feature that a hub has only with a system, by what it needs.

OpenID Connect and LTI need libraries that a hub without them does not load.
"""


def _features_of(services: Services) -> tuple[Feature, ...]:
    """Return the features of a hub; those of learning platforms decide who is let in, so first."""
    settings, oidc = services.loaded.settings, bool(services.loaded.settings.oidc.issuer)
    known = has_platforms(services.state.engine, services.clock.now())
    lti = bool(settings.lti.platform) or known
    has = {"oidc": oidc, "lti": lti, "oidc or lti": oidc or lti}
    has |= {"nodes": settings.nodes.enabled, "mail": bool(settings.mail.host)}
    return (*(make() for needed, make in OPTIONAL.items() if has[needed]), *FEATURES)


def create_app(services: Services, notifier: Notifier | None = None) -> ASGIApp:
    """Build the hub. Raises: InvalidInput for settings with which a feature cannot work."""
    settings = services.loaded.settings.hub
    book = SharedGradebook(services.loaded)
    hub = make_core(services, notifier or Notifier(), book)
    features = _features_of(services)
    opened = [feature.open(hub) for feature in features if feature.open is not None]

    def session_changed(key: SessionKey) -> None:
        hub.notifier.notify(key.user, Part.SESSIONS)
        if key.mode is Mode.EDIT:
            hub.notifier.notify_boards(key.item)

    services.pool.on_change = session_changed
    url = session_url(settings.session_url, settings.public_url)
    proxy = SessionProxy(
        services,
        hub.metrics.traffic,
        FramePages(
            hub.pages, hub.title, settings.collect, services.sandboxed, url, hub.checks.title
        ),
        on_save=lambda user: hub.notifier.notify(user, Part.COPIES),
        on_visit=hub.audit.visited,
        works_with=hub.desk.works_with,
    )
    api = bare_api(f"{hub.title}: hub", _lifespan(hub, opened, proxy, book), answer_problem)
    for feature in features:
        api.router.routes.extend(_installed(feature.routes))
    own = AppMiddleware(PersonalTurns(api), hub, admit)
    assets = AssetServer(services.loaded.path(settings.environments_dir) / ASSETS)
    origins = SessionOrigins(url, proxy) if url else None
    return ContextMiddleware(
        Dispatcher(proxy, assets, own, origins, _door(services)),
        base_url=settings.base_url,
        public_url=settings.public_url,
        sessions=url,
        trusts=services.policy.trusts,
    )


def _door(services: Services) -> NodeDoor | None:
    if services.nodes is None:
        return None
    from mograder.web.hub.core.node_door import NodeDoor  # noqa: PLC0415 - see OPTIONAL

    return NodeDoor(services.nodes.nodes, services.clock, services.nodes.links)


def make_core(services: Services, notifier: Notifier, book: SharedGradebook) -> HubApp:
    loaded, clock, engine = services.loaded, services.clock, services.state.engine
    settings = loaded.settings
    reserve = settings.limits.disk_reserve
    results = ValidationResults(KeptResults(engine))
    results.load()
    marking = _marking(services, book, notifier)
    audit, work, checks = AuditTrail(services.state, clock), Work(), ItemChecks(services.releases)
    numbers = CourseNumbers(clock)
    desk = _desk(services, notifier)
    published = Items(
        services.releases,
        services.workspaces,
        marking.visibility,
        clock,
        running=lambda user: {
            (each.key.item, each.key.mode) for each in services.pool.all() if each.key.user == user
        },
        taken=services.recorder.look,
        came_from=services.recorder.versions.release_of,
        known_files=services.recorder.known_files,
    )
    hub = HubApp(
        services=services,
        items=published,
        pages=load_pages(),
        work=work,
        audit=audit,
        visibility=marking.visibility,
        metrics=Metrics(services.pool, services.recorder.tally),
        copies=Copies(
            services.pool, services.workspaces, services.recorder, clock, reserve=reserve
        ),
        submissions=Submissions(
            loaded.path(settings.dirs.submitted), records=loaded.state_dir / "receipts"
        ),
        results=results,
        notifier=notifier,
        copy_counts=copy_counts(services.workspaces, clock),
        numbers=numbers,
        marking=marking,
        desk=desk,
        checks=checks,
    )
    own = (services.loaded, services.authenticator, services.policy, services.roster)
    for each in (hub, *own, published, audit, work, notifier, numbers, desk, Uploads()):
        hub.add(each)
    return hub


def _desk(services: Services, notifier: Notifier) -> HelpDesk:
    def users_of(item: str) -> frozenset[str]:
        return frozenset(each.key.user for each in services.pool.all() if each.key.item == item)

    def end_help(request: HelpRow) -> None:
        live = services.pool.find(SessionKey(request.username, request.item, Mode.EDIT))
        # An instructor who tries this alone is student and helper in one: that session stays.
        if live is not None and request.helper != request.username:
            services.capabilities.forget_visitor(live.id, request.helper)

    board = Board(services.state.engine)
    return HelpDesk(board, services.clock, notifier, users_of, end_help)


def _marking(services: Services, book: SharedGradebook, notifier: Notifier) -> MarkingApp:
    """Return the parts of the hub for marking: the course's gradebook, sources and audit log."""
    marking = make_marking(
        services.loaded,
        services.clock,
        services.grading.key,
        book=book,
        sources=services.grading.sources,
        record=_record,
        works=Works(),
    )

    def tell(students: Sequence[str]) -> None:
        """Notify the pages of students whose marks changed, or all pages where these are many."""
        if len(students) == 1:
            notifier.notify(students[0], Part.MARKS)
        elif students:
            notifier.notify_all()

    return replace(marking, tell=tell)


async def _record(request: Request, action: str, *what: str) -> None:
    hub: HubApp = request.scope[APP]
    hub.numbers.note()
    await hub.audit.record(request, action, *what)
    for told in hub.on_marks:
        told()


async def admit(request: Request, headers: list[Header]) -> Response | None:
    """Identify the caller; refuse a changing request that another site made a browser send.

    What another site's page loads has no identity but a bearer's: a front that signs people in adds
    theirs to all that their browser sends, and a hostile notebook could end their live pages, have
    work done or write into the audit log in their name.

    The cookie of a login that is new with this request is added to ``headers``. The posts that
    other systems send have no identity, so there is nothing that another site could misuse.
    """
    context = request_context(request)
    if request.method not in SAFE_METHODS and context.raw_path in _POSTS_OF_OTHERS:
        return None
    try:
        identity = identify(request.scope, part(request, Authenticator))
        # No browser adds a bearer token by itself, so no other site can have caused its request.
        by_browser = identity is None or identity.method is not Method.BEARER
        if by_browser and loaded_by_other_site(request.scope["headers"]):
            identity = None
        request.scope[IDENTITY] = identity
        headers += login_headers(identity, context, part(request, AuthPolicy).secret)
        is_instructor = identity is not None and identity.role is Role.INSTRUCTOR
        if is_instructor and request.method == "GET" and wanted(request) is Wants.PAGE:
            await part(request, CourseNumbers).look()
        if by_browser and request.method not in SAFE_METHODS:
            check_unsafe(request.scope["headers"], context.own_origins)
        if identity is not None and identity.front and identity.fresh is not None:
            event = Event(identity.username, "sign in", BY_FRONT, context.address)
            await part(request, AuditTrail).signed_in(event)
    except MograderError as error:
        return await answer_problem(request, error)
    return None


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._own(scope, receive, send)
            return
        path = context_of(scope).raw_path
        of_session = path.startswith(SESSION_PATHS)
        if of_session and is_asset_path(path):
            await self._assets(scope, receive, send)
        elif self._origins is not None and self._origins.serves(scope):
            await self._origins(scope, receive, send)
        elif of_session or scope["type"] == "websocket":
            await self._proxy(scope, receive, send)
        elif self._door is not None and self._door.serves(path):
            await self._door(scope, receive, send)
        else:
            await self._own(scope, receive, send)


class PersonalTurns:
    """Runs at most ``REQUESTS_AT_ONCE`` requests of a student until their responses begin.

    A request whose job goes on after that keeps its turn until the job ends (``deliver``). More
    wait in the order of their arrival, up to ``MOST_WAITING``. Otherwise the slow requests of one
    student could hold all threads of the hub, which other people's saves need, or its memory. An
    instructor's programs may send many at once. Mutable state: ``_turns`` and ``_waiting``, by the
    student; for one event loop.
    """

    def __init__(self, routes: ASGIApp) -> None:
        self._routes = routes
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._waiting: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        identity: Identity | None = scope.get(IDENTITY)
        if identity is None or identity.role is not Role.STUDENT:
            await self._routes(scope, receive, send)
            return
        user = identity.username
        if self._waiting[user] >= MOST_WAITING:
            waiting = f"{MOST_WAITING} requests of yours are waiting already."
            error = TooManyAttempts(waiting, hint="Wait for them, then try again.")
            refusal = await answer_problem(Request(scope, receive), error)
            await refusal(scope, receive, send)
            return
        own = self._turns.setdefault(user, asyncio.Semaphore(REQUESTS_AT_ONCE))
        with under_way(self._waiting, user) if own.locked() else nullcontext():
            await own.acquire()
        with ExitStack() as turn:
            turn.callback(own.release)
            scope[TURN] = turn

            async def begin(message: Message) -> None:
                turn.close()  # event streams and downloads take no thread of the hub's
                await send(message)

            await self._routes(scope, receive, begin)


def _lifespan(
    hub: HubApp,
    opened: Sequence[Run | None],
    proxy: SessionProxy,
    book: SharedGradebook,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:  # each is closed, whatever another one raises
            closing.push_async_callback(proxy.aclose)
            closing.push_async_callback(asyncio.to_thread, book.close)
            for part in (hub.audit, hub.copy_counts, hub.numbers):
                closing.push_async_callback(part.close)
            closing.callback(hub.notifier.close)
            for run in filter(None, opened):
                await closing.enter_async_context(run())
            closing.push_async_callback(hub.work.close)  # first: jobs use what features keep
            yield

    return lifespan


def install_routes() -> None:
    """Make the routes of every hub beforehand: that takes most of the time of a takeover."""
    for feature in FEATURES:
        _installed(feature.routes)


@cache
def _installed(table: tuple[Route, ...]) -> tuple[BaseRoute, ...]:
    """Return a table's routes; they are the same for every hub in a process."""
    router = APIRouter()
    for route in table:
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
    return tuple(router.routes)

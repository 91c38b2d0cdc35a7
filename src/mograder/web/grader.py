"""The grader: the pages of marking for a course on one's own machine, or behind a proxy.

On one's own machine a one-time link lets a browser in, behind a proxy the proxy's header. The
rules for the header are those of 0.3.16's ``grader-asgi`` (compatibility-0.3.16.md 5), except that
nothing that came through a proxy without a trusted name is taken for local use.

An instructor can look at the pages as a marker, by 0.3.16's address and cookie. The cookie only
takes rights away, so a marker or a student who sets it gains nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from mograder.auth.credentials import Role
from mograder.auth.identity import Network, is_within, named_user, parse_networks
from mograder.core.clock import SystemClock
from mograder.core.errors import Forbidden, InvalidInput, MograderError, NotFound
from mograder.core.item_dates import course_zone
from mograder.core.log import configure_logging, get_logger
from mograder.core.names import Username
from mograder.core.settings import LoadedSettings
from mograder.grading.marking.shown_work import Works
from mograder.grading.submissions.grading_result import grading_key
from mograder.notebook.title import title_of
from mograder.store.course.course import read_notebook
from mograder.store.course.sources import open_sources
from mograder.web.app import AppMiddleware, Header
from mograder.web.browser_access import HEADERS, BrowserAccess, refuse_other_site
from mograder.web.context import ContextMiddleware, request_context
from mograder.web.error_responses import Wants, problem_json, status_of, wanted
from mograder.web.marking.context import (
    CurrentMarker,
    CurrentMarking,
    MarkingApp,
    SharedGradebook,
    check_instructor,
    check_marker,
    enter_marking,
    make_marking,
    marker_of,
)
from mograder.web.marking.routes import MARKING_ROUTES
from mograder.web.open_browser import open_page
from mograder.web.pages import APP, Pages, Viewer, go_to, load_pages, problem_page, static_file
from mograder.web.route import Access as Demanded
from mograder.web.route import bare_api
from mograder.web.serving import LOOPBACK, Server, bind, bind_local, configuration, until_signalled

_log = get_logger("mograder.grader")
_COOKIE = "mograder_view_as"
_SECONDS = 8 * 3600
_REAL_ROLE = "mograder.real_role"
_USER = b"x-remote-user"
_BY_PROXY = ("x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip")
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_OPEN = ("/health", "/static/")
_COMMAND = "mograder grader"
_GRACE_SECONDS = 3

_EVERYBODY = (
    "Neither instructors nor markers are named: each user that a proxy names is an instructor. "
    "Name them with --instructors and --markers."
)


@dataclass(frozen=True, slots=True)
class GraderApp:
    title: str
    pages: Pages
    marking: MarkingApp
    book: SharedGradebook
    access: Access
    program: ClassVar[str] = "grader"

    def page_values(self, request: Request) -> dict[str, object]:
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
            "switched": marker is not None and marker.role is not request.scope[_REAL_ROLE],
            "item_title": self._title,
            "zone": course_zone(self.marking.loaded.settings),
        }

    def _title(self, item: str) -> str:
        source = self.marking.source(item)
        title = "" if source is None else _title_of(source, source.stat().st_mtime_ns)
        return "" if title == item else title


def serve_grader(
    loaded: LoadedSettings, *, port: int | None, headless: bool, base_url: str
) -> None:
    """Serve the person at this machine until SIGTERM or Ctrl-C; None is the first free port."""
    _start_log(loaded, "warning")
    asyncio.run(_serve_local(loaded, port, base_url, headless=headless))


def serve_proxied_grader(
    loaded: LoadedSettings, rules: ProxyRules, *, host: str, port: int, base_url: str
) -> None:
    """Serve the users of a proxy until SIGTERM or Ctrl-C; raises as :func:`serve_grader`."""
    _start_log(loaded, "info")
    if not rules.instructors and not rules.markers:
        _log.warning(_EVERYBODY)
    asyncio.run(_serve_proxied(loaded, rules, host, port, base_url))


def open_grader(loaded: LoadedSettings, access: Access) -> GraderApp:
    """Create the services of a grader; blocks.

    Raises: InvalidInput if the secret of the course's signatures cannot be read or written.
    """
    clock, book = SystemClock(), SharedGradebook(loaded)
    sources = open_sources(loaded, clock)
    key = grading_key(loaded)
    marking = make_marking(
        loaded, clock, key, book=book, sources=sources, record=_record, works=Works()
    )
    title = loaded.settings.title or loaded.course_dir.name
    return GraderApp(title, load_pages(), marking, book, access)


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

    api = bare_api(f"{app.title}: grader", lifespan, _answer_problem)
    api.router.routes.extend(_routes().routes)
    own = AppMiddleware(api, app, app.access.admit, HEADERS)
    return ContextMiddleware(own, base_url=base_url, trusts=trusts)


async def _serve_local(
    loaded: LoadedSettings, wanted_port: int | None, base_url: str, *, headless: bool
) -> None:
    with contextlib.closing(bind_local(wanted_port)) as listener:
        port = int(listener.getsockname()[1])
        url = f"http://{LOOPBACK}:{port}{base_url}"
        any_host = bool(base_url)
        browser = BrowserAccess(port, SystemClock(), command=_COMMAND, any_host=any_host)
        app = open_grader(loaded, LocalAccess(browser, _local_user()))
        link = browser.new_link()
        browser.tell = lambda link: _say(f"For another browser, once: {url}{link}")
        server = _server(app, base_url)
        _say(f"Marking {app.title}, in {loaded.course_dir}")
        _say(f"  {url}{link}")
        _say("  The link works once, for one browser; then a new one is shown here.")
        _say("Press Ctrl+C to stop.")
        with until_signalled(server):
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            if not headless:
                await asyncio.to_thread(open_page, f"{url}{link}")
            await serving


async def _serve_proxied(
    loaded: LoadedSettings, rules: ProxyRules, host: str, port: int, base_url: str
) -> None:
    with contextlib.closing(bind(host, port)) as listener:
        app = open_grader(loaded, ProxyAccess(rules, _local_user()))
        server = _server(app, base_url, rules.trusts)
        _say(f"Launching ASGI grader for: {loaded.course_dir}")
        _say(f"  base-url: {base_url or '/'}")
        _say(f"  bind: {host}:{listener.getsockname()[1]}")
        with until_signalled(server):
            await server.serve(sockets=[listener])


def _server(
    app: GraderApp, base_url: str, trusts: Callable[[str | None], bool] = lambda _: False
) -> Server:
    asgi = create_app(app, base_url=base_url, trusts=trusts)
    return Server(configuration(asgi, grace_seconds=_GRACE_SECONDS, lifespan="on", ws="none"))


def _start_log(loaded: LoadedSettings, level: str) -> None:
    configure_logging(level=level)
    for warning in loaded.warnings:
        _log.warning("%s", warning)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@lru_cache(maxsize=256)
def _title_of(notebook: Path, changed: int) -> str:
    """Return a source's title; ``changed`` is when it was, in nanoseconds."""
    try:
        return title_of(read_notebook(notebook))
    except MograderError:
        return ""


async def _record(request: Request, action: str, *what: str) -> None:
    """Write an action into the program's log: the grader has no audit log."""
    marker = marker_of(request)
    _log.info("%s: %s: %s", marker.name if marker else "", action, ", ".join(what))


def _routes() -> APIRouter:
    router = APIRouter()
    router.add_api_route("/", _home, methods=["GET"])
    router.add_api_route("/health", _health, methods=["GET"])
    router.add_api_route("/static/{version}/{name}", _static, methods=["GET"])
    router.add_api_route("/open", _enter, methods=["GET"])
    router.add_api_route("/_view_as", _view_as, methods=["GET"], response_model=None)
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
    app: GraderApp = request.scope[APP]
    enter = app.access.enter
    if enter is None:
        raise NotFound("There is nothing at this address.")
    return enter(request)


async def _answer_problem(request: Request, error: MograderError) -> Response:
    if wanted(request) is Wants.PAGE:
        return problem_page(request, status_of(error), error.message, error.hint)
    return problem_json(error)


async def _view_as(request: Request) -> Response:
    """Switch an instructor to the view of a marker with ``?role=marker``, and back without it."""
    if request.scope.get(_REAL_ROLE) is not Role.INSTRUCTOR:
        raise Forbidden("Instructors only")
    role = request.query_params.get("role", "")
    if role not in ("", Role.MARKER):
        raise InvalidInput("One can only look as a marker.", hint="Ask for role=marker.")
    seconds = _SECONDS if role else 0
    # Without a path the cookie belongs to the directory of this address, with any path of a proxy.
    cookie = f"{_COOKIE}={role}; Max-Age={seconds}; HttpOnly; SameSite=Lax"
    return RedirectResponse("./", 303, headers={"Set-Cookie": cookie})


def _role_shown(request: Request, role: Role) -> Role:
    """Return the role that counts for a request; ``role`` is the person's own."""
    request.scope[_REAL_ROLE] = role
    if role is not Role.INSTRUCTOR:
        return role
    chosen = unquote(request.cookies.get(_COOKIE, "")).partition("|")[0].strip()
    return Role.MARKER if chosen == Role.MARKER else role


def _local_user() -> str:
    """Return the name of the person at this machine, for the marks that they give."""
    try:
        return Username.valid(getpass.getuser()) or "instructor"
    except (OSError, KeyError):  # a user without a name
        return "instructor"


class LocalAccess:
    """The person at this machine, in a browser that used the one-time link, is an instructor."""

    def __init__(self, browser: BrowserAccess, user: str) -> None:
        self._browser = browser
        self._user = user
        self.enter = browser.enter

    async def admit(self, request: Request, headers: list[Header]) -> Response | None:
        refusal = await self._browser.admit(request, headers)
        if refusal is None and self._browser.admits(request.scope):
            enter_marking(request, self._user, _role_shown(request, Role.INSTRUCTOR))
        return refusal


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """The rules of a grader behind a proxy.

    Without instructors and markers every user that a trusted proxy names is an instructor.
    ``local_proxy``: a proxy on this machine may name users.
    """

    instructors: frozenset[str]
    markers: frozenset[str]
    proxies: tuple[Network, ...]
    local_proxy: bool = False

    def trusts(self, client: str | None) -> bool:
        """Return whether a peer may name users and report their address."""
        if client is None:
            return False
        return is_within(client, self.proxies) or (self.local_proxy and _is_loopback(client))

    def role_of(self, user: str) -> Role:
        if user in self.instructors or not (self.instructors or self.markers):
            return Role.INSTRUCTOR
        if user in self.markers:
            return Role.MARKER
        raise Forbidden("You do not mark in this course.", hint="Ask an instructor to add you.")


def proxy_rules(
    instructors: Iterable[str],
    markers: Iterable[str],
    proxies: Iterable[str],
    *,
    local_proxy: bool,
) -> ProxyRules:
    try:
        peers = parse_networks(proxies)
    except InvalidInput as error:
        raise InvalidInput(error.message, hint="Correct --trusted-proxies.") from error
    return ProxyRules(
        frozenset(map(Username.claimed, instructors)),
        frozenset(map(Username.claimed, markers)),
        peers,
        local_proxy=local_proxy,
    )


class ProxyAccess:
    """Users that a trusted proxy names; a person at this machine without a proxy instructs.

    Where this machine's own address is a trusted proxy's, each request has to name its user.
    """

    enter = None

    def __init__(self, rules: ProxyRules, user: str) -> None:
        self._rules = rules
        self._user = user

    async def admit(self, request: Request, _: list[Header]) -> Response | None:
        try:
            name, role = self._person(request)
        except MograderError as error:
            if request_context(request).path.startswith(_OPEN):
                return None
            if wanted(request) is not Wants.PAGE and isinstance(error, Forbidden):
                return PlainTextResponse("403 Forbidden", 403)
            return await _answer_problem(request, error)
        enter_marking(request, name, _role_shown(request, role))
        return refuse_other_site(request)

    def _person(self, request: Request) -> tuple[str, Role]:
        named = named_user([value for name, value in request.scope["headers"] if name == _USER])
        context = request_context(request)
        client = context.client
        if named:
            if not self._rules.trusts(client):
                raise Forbidden(
                    "This address may not name a user.",
                    hint="Start the grader with --trusted-proxies or --trust-local-proxy.",
                )
            if not context.known_host:  # a page in a browser on the proxy's machine
                raise Forbidden(
                    "The grader has another name.",
                    hint="Open it by its proxy's address, or by localhost.",
                )
            user = Username.claimed(named)
            return user, self._rules.role_of(user)
        # A proxy on this machine that is trusted passes on requests of visitors without a name.
        if _is_loopback(client) and not self._rules.trusts(client) and _without_proxy(request):
            return self._user, Role.INSTRUCTOR
        raise Forbidden("Nobody is signed in.", hint="Open the grader through its proxy.")


Access = LocalAccess | ProxyAccess
"""Admits or refuses a request, and puts the person into it."""


def _without_proxy(request: Request) -> bool:
    """Whether a local request names this machine and went through no proxy.

    A page on the web that leads its own name to this machine (DNS rebinding) names another host.
    """
    host = request_context(request).host.lower()
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name in _LOCAL_NAMES and not any(each in request.headers for each in _BY_PROXY)


def _is_loopback(client: str | None) -> bool:
    try:
        address = ip_address(client or "")
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback

"""The assignment server's web application: its routes, access checks, error responses.

``web.context`` surrounds it: request ids, limits on headers, the access log. The routes are the
same as in docs/reference/https-api.md; the first part is 0.3.16's (compatibility-0.3.16.md 4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mograder.core.errors import InvalidInput, MograderError, NotAuthenticated, NotFound
from mograder.core.log import get_logger
from mograder.web.context import ContextMiddleware, context_of
from mograder.web.error_responses import headers_of, status_of
from mograder.web.server import assignments, browser_pages, grades, people, submissions
from mograder.web.server.access import Access, RequestInfo, admit, identify, read_query
from mograder.web.server.services import Services

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Expose-Headers": "ETag, Content-Range, Repr-Digest, Retry-After",
}
_REFRESH_SECONDS = 1.0
_CLOSED = "mograder.closed"
"""Scope key, set to True where only our own pages may read the response."""

_log = get_logger(__name__)

Handler = Callable[[RequestInfo], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Row:
    """One route; responses of ``open`` ones may be read by pages of any origin (CORS)."""

    method: str
    path: str
    handler: Handler
    access: Access
    open: bool = True


ROUTES: tuple[Row, ...] = (
    Row("GET", "/", assignments.health, Access.ANYONE),
    Row("POST", "/register", people.register, Access.ANYONE),
    Row("GET", "/assignments", assignments.list_all, Access.SIGNED_IN),
    Row("GET", "/assignments/{name}/files/{file}", assignments.send_file, Access.SIGNED_IN),
    Row("POST", "/assignments/{name}/submit", submissions.submit, Access.OWNER),
    Row("GET", "/assignments/{name}/status", submissions.status, Access.OWNER),
    Row("GET", "/assignments/{name}/submissions", submissions.list_all, Access.INSTRUCTOR),
    Row("GET", "/assignments/{name}/submissions/{file}", submissions.send, Access.INSTRUCTOR),
    Row("POST", "/assignments/{name}/grades", grades.upload_grades, Access.INSTRUCTOR),
    Row("POST", "/assignments/{name}/feedback", grades.upload_feedback, Access.INSTRUCTOR),
    Row("GET", "/assignments/{name}/feedback/{user}", grades.send_feedback, Access.OWNER, False),
    # Not in 0.3.16
    Row("GET", "/me", people.me, Access.SIGNED_IN),
    Row("POST", "/receipts/verify", submissions.verify_receipt, Access.ANYONE),
    Row("GET", "/people", people.list_all, Access.INSTRUCTOR),
    Row("POST", "/people/{person}/reset", people.reset, Access.INSTRUCTOR),
    Row("POST", "/people/{person}/revoke", people.revoke, Access.INSTRUCTOR),
    Row("GET", "/assignments/{name}/draft", submissions.read_draft, Access.SELF, False),
    Row("PUT", "/assignments/{name}/draft", submissions.replace_draft, Access.SELF, False),
    Row("GET", "/web", browser_pages.index, Access.ANYONE, False),
    Row("GET", "/web/items/{name}", browser_pages.page, Access.ANYONE, False),
    Row("GET", "/web/static/{version}/{file}", browser_pages.static_file, Access.ANYONE, False),
    Row("GET", "/web/files/{path:path}", browser_pages.send_file, Access.ANYONE),
    Row("GET", "/client", browser_pages.install_page, Access.ANYONE, False),
    Row("GET", "/client/{digest}/{file}", browser_pages.send_wheel, Access.ANYONE, False),
    Row("GET", "/client/static/{version}/{file}", browser_pages.send_static, Access.ANYONE, False),
)


class WrongMethod(InvalidInput):
    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__("Method not allowed")
        self.allowed = ", ".join(sorted({*allowed, "OPTIONS"}))


def create_app(services: Services) -> ASGIApp:
    return ContextMiddleware(AssignmentServerApp(services))


class AssignmentServerApp:
    """Passes each request to its route, and converts errors to responses."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._read_at = services.clock.steady()
        paths: dict[str, dict[str, Row]] = {}
        for row in ROUTES:
            paths.setdefault(row.path, {})[row.method] = row
        routes = [Route(path, _Resource(rows, self)) for path, rows in paths.items()]
        self._router = Router(routes, redirect_slashes=False, default=_no_route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # This server has no WebSockets; uvicorn handles the lifespan.
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        # The path is matched as it was sent, so that %2F does not split a name.
        path = "/" + context_of(scope).raw_path.decode("latin-1").strip("/")
        answer = _Answer(scope := {**scope, "path": path, "root_path": ""}, send)
        try:
            if scope["method"] == "OPTIONS":
                await Response(b"", 204)(scope, receive, answer)
            else:
                await self._router(scope, receive, answer)
        except Exception as error:
            if answer.begun:
                raise
            scope[_CLOSED] = False
            await _problem(scope, error)(scope, receive, answer)

    async def answer(self, request: Request, row: Row) -> Response:
        services, now = self._services, self._services.clock.steady()
        # Once a second, for tokens that were ended on the command line.
        if now - self._read_at >= _REFRESH_SECONDS:
            self._read_at = now
            try:
                await services.read(services.people.refresh)
            except OSError as error:
                _log.error(
                    "the register of people cannot be read, its last version is used: %s", error
                )
        caller = await identify(request, services)
        info = RequestInfo(request, services, _names(request), read_query(request), caller)
        user = await admit(info, row.access)
        return await row.handler(replace(info, user=user))


class _Resource:
    """The routes of one path, by method; ``HEAD`` uses ``GET``'s."""

    def __init__(self, rows: Mapping[str, Row], app: AssignmentServerApp) -> None:
        self._rows = rows
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = scope["method"] == "HEAD"
        row = self._rows.get("GET" if head else scope["method"])
        if row is None:
            raise WrongMethod([*self._rows, *(["HEAD"] if "GET" in self._rows else [])])
        scope[_CLOSED] = not row.open
        answer = await self._app.answer(Request(scope, receive), row)
        await answer(scope, receive, send)


class _Answer:
    """The ``send`` of one request: adds the headers that every response has."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            headers.setdefault("Cache-Control", "no-store")
            if not self._scope.get(_CLOSED):
                headers.update(_CORS)
        elif self._scope["method"] == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)


def _names(request: Request) -> dict[str, str]:
    """Return the decoded names in the path; raises :class:`InvalidInput` if it is not UTF-8."""
    try:
        return {name: unquote(text, errors="strict") for name, text in request.path_params.items()}
    except UnicodeDecodeError as error:
        raise InvalidInput("The address is not UTF-8.") from error


def _problem(scope: Scope, error: Exception) -> Response:
    if isinstance(error, MograderError):
        status, headers = status_of(error), headers_of(error)
        if isinstance(error, NotAuthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, WrongMethod):
            status, headers["Allow"] = 405, error.allowed
        return JSONResponse({"error": str(error)}, status, headers)
    reference = context_of(scope).request_id
    _log.error("a request failed", exc_info=error)
    return JSONResponse({"error": f"Something broke. Reference: {reference}"}, 500)


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound("Not found")

"""The assignment server's web application: access checks, routes, error responses.

``web.context`` surrounds it: request ids, limits on headers, the access log.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.log import get_logger
from mograder.web.context import ContextMiddleware, context_of
from mograder.web.server.access import RequestInfo, admit, identify, read_query
from mograder.web.server.problems import answer_problem
from mograder.web.server.routes import find_route
from mograder.web.server.services import Services

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Expose-Headers": "ETag, Content-Range, Repr-Digest, Retry-After",
}
_REFRESH_SECONDS = 1.0
_log = get_logger(__name__)


def create_app(services: Services) -> ASGIApp:
    """Build the server."""
    return ContextMiddleware(AssignmentServerApp(services))


class AssignmentServerApp:
    """Finds the route of each request, checks access, and converts errors to responses.

    Mutable state: the time at which the register of people was read last.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._read_at = services.clock.steady()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            # This server has no WebSockets; uvicorn handles the lifespan.
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        request = Request(scope, receive)
        answer = await self._answer(request)
        if scope["method"] == "HEAD":
            answer = _without_body(answer)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        opened = True
        try:
            if request.method == "OPTIONS":
                return Response(b"", 204, _CORS)
            match = find_route(request.method, _steps(request.scope))
            opened = match.route.open
            await self._refresh_people()
            caller = await identify(request, self._services)
            info = RequestInfo(request, self._services, match.names, read_query(request), caller)
            user = await admit(info, match.route.access)
            answer = await match.route.handler(replace(info, user=user))
        except MograderError as error:
            answer = answer_problem(error)
            opened = True
        except Exception:  # noqa: BLE001 - it is logged, and no client gets a traceback
            reference = context_of(request.scope).request_id
            _log.exception("a request failed")
            answer = JSONResponse({"error": f"Something broke. Reference: {reference}"}, 500)
        if opened:
            answer.headers.update(_CORS)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    async def _refresh_people(self) -> None:
        """Reload the register of people once a second, for tokens ended on the command line."""
        now = self._services.clock.steady()
        if now - self._read_at < _REFRESH_SECONDS:
            return
        self._read_at = now
        try:
            await to_thread.run_sync(self._services.people.refresh, limiter=self._services.readers)
        except OSError as error:
            _log.error("the register of people cannot be read, its last version is used: %s", error)


def _steps(scope: Scope) -> tuple[str, ...]:
    """Return the segments of the path, each decoded separately, so that %2F does not split one.

    Raises: :class:`InvalidInput` for a path that is not UTF-8.
    """
    raw = context_of(scope).raw_path.decode("latin-1").strip("/")
    try:
        return tuple(unquote(step, errors="strict") for step in raw.split("/")) if raw else ()
    except UnicodeDecodeError as error:
        raise InvalidInput("The address is not UTF-8.") from error


def _without_body(answer: Response) -> Response:
    """Return a response with the same status and headers and no body."""
    bare = Response(None, answer.status_code)
    bare.raw_headers = answer.raw_headers
    return bare

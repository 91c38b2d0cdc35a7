"""The skeleton of the apps with pages: middleware before the routes, and error handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.web.context import RequestContext, context_of, request_context
from mograder.web.headers import security_headers
from mograder.web.pages import APP, PageApp, page_app, problem_page
from mograder.web.problems import Wants, wanted

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Requests that change nothing."""

WAS_HEAD = "mograder.head"
"""Scope key, set to True for a request that was a HEAD; its response has no body."""

Header: TypeAlias = tuple[bytes, bytes]
Admit: TypeAlias = Callable[[Request, list[Header]], Awaitable[Response | None]]
_log = get_logger(__name__)


class AppMiddleware:
    """Admits or refuses each request before an app's routes and adds headers to every response.

    ``admit`` returns the response to a refused request and None for an admitted one; it may add
    headers to the list that it is given. A response gets those headers, ``headers``, the security
    headers and ``Cache-Control: no-store``, each unless it already has one of that name.
    """

    def __init__(
        self, routes: ASGIApp, app: PageApp, admit: Admit, headers: tuple[Header, ...] = ()
    ) -> None:
        self._routes = routes
        self._app = app
        self._admit = admit
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; an exception that the routes have answered with 500 is only logged."""
        if scope["type"] == "lifespan":
            await self._routes(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "Not here."})
            return
        scope = {**scope, APP: self._app}
        if scope["method"] == "HEAD":  # health checks use HEAD; the server drops the body
            scope.update({"method": "GET", WAS_HEAD: True})
        answer = _Answer(send, context_of(scope), self._headers)
        refusal = await self._admit(Request(scope, receive), answer.more)
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        try:
            await self._routes(scope, receive, answer)
        except Exception:  # the response was 500 with a reference; the log has the traceback
            _log.exception("A request failed with an unexpected error")
            if not answer.begun:
                raise


class _Answer:
    """The ``send`` of one request."""

    def __init__(self, send: Send, context: RequestContext, headers: tuple[Header, ...]) -> None:
        self._send = send
        self._context = context
        self._headers = headers
        self.more: list[Header] = []
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            message = {**message, "headers": self._complete(list(message["headers"]))}
        await self._send(message)

    def _complete(self, headers: list[Header]) -> list[Header]:
        names = {name.lower() for name, _ in headers}
        own = (
            *security_headers(self._context),
            *self._headers,
            (b"cache-control", b"no-store"),
            *self.more,
        )
        return headers + [each for each in own if each[0] not in names]


def exception_handlers(
    answer: Callable[[Request, MograderError], Awaitable[Response]],
) -> dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]:
    """Return an app's exception handlers; ``answer`` handles the subclasses of MograderError."""

    async def of_family(request: Request, error: Exception) -> Response:
        assert isinstance(error, MograderError)
        return await answer(request, error)

    return {MograderError: of_family, HTTPException: _http_failure, Exception: _bug}


async def _http_failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if wanted(request) is not Wants.PAGE:
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
    message = "There is nothing at this address." if error.status_code == 404 else error.detail
    return problem_page(request, error.status_code, message)


async def _bug(request: Request, error: Exception) -> Response:
    if wanted(request) is Wants.PAGE:
        program = page_app(request).program
        return problem_page(request, 500, f"The {program} ran into a mistake of its own.")
    reference = request_context(request).request_id
    return JSONResponse({"detail": f"Something broke. Reference: {reference}"}, 500)

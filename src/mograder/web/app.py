"""The skeleton of the apps with pages: middleware before the routes, and error handlers.

The middleware sets the security headers of our own pages and responses (security.md, "Our own
pages"); the proxy sets different ones on session pages.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.web.context import RequestContext, context_of, request_context
from mograder.web.error_responses import Wants, wanted
from mograder.web.pages import APP, PageApp, page_app, problem_page

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

WAS_HEAD = "mograder.head"
"""Scope key, set to True for a request that was a HEAD; its response has no body."""

Header: TypeAlias = tuple[bytes, bytes]
Admit: TypeAlias = Callable[[Request, list[Header]], Awaitable[Response | None]]
_log = get_logger(__name__)

_NAMEABLE_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
"""Hosts that a Content-Security-Policy can name: no IPv6 literals, no ``;`` or space."""

_NAMEABLE_ORIGIN = re.compile(rf"https?://{_NAMEABLE_HOST.pattern}")

_UNCHANGING = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"x-frame-options", b"DENY"),
)


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


def security_headers(context: RequestContext) -> tuple[tuple[bytes, bytes], ...]:
    return (*_UNCHANGING, (b"content-security-policy", content_security_policy(context).encode()))


def policy_source(context: RequestContext, path: str = "") -> str:
    """Return the source of a policy that is an address of ours; ``path`` has the prefix.

    It is ``'self'`` where a policy cannot name the host (an IPv6 literal).
    """
    if not _NAMEABLE_HOST.fullmatch(context.host):
        return "'self'"
    return f"{context.scheme}://{context.host}{path}"


def content_security_policy(
    context: RequestContext, *, frames: Collection[str] = (), posts: Collection[str] = ()
) -> str:
    """Return our policy: scripts and styles from the static path only, nothing inline, no framing.

    ``frames`` are the origins whose pages may show this page in a frame (browsers that know this
    ignore ``X-Frame-Options``), ``posts`` further origins that its forms may be sent to.

    ``'self'`` would include the session paths, where student code chooses the bytes, so the static
    path is named with the host in full. With a host that a policy cannot name (an IPv6 literal) no
    scripts are allowed; the pages work without them.
    """
    static = policy_source(context, f"{context.prefix}/static/")
    scripts = "'none'" if static == "'self'" else static
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts}",
            f"style-src {static}",
            f"img-src {static}",
            "connect-src 'self'",
            " ".join(("form-action 'self'", *_named(posts))),
            "base-uri 'none'",
            " ".join(("frame-ancestors", *(_named(frames) or ["'none'"]))),
        )
    )


def _named(origins: Collection[str]) -> list[str]:
    return sorted(each for each in origins if _NAMEABLE_ORIGIN.fullmatch(each))


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

"""Who may use the dashboard: the browser that brought the one-time link, and pages of our own.

It listens on loopback, which every page of the web and every user of the machine can reach. So a
request must name this server (a foreign name would be DNS rebinding), must carry the cookie that
the link was exchanged for, and to change anything must come from a page of this very origin.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mograder.auth.links import LINK_LIFE, hash_code, make_code
from mograder.auth.origin import browser_marks, same_origin
from mograder.core.clock import Clock
from mograder.web.context import RequestContext, context_of
from mograder.web.headers import security_headers

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = ("/open", "/health", "/static/")
_LONGEST_CODE = 200
_MOST_BROWSERS = 100


class Doorkeeper:
    """Gives out one-time links, and knows the browsers that came with one.

    ``link`` is told every new link as it is made: the first at the start, and the next one when
    it was used. With ``everybody`` no cookie is asked for. In memory only: a restart makes new
    links.
    """

    def __init__(self, port: int, clock: Clock, *, everybody: bool = False) -> None:
        self.cookie = f"mograder_student_{port}"
        self.everybody = everybody
        self.tell: Callable[[str], None] = lambda _: None
        self._hosts = _hosts(port)
        self._clock = clock
        self._code = ""
        self._made = clock.now()
        self._known: list[str] = []

    def new_link(self) -> str:
        """Return the path of a fresh link; the one before works no more."""
        code = make_code()
        self._code, self._made = code.hash, self._clock.now()
        return f"/open?code={code.text}"

    def use(self, code: str) -> str | None:
        """Return a cookie's value for a link's code, used up by that, or None for a wrong one."""
        if not code or len(code) > _LONGEST_CODE or not self._code:
            return None
        if not secrets.compare_digest(hash_code(code), self._code):
            return None
        fresh = self._clock.now() - self._made <= LINK_LIFE
        self.tell(self.new_link())
        if not fresh:
            return None
        key = secrets.token_urlsafe(32)
        self._known = [*self._known[-_MOST_BROWSERS:], hash_code(key)]
        return key

    def names_us(self, context: RequestContext) -> bool:
        """Whether a request was meant for this server, by the name that it used."""
        return context.host in self._hosts

    def admits(self, scope: Scope) -> bool:
        """Whether this browser came by a link of ours."""
        if self.everybody:
            return True
        values = _cookies(scope, self.cookie)
        return len(values) == 1 and hash_code(values[0]) in self._known


class Gate:
    """Stands before all routes; ``closed`` answers a browser without a cookie."""

    def __init__(
        self, app: ASGIApp, keeper: Doorkeeper, closed: Callable[[Scope], Response]
    ) -> None:
        self._app = app
        self._keeper = keeper
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let pass, or say why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "Not here."})
            return
        refusal = self._refusal(scope)
        app: ASGIApp = refusal if refusal is not None else self._app
        await app(scope, receive, _with_headers(send, context_of(scope)))

    def _refusal(self, scope: Scope) -> Response | None:
        context = context_of(scope)
        if not self._keeper.names_us(context):
            return PlainTextResponse("This server has another name.", 421)
        if scope["method"] not in _SAFE and not _from_here(scope, context):
            return PlainTextResponse("This did not come from a page of the dashboard.", 403)
        if context.path.startswith(_OPEN) or self._keeper.admits(scope):
            return None
        return self._closed(scope)


def _from_here(scope: Scope, context: RequestContext) -> bool:
    """Whether one of our own pages sent it, or no browser at all."""
    headers = scope["headers"]
    return not browser_marks(headers) or same_origin(headers, context.own_origins)


def _hosts(port: int) -> frozenset[str]:
    names = ("127.0.0.1", "localhost", "[::1]")
    bare = names if port == 80 else ()
    return frozenset({*(f"{name}:{port}" for name in names), *bare})


def _cookies(scope: Scope, name: str) -> list[str]:
    pairs = (
        each.partition("=")
        for key, value in scope["headers"]
        if key == b"cookie"
        for each in value.decode("latin-1").split(";")
    )
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def _with_headers(send: Send, context: RequestContext) -> Send:
    async def complete(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            names = {name.lower() for name, _ in headers}
            own = (
                *security_headers(context),
                (b"cross-origin-resource-policy", b"same-origin"),
                (b"cache-control", b"no-store"),
            )
            message = {**message, "headers": headers + [h for h in own if h[0] not in names]}
        await send(message)

    return complete


def cookie_header(name: str, value: str) -> str:
    """Return the ``Set-Cookie`` of a browser that came by a link; it lasts until that is closed."""
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax"

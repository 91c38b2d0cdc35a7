"""Access to the dashboard: only a browser that used the one-time link, and pages of our own.

It listens on loopback, which every web page and every user of the machine can reach. So a request
must name this server (another name would be DNS rebinding), must carry the cookie that the link was
exchanged for, and to change anything must be sent by a page of this origin.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from mograder.auth.csrf import browser_marks, same_origin
from mograder.auth.login_links import LINK_LIFE, hash_code, make_code
from mograder.core.clock import Clock
from mograder.web.app import SAFE_METHODS, Header
from mograder.web.context import RequestContext, request_context
from mograder.web.pages import page
from mograder.web.problems import Wants, wanted

HEADERS: tuple[Header, ...] = ((b"cross-origin-resource-policy", b"same-origin"),)
"""Headers of every response of the dashboard besides the security headers."""

_OPEN = ("/open", "/health", "/static/")
_LONGEST_CODE = 200
_MOST_BROWSERS = 100


class BrowserAccess:
    """Issues one-time links, and remembers the browsers that used one.

    ``tell`` is called with every new link: the first at the start, and the next one when it was
    used. With ``everybody`` no cookie is demanded. In memory only: a restart makes new links.
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
        """Return the path of a new link; the previous one becomes invalid."""
        code = make_code()
        self._code, self._made = code.hash, self._clock.now()
        return f"/open?code={code.text}"

    def use(self, code: str) -> str | None:
        """Return a cookie's value for a link's code and use it up; None for a wrong code."""
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

    def admits(self, scope: Scope) -> bool:
        """Whether this browser has used a link."""
        if self.everybody:
            return True
        values = _cookies(scope, self.cookie)
        return len(values) == 1 and hash_code(values[0]) in self._known

    async def admit(self, request: Request, _: list[Header]) -> Response | None:
        """Return the refusal of a request, None for one that is admitted."""
        context = request_context(request)
        if context.host not in self._hosts:
            return PlainTextResponse("This server has another name.", 421)
        if request.method not in SAFE_METHODS and not _from_here(request.scope, context):
            return PlainTextResponse("This did not come from a page of the dashboard.", 403)
        if context.path.startswith(_OPEN) or self.admits(request.scope):
            return None
        if wanted(request) is not Wants.PAGE:
            return JSONResponse({"detail": "Open the dashboard by its link first."}, 403)
        return page(request, "student/closed.html", 403, wrong=False)


def _from_here(scope: Scope, context: RequestContext) -> bool:
    """Whether the request was sent by one of our own pages, or not by a browser."""
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


def cookie_header(name: str, value: str) -> str:
    """Return the ``Set-Cookie`` of a browser that used a link; a session cookie."""
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax"

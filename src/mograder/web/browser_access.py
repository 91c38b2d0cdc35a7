"""Access to an app on loopback: only a browser that used the one-time link, and pages of our own.

It listens on loopback, which every web page and every user of the machine can reach. So a request
must come from the user who started the app, where the system tells; must name this server (another
name would be DNS rebinding); must carry the cookie that the link was exchanged for; and to change
anything must be sent by a page of this origin.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Scope

from mograder.auth.credentials import LINK_LIFE, cookies_in, hash_code, make_code
from mograder.auth.csrf import browser_marks, same_origin
from mograder.core.clock import Clock
from mograder.core.operating_system import SYSTEM, TcpSocket, is_another_user, tcp_sockets, user_id
from mograder.core.settings import read_environ
from mograder.web.app import SAFE_METHODS, Header
from mograder.web.context import request_context
from mograder.web.error_responses import Wants, wanted
from mograder.web.pages import page, page_app

HEADERS: tuple[Header, ...] = ((b"cross-origin-resource-policy", b"same-origin"),)
"""Headers of every response of such an app besides the security headers."""

_OPEN = ("/open", "/health", "/static/")
_LONGEST_CODE = 200
_MOST_BROWSERS = 100


class BrowserAccess:
    """Issues one-time links, and remembers the browsers that used one.

    ``tell`` is called with every new link: the first at the start, and the next one when it was
    used. With ``everybody`` no cookie is demanded. In memory only: a restart makes new links.
    ``command`` starts the app, for messages; ``any_host`` is for one behind a proxy with a name.
    """

    def __init__(
        self,
        port: int,
        clock: Clock,
        *,
        command: str = "mograder student",
        everybody: bool = False,
        any_host: bool = False,
    ) -> None:
        self.cookie = f"{command.replace(' ', '_')}_{port}"
        self.everybody = everybody
        self.command = command
        self._any_host = any_host
        self.tell: Callable[[str], None] = lambda _: None
        self._hosts = _hosts(port)
        self._sudo_uid = read_environ().sudo_uid
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
        if self.everybody:
            return True
        pairs = cookies_in(scope["headers"])
        values = [value for name, value in pairs if name == self.cookie]
        return len(values) == 1 and hash_code(values[0]) in self._known

    async def admit(self, request: Request, _: list[Header]) -> Response | None:
        context = request_context(request)
        if not self._any_host and context.host not in self._hosts:
            return PlainTextResponse("This server has another name.", 421)
        checked = SYSTEM == "linux" and not self.everybody and not self._any_host
        if checked and await to_thread.run_sync(self._is_foreign, request.scope):
            told = f"Another user of this computer started this {page_app(request).program}."
            return PlainTextResponse(told, 403)
        if (refusal := refuse_other_site(request)) is not None:
            return refusal
        if context.path.startswith(_OPEN) or self.admits(request.scope):
            return None
        if wanted(request) is not Wants.PAGE:
            program = page_app(request).program
            return JSONResponse({"detail": f"Open the {program} by its link first."}, 403)
        return self.closed(request, wrong=False)

    def _is_foreign(self, scope: Scope) -> bool:
        """Whether another user of this computer asks, where the system tells.

        The link that opens the browser is among its arguments, which every user can read, and a
        browser sends the cookie to every port of this computer. Root is no stranger, nor the user
        who started this process by sudo.
        """
        if not scope["server"] or not scope["client"]:
            return False
        sockets: list[TcpSocket] = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with contextlib.suppress(OSError):
                sockets += tcp_sockets(Path(table))
        users = {user_id(), self._sudo_uid, 0}
        return is_another_user(sockets, scope["server"][1] or 0, scope["client"][1], users)

    def enter(self, request: Request) -> Response:
        """Exchange the one-time link of a request for the browser's cookie."""
        home = f"{request_context(request).prefix}/"
        if self.admits(request.scope):
            return RedirectResponse(home, 303)
        value = self.use(request.query_params.get("code", ""))
        if value is None:
            return self.closed(request, wrong=True)
        cookie = f"{self.cookie}={value}; Path=/; HttpOnly; SameSite=Lax"
        return RedirectResponse(home, 303, {"set-cookie": cookie})

    def closed(self, request: Request, *, wrong: bool) -> Response:
        """Return the page for a browser without a cookie; ``wrong``: its link does not work."""
        return page(request, "closed.html", 403, wrong=wrong, command=self.command)


def refuse_other_site(request: Request) -> Response | None:
    """Return the refusal of a changing request that another site's page caused, else None."""
    headers, own = request.scope["headers"], request_context(request).own_origins
    if request.method in SAFE_METHODS or not browser_marks(headers) or same_origin(headers, own):
        return None
    program = page_app(request).program
    return PlainTextResponse(f"This did not come from a page of the {program}.", 403)


def _hosts(port: int) -> frozenset[str]:
    names = ("127.0.0.1", "localhost", "[::1]")
    bare = names if port == 80 else ()
    return frozenset({*(f"{name}:{port}" for name in names), *bare})

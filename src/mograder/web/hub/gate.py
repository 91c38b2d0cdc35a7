"""The gate before all of the hub's own routes: who is asking, from where, and what they take home.

Identity is found out once, requests that change something are checked for where they come from,
and every answer leaves with the security headers and, after SSO, the login cookie.
"""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mograder.auth.origin import check_unsafe
from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.web.context import RequestContext, context_of
from mograder.web.headers import security_headers
from mograder.web.hub.answers import answer_problem
from mograder.web.hub.desk import DESK, HEAD, IDENTITY, Desk
from mograder.web.identity import identify, login_headers

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_log = get_logger(__name__)


class Gate:
    """Wraps the hub's own app; session traffic never comes through here."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[DESK] = self._desk
        if scope["method"] == "HEAD":  # health checks ask so; the server drops the body
            scope = {**scope, "method": "GET", HEAD: True}
        leave = _Leaving(send, context_of(scope))
        try:
            self._admit(scope, leave)
        except MograderError as error:
            response = await answer_problem(Request(scope, receive), error)
            await response(scope, receive, leave)
            return
        try:
            await self._app(scope, receive, leave)
        except Exception:  # a door: the answer was 500 with a reference, the log has the rest
            _log.exception("A request failed by a bug of ours")
            if not leave.answered:
                raise

    def _admit(self, scope: Scope, leave: _Leaving) -> None:
        """Find out who asks; refuse a changing request that another site made a browser send."""
        identity = identify(scope, self._desk.services)
        scope[IDENTITY] = identity
        leave.cookies = login_headers(identity, leave.context, self._desk.services.secret)
        if scope["method"] not in _SAFE:
            check_unsafe(identity, scope["headers"], leave.context.own_origins)


class _Leaving:
    """Adds what every answer carries. An answer that sets the login cookie itself keeps its own."""

    def __init__(self, send: Send, context: RequestContext) -> None:
        self._send = send
        self.context = context
        self.cookies: list[tuple[bytes, bytes]] = []
        self.answered = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.answered = True
            message = {**message, "headers": self._complete(list(message["headers"]))}
        await self._send(message)

    def _complete(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = {name.lower() for name, _ in headers}
        # An answer that holds a stranger's page brings a policy of its own.
        headers += [each for each in security_headers(self.context) if each[0] not in names]
        if b"cache-control" not in names:
            headers.append((b"cache-control", b"no-store"))
        if b"set-cookie" not in names:
            headers += self.cookies
        return headers

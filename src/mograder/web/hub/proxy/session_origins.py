"""The origins of sessions (``[hub] session_url``): each is for one session and one viewer.

None of the hub's own routes exists here, and neither the hub's login nor a proxy's header counts:
only a capability, below ``/s/``, at the one label that belongs to it. A page of the hub shows the
session's page in a frame. Sibling origins are of the same site, hence the checks of ``Origin`` and
``Sec-Fetch-Site`` on everything but a navigation.
"""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from mograder.core.errors import MograderError
from mograder.core.web_origin import SessionUrl
from mograder.hub.capabilities import label_of
from mograder.web.context import RequestContext, context_of
from mograder.web.hub.proxy.answer_rules import Visit
from mograder.web.hub.proxy.headers import RawHeaders, header
from mograder.web.hub.proxy.http_relay import Exchange
from mograder.web.hub.proxy.paths import (
    CapabilityPath,
    ProbePath,
    SessionPath,
    parse_session_path,
)
from mograder.web.hub.proxy.replies import ProxyReply, ended, see_other
from mograder.web.hub.proxy.session_proxy import SessionProxy

_NAVIGATIONS = frozenset({"document", "iframe"})


class SessionOrigins:
    """The ASGI app for every host below the domain of ``session_url``."""

    def __init__(self, url: SessionUrl, proxy: SessionProxy) -> None:
        self._url = url
        self._proxy = proxy

    def serves(self, scope: Scope) -> bool:
        return any(self._url.is_below(host) for host in hosts_of(scope["headers"]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        context = context_of(scope)
        try:
            (label,) = {self._url.label_of(host) for host in hosts_of(scope["headers"])}
            path = parse_session_path(context.raw_path)
            visit = self._visit(label, path, scope, context)
        except ProxyReply as refusal:
            await self._proxy.answer(exchange, refusal, shared=False)
        except (MograderError, ValueError):
            nothing = ProxyReply(404, "There is nothing at this address.")
            await self._proxy.answer(exchange, nothing, shared=False)
        else:
            await self._proxy.relay(visit, exchange)

    def _visit(
        self, label: str, path: SessionPath | None, scope: Scope, context: RequestContext
    ) -> Visit:
        if label and isinstance(path, ProbePath):
            raise ProxyReply(204)
        if not label or not isinstance(path, CapabilityPath):
            raise ValueError
        _check_source(scope, self._url.origin(label))
        capability, session = self._proxy.resolve(path.cap)
        if label_of(capability) != label:
            raise ended()
        visit = self._proxy.visit_by_capability(path, capability, session, scope, opaque=False)
        if visit.as_document and not visit.is_file:
            raise see_other(visit.document_url)
        return visit


def hosts_of(headers: RawHeaders) -> set[str]:
    """Return every host that a request names; more than one is ambiguous."""
    names = (b"host", b"x-forwarded-host")
    return {
        value.decode("latin-1").split(",")[0].strip().lower()
        for name, value in headers
        if name in names
    }


def _check_source(scope: Scope, own: str) -> None:
    """Refuse requests that a page of another origin, even of a sibling, caused.

    A navigation may come from elsewhere: the hub's page that shows the frame is of another site.
    """
    headers = scope["headers"]
    origins = {value.decode("latin-1") for name, value in headers if name == b"origin"}
    sites = {value for name, value in headers if name == b"sec-fetch-site"}
    moves = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    moves = moves and header(headers, b"sec-fetch-dest") in _NAVIGATIONS
    if not origins <= {own} or (not moves and not sites <= {b"same-origin"}):
        raise ProxyReply(403, "403 Forbidden")
    if scope["type"] == "websocket" and not origins:
        raise ProxyReply(403, "403 Forbidden")

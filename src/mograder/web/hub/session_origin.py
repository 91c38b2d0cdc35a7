"""The origins of sessions (``[hub] session_url``): one session, one viewer, and nothing else.

None of the hub's own routes exists here, and neither the hub's login nor a front's header counts:
only the cookie of this very origin. Student code owns the origin, so what it could do with the
cookies of others is what matters; siblings are of the same site, hence the checks of ``Origin`` and
``Sec-Fetch-Site`` on everything but a tab's navigation.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from mograder.core.errors import MograderError
from mograder.core.session_url import SessionUrl
from mograder.sessions.live import LiveSession
from mograder.web.context import RequestContext, context_of
from mograder.web.hub.assets import is_asset_path
from mograder.web.hub.capabilities import Capabilities, Capability
from mograder.web.hub.handover import ENTRANCE, Handovers, label_of
from mograder.web.hub.headers import HeaderList, RawHeaders, header
from mograder.web.hub.proxy import SessionProxy
from mograder.web.hub.proxy_http import Exchange
from mograder.web.hub.refusals import GONE, Refusal, query_of, see_other, to_slash
from mograder.web.hub.session_answer import Visit
from mograder.web.hub.session_page import STANDING, Page
from mograder.web.hub.session_paths import UserPath, parse_session_path

_COOKIE = "mograder_view"
_MOST_FORM = 2048
_OWN: HeaderList = [
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class SessionOrigins:
    """The ASGI app for every host below the domain of ``session_url``."""

    def __init__(
        self,
        url: SessionUrl,
        handovers: Handovers,
        proxy: SessionProxy[LiveSession],
        capabilities: Capabilities,
    ) -> None:
        self._url = url
        self._handovers = handovers
        self._proxy = proxy
        self._capabilities = capabilities

    def serves(self, scope: Scope) -> bool:
        """Tell whether a request is for an origin of sessions, so for nothing else of the hub."""
        return any(self._url.is_below(host) for host in hosts_of(scope["headers"]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or WebSocket of a session's own origin."""
        exchange = Exchange(scope, receive, send)
        context = context_of(scope)
        try:
            (label,) = {self._url.label_of(host) for host in hosts_of(scope["headers"])}
            if context.raw_path == ENTRANCE.encode():
                raise await self._enter(exchange, label, context)
            visit, session = self._visit(label, scope, context)
        except Refusal as refusal:
            await self._proxy.answer(exchange, refusal, shared=False)
        except (MograderError, ValueError):
            await self._proxy.answer(exchange, _nothing(), shared=False)
        else:
            await self._proxy.relay(visit, session, exchange)

    async def _enter(self, exchange: Exchange, label: str, context: RequestContext) -> Refusal:
        """Exchange the one-time code for the cookie of this origin."""
        scope = exchange.scope
        if scope["type"] != "http" or scope["method"] != "POST":
            return _nothing()
        if header(scope["headers"], b"origin") not in context.own_origins:
            return Refusal(403, "This form did not come from the hub.")
        code = parse_qs(await _body(exchange)).get("code", [""])[0]
        passage = self._handovers.take(code, label) if label else None
        if passage is None:
            return Refusal(403, "This way in was used already. Open the notebook again.")
        refusal = see_other(context.prefix + passage.path)
        cookie = f"{self._cookie_name}={passage.cap}; Path=/; HttpOnly; SameSite=Lax"
        secure = "; Secure" if self._secure else ""
        headers = [*refusal.headers, (b"set-cookie", f"{cookie}{secure}".encode("ascii"))]
        return Refusal(303, "", headers)

    def _visit(
        self, label: str, scope: Scope, context: RequestContext
    ) -> tuple[Visit, LiveSession]:
        path = parse_session_path(context.raw_path)
        if not label or not isinstance(path, UserPath):
            raise _nothing()
        _check_source(scope, self._url.origin(label))
        capability = self._capability(label, scope["headers"])
        session = self._proxy.session_of(capability)
        base = f"/{path.mode}/user/{path.user}/{path.item}"
        if path.rest == STANDING:
            raise self._proxy.standing_of(scope, admitted=capability is not None)
        if capability is None or session is None or session.key != path.key:
            raise _gone(scope, context, base)
        if path.rest is None:
            raise to_slash(scope, context)
        return self._visit_of(path.rest, capability, session, scope), session

    def _visit_of(
        self, rest: str, capability: Capability, session: LiveSession, scope: Scope
    ) -> Visit:
        context = context_of(scope)
        own = context.prefix + session.base_url
        hub = f"{context.scheme}://{context.host}"

        async def page() -> Page:
            return Page(own, session.id, f"{hub}{own}/", opaque=False)

        return Visit(
            session=session,
            rest=rest,
            query=query_of(scope),
            public_base=own,
            edit_base=own,
            page=page,
            by_capability=False,
            sandbox=False,
            destination=header(scope["headers"], b"sec-fetch-dest"),
            cookies=_OWN,
            on_revoke=lambda cut: self._capabilities.on_revoke(capability, cut),
        )

    def _capability(self, label: str, headers: RawHeaders) -> Capability | None:
        found = _cookies(headers, self._cookie_name)
        capability = self._proxy.resolve(found[0]) if len(found) == 1 else None
        return capability if capability and label_of(capability) == label else None

    @property
    def _secure(self) -> bool:
        return self._url.scheme == "https"

    @property
    def _cookie_name(self) -> str:
        return f"__Host-{_COOKIE}" if self._secure else _COOKIE


def hosts_of(headers: RawHeaders) -> set[str]:
    """Return every host that a request names; more than one is ambiguous."""
    names = (b"host", b"x-forwarded-host")
    return {
        value.decode("latin-1").split(",")[0].strip().lower()
        for name, value in headers
        if name in names
    }


def _check_source(scope: Scope, own: str) -> None:
    """Refuse what a page of another origin causes, a sibling's too; a tab may come from anywhere.

    Raises: :class:`Refusal`.
    """
    headers = scope["headers"]
    origins = {value.decode("latin-1") for name, value in headers if name == b"origin"}
    sites = {value for name, value in headers if name == b"sec-fetch-site"}
    tab = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    tab = tab and header(headers, b"sec-fetch-dest") == "document"
    if not origins <= {own} or (not tab and not sites <= {b"same-origin"}):
        raise Refusal(403, "403 Forbidden")
    if scope["type"] == "websocket" and not origins:
        raise Refusal(403, "403 Forbidden")


def _gone(scope: Scope, context: RequestContext, base: str) -> Refusal:
    """Send a tab that was reloaded by the hub again; one that comes from there would circle."""
    headers = scope["headers"]
    if header(headers, b"sec-fetch-dest") == "document" and header(headers, b"sec-fetch-site") in (
        "none",
        "same-origin",
    ):
        return see_other(f"{context.scheme}://{context.host}{context.prefix}{base}/")
    return Refusal(404, "This session has ended, or this browser keeps no cookies.", (GONE,))


def _nothing() -> Refusal:
    return Refusal(404, "There is nothing at this address.")


def _cookies(headers: RawHeaders, wanted: str) -> list[str]:
    found = []
    for name, value in headers:
        if name == b"cookie":
            pairs = (each.partition("=") for each in value.decode("latin-1").split(";"))
            found += [text.strip() for key, _, text in pairs if key.strip() == wanted]
    return found


async def _body(exchange: Exchange) -> str:
    """Read a small form. Raises: :class:`Refusal` for a larger one."""
    body = b""
    while True:
        message = await exchange.receive()
        body += bytes(message.get("body", b""))
        if len(body) > _MOST_FORM:
            raise Refusal(413, "This form is too large.")
        if message["type"] != "http.request" or not message.get("more_body", False):
            return body.decode("latin-1")


class Apart:
    """Keeps the hosts of sessions and the hub's own routes apart."""

    def __init__(self, origins: SessionOrigins, assets: ASGIApp, hub: ASGIApp) -> None:
        self._origins = origins
        self._assets = assets
        self._hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; of the hub's own only marimo's static files are there too."""
        if scope["type"] == "lifespan" or not self._origins.serves(scope):
            await self._hub(scope, receive, send)
        elif is_asset_path(context_of(scope).raw_path):
            await self._assets(scope, receive, send)
        else:
            await self._origins(scope, receive, send)

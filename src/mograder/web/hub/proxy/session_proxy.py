"""The session proxy: authorises requests to sessions, then relays HTTP or WebSocket.

A bare ASGI app, since it is the hub's hot path. ``/edit/user/…`` and ``/run/user/…`` are decided by
the login, ``/s/<capability>/…`` by the capability alone (security.md, "The page is theirs as well";
compatibility-0.3.16.md 2.3).
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from starlette.types import Receive, Scope, Send

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity, Method
from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.hub.capabilities import Capability
from mograder.hub.save_recording import Save, change_by
from mograder.hub.services import Services
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import LiveSession, SessionKey, spinner_of
from mograder.web.app import policy_source
from mograder.web.context import RequestContext, context_of
from mograder.web.error_responses import status_of
from mograder.web.hub.core.access import identify, login_headers, may_open_work
from mograder.web.hub.core.audit import Event
from mograder.web.hub.core.metrics import ProxyCounters
from mograder.web.hub.proxy.answer_rules import Page, Visit
from mograder.web.hub.proxy.headers import HeaderList, header, session_headers
from mograder.web.hub.proxy.http_relay import METHODS, Exchange, HttpRelay, Limits, send_text
from mograder.web.hub.proxy.paths import (
    BY_ITSELF,
    CapabilityPath,
    ProbePath,
    SessionPath,
    UserPath,
    denial,
    guarded_feature,
    parse_session_path,
)
from mograder.web.hub.proxy.replies import (
    GONE,
    FramePages,
    ProxyReply,
    away_from,
    check_browser,
    check_page,
    ended,
    navigates,
    nobody,
    preflight,
    query_of,
    see_other,
    show_code,
    to_slash,
)
from mograder.web.hub.proxy.upstream import Allowances, Upstream, Upstreams
from mograder.web.hub.proxy.websocket_relay import refuse_websocket, relay_websocket

_log = get_logger("mograder.web.hub.proxy.session_proxy")


class SessionProxy:
    """The ASGI app for session paths, HTTP and WebSocket.

    ``answer_seconds`` limits the time until a server's headers arrive (compatibility-0.3.16.md 2.3:
    60). ``on_save`` is called with the owner of a saved notebook. ``works_with`` returns whether a
    helper, who is no instructor, may be in the session of a user and an item.

    Mutable state: ``_upstreams``, the clients of live sessions.
    """

    def __init__(
        self,
        services: Services,
        traffic: ProxyCounters,
        frames: FramePages,
        *,
        answer_seconds: float = 60.0,
        allowances: Allowances = Allowances(),  # noqa: B008 - frozen
        on_save: Callable[[str], None] = lambda _: None,
        on_visit: Callable[[Event], Awaitable[None]],
        works_with: Callable[[str, str, str], bool] = lambda _helper, _user, _item: False,
    ) -> None:
        settings = services.loaded.settings
        self._services = services
        self._pool = services.pool
        self._limits = Limits(settings.limits.request_mb * 2**20, answer_seconds)
        forget = services.capabilities.forget_session
        self._upstreams = Upstreams(forget, allowances, services.connections)
        self._traffic = traffic
        self._on_save = on_save
        self._frames = frames
        self._on_visit = on_visit
        self._works_with = works_with

    def _admits(self, who: Identity) -> bool:
        return self._services.roster.allows(who.username, who.role)

    async def aclose(self) -> None:
        await self._upstreams.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        context = context_of(scope)
        try:
            path = parse_session_path(context.raw_path)
        except MograderError as error:
            await self.answer(exchange, ProxyReply(400, error.message), shared=False)
            return
        if isinstance(path, UserPath):
            await self._by_login(path, exchange, context)
        else:
            try:
                visit = self._enter(path, scope, context)
            except ProxyReply as refusal:
                await self.answer(exchange, refusal, shared=True)
            else:
                await self.relay(visit, exchange)

    # ---- by login: /edit/user/<u>/<a>/… and /run/user/<u>/<l>/… ----

    async def _by_login(self, path: UserPath, exchange: Exchange, context: RequestContext) -> None:
        scope = exchange.scope
        cookies: HeaderList = []
        try:
            if path.rest is None:
                raise to_slash(scope, context)
            identity = identify(scope, self._services.authenticator)
            cookies = login_headers(identity, context, self._services.secret)
            viewer = self._admit(path, identity, scope, context)
            session = self._session(path, viewer, scope, context)
            owner = session.key.user
            if viewer.username != owner:  # access to one's own is not recorded
                what = f"{owner}/{session.key.item} ({session.key.mode})"
                await self._on_visit(Event(viewer.username, "open session", what, context.address))
            if path.rest == "" and viewer.method is not Method.BEARER and navigates(scope):
                await self._show(session, viewer, exchange, cookies)
                return
            visit = self._visit_by_login(path, viewer, session, scope)
        except ProxyReply as refusal:
            await self.answer(exchange, refusal, shared=False, cookies=cookies)
        except MograderError as error:
            status = status_of(error)
            await self.answer(exchange, ProxyReply(status, str(error)), shared=False)
        else:
            await self.relay(visit, exchange)

    def _admit(
        self, path: UserPath, identity: Identity | None, scope: Scope, context: RequestContext
    ) -> Identity:
        """Return the viewer if they, and their kind of client, may request this session."""
        if identity is None:
            raise nobody(scope, context)
        if not self._admits(identity):
            raise ProxyReply(403, self._frames.restricted(identity, context), [_HTML])
        if not self._may_enter(identity.username, identity.role, path.key):
            _log.warning("%s was refused the session of %s", identity.username, path.user)
            if identity.role is Role.MARKER and path.mode is Mode.EDIT and navigates(scope):
                raise away_from(path.key, identity.role, context)
            raise ProxyReply(403, "403 Forbidden")
        if identity.method is not Method.BEARER:
            check_browser(scope)
        return identity

    def _may_enter(self, username: str, role: Role, key: SessionKey) -> bool:
        """Return whether a person may be in a session: also the helper whom its owner asked."""
        if may_open_work(username, role, key.user):
            return True
        helps = role is Role.MARKER and key.mode is Mode.EDIT
        return helps and self._works_with(username, key.user, key.item)

    def _name_for_page(self, username: str, key: SessionKey) -> str:
        """Return the name that a page's own code may learn: the owner's, or the helper's."""
        known = username == key.user or self._works_with(username, key.user, key.item)
        return username if known else ""

    def _session(
        self, path: UserPath, viewer: Identity, scope: Scope, context: RequestContext
    ) -> LiveSession:
        session = self._pool.find(path.key)
        if session is not None:
            if path.mode is Mode.RUN and path.rest == "" and navigates(scope):
                show_code(scope, context)
            return session
        if navigates(scope):
            if viewer.username == path.user:
                raise see_other(context.prefix + spinner_of(path.mode, path.item))
            raise away_from(path.key, viewer.role, context)
        noun = "session" if path.mode == "edit" else "lecture session"
        raise ProxyReply(404, f"No active {noun}", (GONE,))

    def _visit_by_login(
        self, path: UserPath, viewer: Identity, session: LiveSession, scope: Scope
    ) -> Visit:
        context = context_of(scope)
        base = context.prefix + session.base_url

        async def page() -> Page:
            # Only when a page is shown: a client with a trusted header and without cookies makes a
            # new login with each request.
            root = f"{context.prefix}/s/{await self._issued(session, viewer)}"
            name = self._name_for_page(viewer.username, session.key)
            return Page(root, f"{base}/", name, opaque=True)

        return Visit(
            session=session,
            rest=path.rest or "",
            query=query_of(scope),
            public_base=base,
            edit_base=base,
            page=None if viewer.method is Method.BEARER else page,
            by_capability=False,
            sandbox=True,
            destination=header(scope["headers"], b"sec-fetch-dest"),
            cookies=login_headers(viewer, context, self._services.secret),
            on_revoke=partial(self._while_admitted, path, viewer, session, scope),
        )

    def _while_admitted(
        self,
        path: UserPath,
        viewer: Identity,
        session: LiveSession,
        scope: Scope,
        cut: Callable[[], None],
    ) -> Callable[[], None]:
        """Call back when a visit by login would not be admitted any more; return how to undo it."""
        capabilities = self._services.capabilities
        undo = capabilities.on_revoke(capabilities.visit(session.id, path.user, viewer), cut)
        # Since it was admitted, and before it was watched, its login may have ended.
        try:
            now = identify(scope, self._services.authenticator)
        except MograderError:
            now = None
        same = now if now is not None and now.username == viewer.username else None
        if not (
            same and self._admits(same) and self._may_enter(same.username, same.role, path.key)
        ):
            cut()
        return undo

    async def _issued(self, session: LiveSession, viewer: Identity) -> str:
        capabilities, user = self._services.capabilities, viewer.username
        visit = capabilities.visit(session.id, session.key.user, viewer)
        if (known := capabilities.known(visit)) is not None:
            return known
        epoch = self._services.revocations.epoch(user)
        cap = await to_thread(capabilities.issue, visit)
        if self._services.revocations.epoch(user) != epoch:  # perhaps before it could be ended
            await to_thread(capabilities.revoke_user, user)
        return cap

    async def _show(
        self, session: LiveSession, viewer: Identity, exchange: Exchange, cookies: HeaderList
    ) -> None:
        self._traffic.http += 1
        self._pool.touch(session)
        context = context_of(exchange.scope)
        cap = await self._issued(session, viewer)
        capability = self._services.capabilities.resolve(cap)
        if capability is None:  # ended at this very moment
            raise ended()
        root = self._frames.root(cap, capability, context)
        query = query_of(exchange.scope)
        key = session.key
        helps = self._works_with(viewer.username, key.user, key.item)
        html, headers = self._frames.render(session, viewer, root, query, context, helps=helps)
        await send_text(exchange.send, 200, html, [*headers, *cookies])

    # ---- by capability: /s/<capability>/… ----

    def _enter(self, path: SessionPath | None, scope: Scope, context: RequestContext) -> Visit:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            raise preflight()
        if isinstance(path, ProbePath):
            raise ProxyReply(204)
        if not isinstance(path, CapabilityPath):
            raise ended()
        capability, session = self.resolve(path.cap)
        visit = self.visit_by_capability(path, capability, session, scope, opaque=True)
        check_page(visit, scope, context)
        return visit

    async def _note(self, visit: Visit, scope: Scope) -> None:
        if scope["type"] == "websocket":
            self._traffic.websockets += 1
            await self._pool.pages_first(visit.session)
        else:
            self._traffic.http += 1
        if visit.rest not in BY_ITSELF:
            self._pool.touch(visit.session)

    def resolve(self, cap: str) -> tuple[Capability, LiveSession]:
        """Raise :class:`ProxyReply` once the session, login or the viewer's access has ended."""
        services = self._services
        capability = services.capabilities.resolve(cap)
        if capability is None or services.revocations.login_revoked(capability.login_id):
            raise ended()
        session = self._pool.by_id(capability.session_id)
        # Removed from the roster during a session: the page ends with the access (B43).
        role = services.policy.role_of(capability.username, capability.role)
        if session is None or not services.roster.allows(capability.username, role):
            raise ended()
        if not self._may_enter(capability.username, role, session.key):
            raise ended()  # a helper whose help has ended
        return capability, session

    def visit_by_capability(
        self,
        path: CapabilityPath,
        capability: Capability,
        session: LiveSession,
        scope: Scope,
        *,
        opaque: bool,
    ) -> Visit:
        """Return a visit below ``/s/``, on the hub's origin if ``opaque``, else on its own."""
        context = context_of(scope)
        base, own = f"{context.prefix}/s/{path.cap}", context.prefix + session.base_url
        if not opaque:
            own = f"{context.scheme}://{context.host}{own}"

        # 'self' too: a session's pages may frame each other.
        policy = f"frame-ancestors 'self' {policy_source(context)}".encode("ascii")
        own_origin = [
            (b"content-security-policy", policy),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]

        async def page() -> Page:
            name = self._name_for_page(capability.username, session.key)
            return Page(base, f"{own}/", name, opaque=opaque)

        return Visit(
            session=session,
            rest=path.rest,
            query=query_of(scope),
            public_base=base,
            edit_base=own,
            page=None if path.rest else page,
            by_capability=True,
            sandbox=opaque,
            destination=header(scope["headers"], b"sec-fetch-dest"),
            cookies=[] if opaque else own_origin,
            on_revoke=partial(self._services.capabilities.on_revoke, capability),
            ancestors=policy_source(context) if opaque and not path.rest else "",
        )

    # ---- both ----

    async def relay(self, visit: Visit, exchange: Exchange) -> None:
        scope, shared = exchange.scope, visit.by_capability
        allows, item = self._services.allowances.allows, visit.session.key.item
        if (feature := guarded_feature(visit.rest)) and not await allows(item, feature):
            refusal = ProxyReply(403, denial(feature))
            await self.answer(exchange, refusal, shared=shared, cookies=visit.cookies)
            return
        if self._pool.by_id(visit.session.id) is not visit.session:  # it ended meanwhile
            await self.answer(exchange, ended(), shared=shared, cookies=visit.cookies)
            return
        upstream = self._upstreams.of(visit.session)
        if scope["type"] == "websocket":
            await self._note(visit, scope)
            await relay_websocket(
                visit, exchange, upstream, self._limits, self._pool, self._traffic
            )
            return
        if scope["method"] not in METHODS:
            await self.answer(exchange, ProxyReply(405, "Method not allowed"), shared=shared)
            return
        await self._note(visit, scope)
        save = self._save(visit, scope["method"], upstream)
        if save is not None:
            visit = replace(visit, save=save)
        await HttpRelay(visit, exchange, upstream, self._limits, self._traffic).run()
        if save is not None:
            self._on_save(visit.session.key.user)

    def _save(self, visit: Visit, method: str, upstream: Upstream) -> Save | None:
        key = visit.session.key
        if method in ("GET", "HEAD", "OPTIONS") or key.mode is not Mode.EDIT:
            return None
        change = change_by(visit.rest)
        return change and Save(change, key, self._services.recorder, upstream.saves)

    async def answer(
        self,
        exchange: Exchange,
        refusal: ProxyReply,
        *,
        shared: bool,
        cookies: HeaderList | None = None,
    ) -> None:
        self._traffic.refused += 1
        if exchange.scope["type"] == "websocket":
            status = 403 if refusal.status < 500 else refusal.status
            await refuse_websocket(exchange, status, refusal.text)
            return
        fence = session_headers(sandbox=True, shared=shared)
        whole = [*fence, *refusal.headers, *(cookies or ())]
        await send_text(exchange.send, refusal.status, refusal.text, whole)


_HTML = (b"content-type", b"text/html; charset=utf-8")

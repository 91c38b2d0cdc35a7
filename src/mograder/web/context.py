"""The outermost layer of every app: the context of a request, and the sending of its response.

A reverse proxy may serve the hub under a path prefix and over HTTPS, strip the prefix or not, and
report this and the client's address in headers; they count from trusted peers only. All code behind
this middleware uses one frozen :class:`RequestContext` and never reads these headers again.

A web page may lead its own name to this machine or network (DNS rebinding) and then sends what it
likes, but not another ``Host``: so :func:`is_known_host` decides where a request may name its user.

A reverse proxy written in Go (Caddy) closes its connection to us when it has forwarded the head of
a response before it has read the request's body to its end; the rest of the response is lost, and a
client sees 200 with an empty body (golang/go issue 40747). So a request that is refused early gets
its response only after its body has arrived, and a short response is sent in one write
(:class:`DrainBeforeReply`). A long one, such as the progress of a publication, waits 0.25 s: the
proxy may have sent the last of the body without having checked yet whether more follows. Of a large
or slow body only the first part is read. The refusal then has ``Connection: close``, and
``web.serving`` closes the connection.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mograder.core.errors import InvalidInput
from mograder.core.log import get_logger, request_id
from mograder.core.web_origin import SessionUrl

CONTEXT = "mograder.context"
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_.~-]+)+")
_HOST = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CAPABILITY = re.compile(r"^(/s/|/lti/register/)[^/]{16,}")
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_MAX_HEADER_BYTES = 64 * 1024
_MAX_HEADERS = 200
_NO_COOKIES = {"Clear-Site-Data": '"cookies"'}
"""For the sessions' own hosts. One notebook can set cookies for all of them, and with too many of
those no other notebook would open in that browser."""
_ROUTINE = (b"/s/", b"/edit/user/", b"/run/user/", b"/nodes/connect")
_PRIVATE = ("localhost", "local", "internal")
"""Top-level domains in which no name can be registered."""
_OF_ANY_HOST = frozenset({b"/health", b"/ready"})
_HTTP = 80
_MISDIRECTED = "This server has another name. Its [hub] public_url is {}."
_FORWARDED = frozenset(
    {b"x-forwarded-prefix", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"}
)
_LOGGED_PATH = 500
"""Characters; an address may have 64 KB."""
_access = get_logger("mograder.access")

_DRAINED_BYTES = 2**20
"""Bytes read of a body that is refused; transferring more would be a waste."""
_DRAIN_SECONDS = 2.0
_SHORT_BYTES = 2**16
_FRONT_SECONDS = 0.25
"""Time for a proxy to notice the end of a body; measured at a load of 12 on two processors."""
_REFUSED = 400
_CLOSE = (b"connection", b"close")
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The client's address, the public origin and the path of a request.

    ``prefix`` is "" or like "/live/hub"; ``client`` the peer's address, None on a Unix socket;
    ``address`` is the client's, as a trusted peer reports it, for logs and for counting, "" if it
    is not known. ``path`` is decoded and below the prefix, ``raw_path`` the same in the bytes
    received. ``known_host``: see :func:`is_known_host`. ``began`` is when the request arrived, in
    Unix seconds.
    """

    prefix: str
    scheme: str
    host: str
    own_origins: frozenset[str]
    client: str | None
    request_id: str
    path: str
    raw_path: bytes = b""
    address: str = ""
    known_host: bool = False
    began: float = field(default_factory=time.time)

    @property
    def events(self) -> str:
        """The address of the stream on which a page hears what has changed since its request."""
        return f"{self.prefix}/events?since={self.began:.3f}"

    @property
    def address_here(self) -> str:
        """The public address of this server, as far as the request tells, without a last slash."""
        return f"{self.scheme}://{self.host}{self.prefix}"

    @property
    def secure(self) -> bool:
        """Whether the browser used HTTPS, so that cookies may be ``Secure``."""
        return self.scheme == "https"


def context_of(scope: Scope) -> RequestContext:
    return cast(RequestContext, scope[CONTEXT])


def request_context(request: Request) -> RequestContext:
    return context_of(request.scope)


class ContextMiddleware:
    """The outermost layer: context, request id, limits on headers, access log.

    ``base_url`` is the prefix the hub was configured with, ``public_url`` the scheme and host that
    browsers use; where they are empty, a trusted proxy's headers decide. ``sessions`` are the
    sessions' own origins. ``trusts`` returns whether an address is a trusted proxy's; by default no
    address is.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        base_url: str = "",
        public_url: str = "",
        sessions: SessionUrl | None = None,
        trusts: Callable[[str | None], bool] = lambda _: False,
    ) -> None:
        self._app = app
        self._base_url = _checked_prefix(base_url)
        self._public = _public_origin(public_url)
        self._sessions = sessions
        self._trusts = trusts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if _brings_body(scope):
            whole = DrainBeforeReply(scope, receive, send)
            receive, send = whole.receive, whole.send
        try:
            context = self._context(scope)
        except InvalidInput as error:
            await _refuse(scope, receive, send, 400, error.message)
            return
        headers = scope["headers"]
        # httptools does not limit the total size of the headers.
        size = sum(len(name) + len(value) for name, value in headers)
        if len(headers) > _MAX_HEADERS or size > _MAX_HEADER_BYTES:
            below = self._sessions and self._sessions.is_below(_host_header(headers))
            text = f"The request's headers exceed 64 KB.{' Load the page again.' * bool(below)}"
            await _refuse(scope, receive, send, 431, text, _NO_COOKIES if below else {})
            return
        if self._public and not context.known_host and not _by_program(scope, context):
            text = _MISDIRECTED.format("://".join(self._public))
            await _refuse(scope, receive, send, 421, text)
            return
        await self._run(context, scope, receive, send)

    async def _run(
        self, context: RequestContext, scope: Scope, receive: Receive, send: Send
    ) -> None:
        inner = dict(scope)
        inner[CONTEXT] = context
        inner["root_path"] = context.prefix
        inner["path"] = context.prefix + context.path
        inner["raw_path"] = context.prefix.encode() + context.raw_path
        began = time.perf_counter()
        status = 0
        header = (b"x-request-id", context.request_id.encode())

        async def tagged(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            elif kind == "websocket.accept":
                status = 101
            await send(message)

        token = request_id.set(context.request_id)
        try:
            await self._app(inner, receive, tagged)
        finally:
            _log_access(scope, context, status, time.perf_counter() - began)
            request_id.reset(token)

    def _context(self, scope: Scope) -> RequestContext:
        peer, server = scope.get("client"), scope.get("server")
        client = str(peer[0]) if peer else None
        forwarded = _forwarded(scope["headers"]) if self._trusts(client) else {}
        prefix = self._base_url or _checked_prefix(forwarded.get(b"x-forwarded-prefix", ""))
        named = _host_header(scope["headers"])
        scheme, host = self._public or _origin_seen(scope, forwarded, named)
        public = self._public[1] if self._public else ""
        raw = scope.get("raw_path")
        raw_path = raw if isinstance(raw, bytes) else str(scope["path"]).encode()
        raw_path = raw_path if raw_path.startswith(b"/") else b"/" + raw_path
        mark = prefix.encode()
        if mark and (raw_path == mark or raw_path.startswith(mark + b"/")):
            raw_path = raw_path[len(mark) :] or b"/"
        given = forwarded.get(b"x-request-id", "")
        bare = host.removesuffix(":443" if scheme == "https" else ":80")  # as browsers spell it
        return RequestContext(
            prefix=prefix,
            scheme=scheme,
            host=host,
            own_origins=frozenset({f"{scheme}://{bare}"} if host else ()),
            client=client,
            request_id=given if given and _REQUEST_ID.fullmatch(given) else os.urandom(8).hex(),
            path=unquote(raw_path.decode("latin-1")),
            raw_path=raw_path,
            address=client_address(scope["headers"], client, self._trusts),
            known_host=is_known_host(named, server[1] if server else None, public, self._sessions),
        )


def is_known_host(
    host: str, port: int | None, public: str = "", sessions: SessionUrl | None = None
) -> bool:
    """Return whether a Host header shows that no page of another site sent a request.

    Such a page can lead any name that it owns to this server, so these are safe: this server's
    public name and the sessions' (``public``, ``sessions``), addresses, and names that cannot be
    registered, such as ``localhost`` and those of containers. Where the public name is not
    configured, so is a name without a port, which only a front can have been sent: a browser that
    comes directly names the port on which we listen, ``port``, unless that is 80.
    """
    name, given = _split_host(host)
    if not name or "." not in name or name.rpartition(".")[2] in _PRIVATE or _is_address(name):
        return True
    if public:
        return name == _split_host(public)[0] or (sessions is not None and sessions.is_below(host))
    return not given and port != _HTTP


def client_address(
    headers: Iterable[tuple[bytes, bytes]], peer: str | None, trusts: Callable[[str | None], bool]
) -> str:
    """Return the address of a request's client: a trusted peer's report, else the peer's own.

    The report is the last hop of ``X-Forwarded-For`` that is not trusted itself, or ``X-Real-IP``.
    A front passes on whichever of the two it does not set, as the client sent it: if they differ,
    neither is believed.
    """
    own = peer or ""
    if not trusts(peer):
        return own
    found = set()
    lists: dict[bytes, list[str]] = {b"x-forwarded-for": [], b"x-real-ip": []}
    for name, value in headers:
        if name in lists:
            lists[name] += (each.strip() for each in value.decode("latin-1").split(","))
    for hops in lists.values():
        for hop in reversed(hops):
            address = _address_of(hop)
            if address and trusts(address):
                continue
            found.add(address)
            break
    return found.pop() or own if len(found) == 1 else own


def _address_of(hop: str) -> str:
    """Return a hop's address without port and brackets, "" if it is none."""
    bare = hop[1:].partition("]")[0] if hop.startswith("[") else hop
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    return bare if _is_address(bare) else ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone may be any text


def _split_host(host: str) -> tuple[str, str]:
    """Return the name, without brackets and a final dot, and the port, which may be "".

    A name is in lower case.
    """
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    name, _, port = host.lower().partition(":")
    return name.removesuffix("."), port


def _by_program(scope: Scope, context: RequestContext) -> bool:
    """Return whether a request under an unknown name may be answered: no browser adds a token.

    With a token of another site's page, the trusted header does not count either.
    """
    return context.raw_path in _OF_ANY_HOST or any(
        name == b"authorization" and value[:7].lower() == b"bearer "
        for name, value in scope["headers"]
    )


def _forwarded(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Return a trusted proxy's headers. Raises: InvalidInput for one that is sent twice."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name not in _FORWARDED:
            continue
        if name in found:
            raise InvalidInput(f"The header {name.decode()} was sent twice.")
        found[name] = value.decode("latin-1").split(",")[0].strip()
    return found


def _origin_seen(scope: Scope, forwarded: dict[bytes, str], named: str) -> tuple[str, str]:
    scheme = _SCHEMES.get(forwarded.get(b"x-forwarded-proto", "").lower() or scope["scheme"])
    if scheme is None:
        raise InvalidInput("The header x-forwarded-proto must be http or https.")
    host = forwarded.get(b"x-forwarded-host", "") or named
    if host and not _HOST.fullmatch(host):
        raise InvalidInput("The host name of this request is malformed.")
    return scheme, host.lower()


def _host_header(headers: Iterable[tuple[bytes, bytes]]) -> str:
    values = [value for name, value in headers if name == b"host"]
    if len(values) > 1:
        raise InvalidInput("The header host was sent twice.")
    return values[0].decode("latin-1").strip() if values else ""


def _checked_prefix(prefix: str) -> str:
    """Return "" or an absolute path without dot segments and without its trailing slash.

    Raises: :class:`InvalidInput` for anything else; the prefix ends up in pages and redirects.
    """
    trimmed = prefix.rstrip("/")
    if not trimmed:
        return ""
    dots = any(part in (".", "..") for part in trimmed.split("/"))
    if dots or len(trimmed) > 200 or not _PREFIX.fullmatch(trimmed):
        raise InvalidInput(f"The path prefix {trimmed[:60]!r} is malformed.")
    return trimmed


def _public_origin(public_url: str) -> tuple[str, str] | None:
    if not public_url:
        return None
    parts = urlsplit(public_url)
    bare = parts.path in ("", "/") and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(parts.netloc) or not bare:
        raise InvalidInput(
            f"The public address {public_url!r} is malformed.",
            hint="Give scheme and host, such as https://hub.example.org.",
        )
    return parts.scheme, parts.netloc.lower()


async def _refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    text: str,
    more: Mapping[str, str] = MappingProxyType({}),
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    await PlainTextResponse(text, status, {"Connection": "close", **more})(scope, receive, send)


def _log_access(scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
    # A page of a session loads hundreds of files, so only its failures are logged at INFO; nodes
    # connect as often.
    routine = status < 400 and context.raw_path.startswith(_ROUTINE)
    level = logging.DEBUG if routine else logging.INFO
    if not _access.isEnabledFor(level):
        return
    # The query stays out: it may carry a marimo session id or a sign-in code. The formatter
    # masks too; doing it here keeps a capability out of every other handler as well.
    path = _CAPABILITY.sub(r"\1***", context.raw_path.decode("latin-1"), count=1)[:_LOGGED_PATH]
    _access.log(
        level,
        "%s %s %s %d ms from %s",
        scope.get("method", "WS"),
        context.prefix + path,
        status or "-",
        round(seconds * 1000),
        context.address or "unix",
    )


def _brings_body(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] in _BODILESS:
        return False
    return any(
        (name == b"content-length" and value.strip() != b"0") or name == b"transfer-encoding"
        for name, value in scope["headers"]
    )


class DrainBeforeReply:
    """The ``receive`` and ``send`` of one request that :func:`_brings_body`.

    Mutable state: whether the app has read from the body, whether it is reading at the moment (a
    proxy does, while it answers), whether the body has ended, and the head that is held back until
    the body of the response follows (in the same turn of the loop, so in one write).
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._asked = False
        self._asking = False
        self._ended = False
        self._head: Message | None = None
        # A client that waits for 100-continue is not asked to send a body that is not read.
        self._waits = any(name == b"expect" for name, _ in scope["headers"])

    async def receive(self) -> Message:
        self._asked = self._asking = True
        try:
            message = await self._receive()
        finally:
            self._asking = False
        self._ended = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the response; its head waits for the request's body or its own body."""
        if message["type"] == "http.response.start":
            if not self._ended and self._refuses(message):
                await self._drain()
            if not self._ended and message["status"] >= _REFUSED:
                others = [each for each in message.get("headers", ()) if each[0] != _CLOSE[0]]
                message = {**message, "headers": [*others, _CLOSE]}
            if _is_short(message):
                self._head = message
                return
            if self._asked and self._ended and message["status"] < _REFUSED:
                await asyncio.sleep(_FRONT_SECONDS)
        elif self._head is not None:
            head, self._head = self._head, None
            await self._send(head)
        await self._send(message)

    def _refuses(self, start: Message) -> bool:
        """Whether this is a response after which the app reads no more of the body."""
        if not self._asked:
            return not self._waits
        return not self._asking and start["status"] >= _REFUSED

    async def _drain(self) -> None:
        left = _DRAINED_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0 and not self._ended:  # by the body's end or a disconnect
                    message = await self._receive()
                    self._ended = not message.get("more_body", False)
                    left -= len(message.get("body", b""))


def _is_short(start: Message) -> bool:
    for name, value in start.get("headers", ()):
        if name == b"content-length":
            return bool(value.isdigit()) and int(value) <= _SHORT_BYTES
    return False

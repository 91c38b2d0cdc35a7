"""Relays one HTTP exchange between a client and a session, streaming both ways.

No body is held in memory as a whole, except the answer to a save
(:mod:`~mograder.hub.save_recording`); of a page, its start is, up to its ``<head>``. The end of the
client, the server, the session or the capability ends the exchange.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiohttp
from starlette.types import Message, Receive, Scope, Send

from mograder.core.errors import MograderError, TooLarge
from mograder.core.log import get_logger
from mograder.hub.save_recording import Change, Save
from mograder.notebook import MAX_NOTEBOOK
from mograder.web.error_responses import status_of
from mograder.web.hub.core.metrics import ProxyCounters
from mograder.web.hub.proxy.answer_rules import (
    HEAD_END,
    HEAD_WITHIN,
    Page,
    Shape,
    Visit,
    hold_files,
    insert_after_head,
    insert_at_beginning,
    page_insert,
    shape_answer,
)
from mograder.web.hub.proxy.headers import HeaderList, header, upstream_headers
from mograder.web.hub.proxy.upstream import Body, Upstream

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""The methods that are passed on to a session (compatibility-0.3.16.md 2.3)."""

_DOCTYPE_WITHIN = 1024
"""Bytes of a frame's HTML within which its document type must end."""

_log = get_logger("mograder.web.hub.proxy.http_relay")

_UNWATCHED_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an exchange; ``answer_seconds`` is how long a server may take to answer."""

    request_bytes: int
    answer_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Exchange:
    scope: Scope
    receive: Receive
    send: Send


async def send_text(send: Send, status: int, text: str, headers: HeaderList) -> None:
    body = text.encode()
    own = [(b"cache-control", b"no-store")]
    if status != 204:
        own.append((b"content-length", str(len(body)).encode()))
    if status != 204 and not header(headers, b"content-type"):
        own.append((b"content-type", b"text/plain; charset=utf-8"))
    await send({"type": "http.response.start", "status": status, "headers": own + headers})
    await send({"type": "http.response.body", "body": body})


class HttpRelay:
    """One exchange; every failure is answered, too, until the response has ``_started``."""

    def __init__(
        self,
        visit: Visit,
        exchange: Exchange,
        upstream: Upstream,
        limits: Limits,
        traffic: ProxyCounters,
    ) -> None:
        self._visit = visit
        self._scope = exchange.scope
        self._send = exchange.send
        self._upstream = upstream
        self._limits = limits
        self._traffic = traffic
        self._timeout = ExchangeTimeout()
        self._upload = _Upload(exchange, limits, traffic, self._timeout)
        self._started = False

    async def run(self) -> None:
        declared, timeout = self._upload.declared, self._timeout
        if declared is not None and declared > self._limits.request_bytes:
            await self._refuse(End.TOO_LARGE)
            return
        async with timeout:
            undo = (self._upstream.on_close(timeout.cut), self._visit.on_revoke(timeout.cut))
            try:
                await self._relay()
            finally:
                for each in undo:
                    each()
        if timeout.ended is not None and not self._started and timeout.ended is not End.GONE:
            await self._refuse(timeout.ended)

    async def _relay(self) -> None:
        try:
            response = await self._ask()
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            # aiohttp raises RuntimeError for a client that was closed at this very moment.
            if self._timeout.ended is None:
                _log.info("session %s did not answer properly: %r", self._visit.session.id, error)
                await self._unavailable()
            return
        self._upload.note_answered()
        try:
            if 200 <= response.status <= 599:
                await self._pass_on(response)
            else:
                await self._unavailable()
        except (aiohttp.ClientError, OSError, MograderError) as error:
            # Half a response must not look complete, so it is left unfinished.
            _log.info("session %s ended its response early: %r", self._visit.session.id, error)
            if not self._started:
                await self._unavailable()
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _ask(self) -> aiohttp.ClientResponse:
        visit, upload = self._visit, self._upload
        headers = upstream_headers(self._scope["headers"], whole=visit.whole)
        if visit.rest.startswith("public/"):  # as the service worker would
            headers["X-Notebook-Id"] = quote(f"{visit.session.key.item}.py", safe="")
        body = await upload.body()
        if body is not None and upload.declared is not None:
            headers["Content-Length"] = str(upload.declared)
        self._timeout.expect_within(self._limits.answer_seconds)
        return await self._upstream.request(self._scope["method"], visit.target, headers, body)

    async def _pass_on(self, response: aiohttp.ClientResponse) -> None:
        visit, content = self._visit, response.content
        headers = [(name.lower(), value) for name, value in response.raw_headers]  # as ASGI's
        shape = shape_answer(visit, self._scope["method"], response.status, headers)
        if shape.body is not None:
            await self._start(shape)
            await self._part(shape.body, more=False)
            return
        start, added = b"", len(shape.append)
        if shape.based and visit.page is not None:
            page = await visit.page()
            self._timeout.expect_within(self._limits.answer_seconds)
            start, inserted = await _start_of_page(content, page, visit.rest)
            self._timeout.expect_within(None)
            added += inserted
        elif shape.prepend:
            self._timeout.expect_within(self._limits.answer_seconds)
            while len(start) < _DOCTYPE_WITHIN and not content.at_eof():
                start += await content.readany()
            start = insert_at_beginning(start, shape.prepend)
            self._timeout.expect_within(None)
            added += len(shape.prepend)
        elif visit.save is not None and response.status == 200:
            try:
                start = await self._recorded(visit.save, response)
            except MograderError as error:  # the page shows an error, and saves again later
                _log.warning("a save of %s was not recorded: %s", visit.session.key, error)
                self._started = True
                text = f"The hub could not record this version: {error}"
                await send_text(self._send, status_of(error), text, visit.own_headers())
                return
        await self._start(shape, added)
        rate_limit = self._upstream.streamed
        while not content.at_eof():
            if start:
                await self._part(start, more=True)
                await rate_limit.passed(len(start))
            start = await content.readany()
        await self._part(start + shape.append, more=False)

    async def _recorded(self, save: Save, response: aiohttp.ClientResponse) -> bytes:
        """Return the beginning of the answer to a save, once recorded. Raises: Busy, TooLarge."""
        content, held = response.content, bytearray()
        self._timeout.expect_within(self._limits.answer_seconds)
        async with save.turns.turn():
            if save.change is Change.TEXT and not response.headers.get("Content-Encoding"):
                while len(held) <= MAX_NOTEBOOK and not content.at_eof():
                    held += await content.readany()
                if len(held) > MAX_NOTEBOOK:
                    save.recorder.tally.too_large += 1
                    raise TooLarge(
                        f"The notebook is larger than {MAX_NOTEBOOK // 1_000_000} MB, and could "
                        "not be opened again.",
                        hint="Move the data in it to a file of its own, and save again.",
                    )
                await save.record(bytes(held))
            else:
                await save.record(None)
        self._timeout.expect_within(None)
        return bytes(held)

    async def _start(self, shape: Shape, added: int = 0) -> None:
        headers = shape.headers
        if shape.length is not None:
            headers = [*headers, (b"content-length", str(shape.length + added).encode())]
        self._started = True
        await self._send(
            {"type": "http.response.start", "status": shape.status, "headers": headers}
        )

    async def _part(self, body: bytes, *, more: bool) -> None:
        self._traffic.bytes_out += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _unavailable(self) -> None:
        self._started = True
        text = f"{self._visit.noun} unavailable"
        await send_text(self._send, 502, text, self._visit.own_headers())

    async def _refuse(self, why: End) -> None:
        noun, headers = self._visit.noun, self._visit.own_headers()
        status, text = {
            End.TOO_LARGE: (413, f"The request exceeds {self._limits.request_bytes // 2**20} MB."),
            End.NO_ANSWER: (504, f"{noun} did not answer in time"),
            End.NO_REQUEST: (408, "The request did not arrive in time."),
        }.get(why, (502, f"{noun} unavailable"))
        if why is End.NO_REQUEST:
            headers.append((b"connection", b"close"))
        await send_text(self._send, status, text, headers)


class _Upload:
    def __init__(
        self, exchange: Exchange, limits: Limits, traffic: ProxyCounters, timeout: ExchangeTimeout
    ) -> None:
        headers = exchange.scope["headers"]
        length = header(headers, b"content-length")
        self.declared = int(length) if length.isdigit() and len(length) < 19 else None
        self.chunked = bool(header(headers, b"transfer-encoding"))
        self._receive = exchange.receive
        self._limits = limits
        self._timeout = timeout
        self._traffic = traffic
        self.answered = False
        self.writing = False

    async def body(self) -> Body:
        if not self.declared and not self.chunked:
            self._timeout.watch(self._receive)
            return None
        self._timeout.expect_within(self._limits.answer_seconds, End.NO_REQUEST)
        first = await self._receive()
        if first["type"] == "http.request" and not first.get("more_body", False):
            self._timeout.watch(self._receive)
            whole = bytes(first.get("body", b""))
            self._traffic.bytes_in += len(whole)
            return whole
        return self._stream(first)

    async def _stream(self, message: Message) -> AsyncIterator[bytes]:
        total = 0
        try:
            while True:
                if message["type"] == "http.disconnect":
                    self._timeout.end(End.GONE)
                    raise ConnectionResetError
                chunk = message.get("body", b"")
                total += len(chunk)
                self._traffic.bytes_in += len(chunk)
                if total > self._limits.request_bytes:
                    self._timeout.end(End.TOO_LARGE)
                    raise ConnectionAbortedError
                # A server that does not read is treated as one that does not answer.
                self._wait(End.NO_ANSWER, always=True)
                self.writing = True
                if chunk:
                    yield chunk
                self.writing = False
                self._wait(End.NO_ANSWER)
                if not message.get("more_body", False):
                    return
                self._wait(End.NO_REQUEST)
                message = await self._receive()
        finally:
            self.writing = False
            self._timeout.watch(self._receive)

    def _wait(self, otherwise: End, *, always: bool = False) -> None:
        unbounded = self.answered and not always
        self._timeout.expect_within(None if unbounded else self._limits.answer_seconds, otherwise)

    def note_answered(self) -> None:
        """Note that the headers have arrived: from now on only writing is limited in time."""
        self.answered = True
        if not self.writing:
            self._timeout.expect_within(None)


class End(Enum):
    GONE = auto()
    CUT = auto()
    """The session stopped, or the capability was revoked."""
    TOO_LARGE = auto()
    NO_ANSWER = auto()
    NO_REQUEST = auto()
    """The client began a body and stopped sending."""


class ExchangeTimeout:
    """Surrounds one HTTP exchange; an early end raises nothing and sets ``ended`` to the reason.

    It is one timer of the task itself (``asyncio.timeout``) that any callback may trigger, so a
    quick exchange, as nearly all are, needs no second task. Only when one takes longer than a
    quarter of a second does a task watch the client, since ASGI reports a disconnect on reading.
    """

    def __init__(self) -> None:
        self.ended: End | None = None
        self._open = False
        self._timeout = asyncio.timeout(None)
        self._on_expiry = End.NO_ANSWER
        self._later: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._open = False
        swallowed = False
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            swallowed = True
        if self._timeout.expired():
            self.ended = self.ended or self._on_expiry
        if self._later is not None:
            self._later.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait((self._watcher,))
        return swallowed

    def expect_within(self, seconds: float | None, otherwise: End = End.NO_ANSWER) -> None:
        """End the exchange unless this is called again within so many seconds; None: no limit."""
        if not self._pullable():
            return
        self._on_expiry = otherwise
        loop = asyncio.get_running_loop()
        self._timeout.reschedule(None if seconds is None else loop.time() + seconds)

    def end(self, why: End) -> None:
        if self._pullable():
            self.ended = why
            self._timeout.reschedule(0)

    def _pullable(self) -> bool:
        return self._open and self.ended is None and not self._timeout.expired()

    def cut(self) -> None:
        self.end(End.CUT)

    def watch(self, receive: Receive) -> None:
        """End the exchange when the client disconnects; its request has been read completely."""
        if not self._open or self._later is not None:
            return

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.end(End.GONE)

        def begin() -> None:
            self._watcher = asyncio.ensure_future(watch())

        self._later = asyncio.get_running_loop().call_later(_UNWATCHED_SECONDS, begin)


async def _start_of_page(content: aiohttp.StreamReader, page: Page, rest: str) -> tuple[bytes, int]:
    """Insert into a page's ``<head>``, if any; return the start, and its growth in bytes."""
    start = b""
    while len(start) < HEAD_WITHIN and HEAD_END not in start:
        if content.at_eof():
            break
        start += await content.readany()
    held = hold_files(start) if page.opaque else None
    insert = page_insert(page, rest, held=held is not None)
    changed = insert_after_head(start if held is None else held, insert)
    return (start, 0) if changed is None else (changed, len(changed) - len(start))

"""How the hub connects to a session's server, and its own requests to one.

On its own machine it connects by a Unix socket. It asks whether the server answers, how many of its
pages are open, and what their outputs are; and it switches on that several pages edit one notebook
(marimo's ``rtc_v2``). marimo reads that setting when a page connects: a page that was loaded before
must be loaded again. Student code may send the answers: they are limited in size and time,
redirects are not followed, and they count for nothing but the page that the server serves anyway.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mograder.core.log import get_logger
from mograder.sandbox.protocol import Endpoint


class Connections(Protocol):
    def connector(
        self, endpoint: Endpoint, *, limit: int = 100, keepalive: float | None = None
    ) -> aiohttp.BaseConnector:
        """Return a connector to one session's server; with ``keepalive`` None for one request each.

        ``keepalive`` is how long an unused connection is kept, in seconds.
        """
        ...

    def is_dead(self, endpoint: Endpoint) -> bool:
        """Return whether the server certainly accepts no more connections; does not block."""
        ...


class SessionResponses(ResponseHandler):
    """A connection to a session's server, where student code may answer.

    An interim response but 101 (RFC 9110 15.2) ends it: the hub asks for none, and aiohttp skips
    any number. Up to 256 KB are read at once, so responses are parsed in pieces.
    """

    def data_received(self, data: bytes) -> None:
        size = max(len(data), 1) if self.upgraded else _PIECE_BYTES
        for begin in range(0, max(len(data), 1), size):
            if self.transport is not None:
                super().data_received(data[begin : begin + size])

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if data[0].code < _FINAL and data[0].code != _UPGRADED:
            self.abort()
        else:
            super().feed_data(data, size)


class _LocalConnector(aiohttp.UnixConnector):
    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(path, **options)
        self._factory = cast("partial[ResponseHandler]", partial(SessionResponses, loop=self._loop))


class LocalConnections:
    def connector(
        self, endpoint: Endpoint, *, limit: int = 100, keepalive: float | None = None
    ) -> aiohttp.BaseConnector:
        path = str(endpoint.socket)
        if keepalive is None:
            return _LocalConnector(path, limit=limit, force_close=True)
        return _LocalConnector(path, limit=limit, keepalive_timeout=keepalive)

    def is_dead(self, endpoint: Endpoint) -> bool:
        with socket.socket(socket.AF_UNIX) as line:
            line.setblocking(False)
            try:
                line.connect(str(endpoint.socket))
            except (ConnectionRefusedError, FileNotFoundError):
                return True
            except OSError:  # its backlog is full, or this process has too many open files
                pass
        return False


_PIECE_BYTES = 16_384
_FINAL, _UPGRADED = 200, 101

Probe = Callable[[Endpoint, str], Awaitable[bool]]
Census = Callable[[Endpoint, str], Awaitable[int | None]]

_CENSUS_SECONDS = 5.0
_CENSUS_BYTES = 1024
_LOCAL = LocalConnections()


class _Connections(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    active: int = Field(ge=0)


async def answers(endpoint: Endpoint, base_url: str, *, via: Connections = _LOCAL) -> bool:
    """Wait for the server's ``/health``; return whether its status is 200.

    One request at start is enough: the socket queues it until the server listens. The caller
    limits the time.
    """
    async with (
        client_of(via, endpoint, None) as client,
        client.get(f"http://session{base_url}/health", allow_redirects=False) as response,
    ):
        return response.status == 200


async def connections(
    endpoint: Endpoint,
    base_url: str,
    *,
    seconds: float = _CENSUS_SECONDS,
    via: Connections = _LOCAL,
) -> int | None:
    """Return the number of open pages, as reported by the server; None without a valid answer.

    A false report can only keep the session alive as long as a forgotten page would.
    """
    url = f"http://session{base_url}/api/status/connections"
    try:
        async with (
            client_of(via, endpoint, seconds) as client,
            client.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                return None
            return _Connections.model_validate_json(await _whole(response, _CENSUS_BYTES)).active
    except (aiohttp.ClientError, OSError, ValidationError):
        return None


def client_of(via: Connections, endpoint: Endpoint, seconds: float | None) -> aiohttp.ClientSession:
    """Return a client of a session's server, with ``seconds`` for a request."""
    return aiohttp.ClientSession(
        connector=via.connector(endpoint),
        timeout=aiohttp.ClientTimeout(total=seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a thousand compressed bytes can expand to a million
        headers={"Accept-Encoding": "identity"},
    )


_SECONDS = 10.0
PAGE_BYTES, _EXPORT_BYTES = 4 << 20, 16 << 20
_IDS_BYTES = 64 << 10
"""Of some hundred sessions. It is parsed in the event loop: 4 MB of brackets would take 1 s."""
_TOKEN = re.compile(rb'"serverToken":\s*"([A-Za-z0-9_.+/=-]{0,200})"')
_SHARED = re.compile(rb'"rtc_v2":\s*true')
_EXPORT = {"download": False, "files": [], "includeCode": False}
_IDS = TypeAdapter(dict[str, object])
_CHANGE = {"config": {"experimental": {"rtc_v2": True}}}
_log = get_logger(__name__)


async def share_editing(endpoint: Endpoint, base_url: str, via: Connections) -> bool:
    """Let the pages of a session edit its notebook together; return whether they can.

    False for a marimo that does not know the setting, or does not answer.
    """
    base = f"http://session{base_url}"
    try:
        async with client_of(via, endpoint, _SECONDS) as client:
            page = await _page(client, base)
            if _SHARED.search(page):
                return True
            headers, url = token_in(page), f"{base}/api/kernel/save_user_config"
            answering = client.post(url, json=_CHANGE, headers=headers, allow_redirects=False)
            async with answering as answer:
                status = answer.status
            if status == 200:
                return _SHARED.search(await _page(client, base)) is not None
            _log.info("a session refused to be shared: %d", status)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        _log.info("a session could not be shared: %r", error)
    return False


async def exported_page(endpoint: Endpoint, base_url: str, via: Connections) -> bytes:
    """Return marimo's export of an open notebook as HTML, with the outputs that it shows now.

    b"" where the server gives none, or a page of more than 16 MiB.
    """
    base = f"http://session{base_url}"
    try:
        async with client_of(via, endpoint, _SECONDS) as client:
            async with client.get(f"{base}/api/sessions", allow_redirects=False) as answer:
                ids = _IDS.validate_json(await _whole(answer, _IDS_BYTES))
            token, url = token_in(await _page(client, base)), f"{base}/api/export/html"
            headers = {"Marimo-Session-Id": next(iter(ids), ""), **token}
            exporting = client.post(url, json=_EXPORT, headers=headers, allow_redirects=False)
            async with exporting as answer:
                return await _whole(answer, _EXPORT_BYTES) if answer.status == 200 else b""
    except (aiohttp.ClientError, OSError, ValueError) as error:
        _log.info("the outputs of a session could not be read: %r", error)
        return b""


def token_in(page: bytes) -> dict[str, str]:
    token = _TOKEN.search(page)
    return {"Marimo-Server-Token": token[1].decode() if token else ""}


async def _page(client: aiohttp.ClientSession, base: str) -> bytes:
    """Return the session's page, at most 4 MiB of it."""
    async with client.get(f"{base}/", allow_redirects=False) as answer:
        return await beginning(answer, PAGE_BYTES)


async def _whole(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """Return a body, b"" for one of more bytes."""
    body = await beginning(answer, most + 1)
    return body if len(body) <= most else b""


async def beginning(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """Return at most so many bytes of a body."""
    body = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) >= most:
            break
    return bytes(body[:most])

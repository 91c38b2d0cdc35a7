"""How the hub connects to a session's server, and its own requests to one.

On its own machine it connects by a Unix socket. It asks whether the server answers, how many of its
pages are open, and switches on that several pages edit one notebook (marimo's ``rtc_v2``). marimo
reads that setting when a page connects: a page that was loaded before must be loaded again. Student
code may send the answers: they are limited in size and time, redirects are not followed, and they
count for nothing but the page that the server serves anyway.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mograder.core.log import get_logger
from mograder.sandbox.protocol import Endpoint


class Connections(Protocol):
    """Connects to the servers of sessions, wherever they run."""

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


class LocalConnections:
    """Connections to sessions on the hub's own machine."""

    def connector(
        self, endpoint: Endpoint, *, limit: int = 100, keepalive: float | None = None
    ) -> aiohttp.BaseConnector:
        """Return a connector to a Unix socket."""
        path = str(endpoint.socket)
        if keepalive is None:
            return aiohttp.UnixConnector(path, limit=limit, force_close=True)
        return aiohttp.UnixConnector(path, limit=limit, keepalive_timeout=keepalive)

    def is_dead(self, endpoint: Endpoint) -> bool:
        """Return whether the socket refuses connections."""
        with socket.socket(socket.AF_UNIX) as line:
            line.setblocking(False)
            try:
                line.connect(str(endpoint.socket))
            except (ConnectionRefusedError, FileNotFoundError):
                return True
            except OSError:  # its backlog is full, or this process has too many open files
                pass
        return False


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
        _client(via, endpoint, None) as client,
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
            _client(via, endpoint, seconds) as client,
            client.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                return None
            return _Connections.model_validate_json(await _read(response)).active
    except (aiohttp.ClientError, OSError, ValidationError):
        return None


def _client(via: Connections, endpoint: Endpoint, seconds: float | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=via.connector(endpoint),
        timeout=aiohttp.ClientTimeout(total=seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a thousand compressed bytes can expand to a million
    )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return a body of at most 1024 bytes, and b"" for a longer one."""
    body = b""
    async for chunk in response.content.iter_chunked(_CENSUS_BYTES):
        body += chunk
        if len(body) > _CENSUS_BYTES:
            return b""
    return body


_SECONDS = 10.0
_PAGE_BYTES = 4 << 20
_TOKEN = re.compile(rb'"serverToken":\s*"([A-Za-z0-9_.+/=-]{0,200})"')
_SHARED = re.compile(rb'"rtc_v2":\s*true')
_CHANGE = {"config": {"experimental": {"rtc_v2": True}}}
_log = get_logger(__name__)


async def share_editing(endpoint: Endpoint, base_url: str, via: Connections) -> bool:
    """Let the pages of a session edit its notebook together; return whether they can.

    False for a marimo that does not know the setting, or does not answer.
    """
    base = f"http://session{base_url}"
    client = aiohttp.ClientSession(
        connector=via.connector(endpoint),
        timeout=aiohttp.ClientTimeout(total=_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    )
    try:
        async with client:
            return await _share(client, base)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        _log.info("a session could not be shared: %r", error)
        return False


async def _share(client: aiohttp.ClientSession, base: str) -> bool:
    page = await _page(client, base)
    if _SHARED.search(page):
        return True
    token = _TOKEN.search(page)
    headers = {"Marimo-Server-Token": token[1].decode() if token else ""}
    url = f"{base}/api/kernel/save_user_config"
    async with client.post(url, json=_CHANGE, headers=headers, allow_redirects=False) as answer:
        if answer.status != 200:
            _log.info("a session refused to be shared: %d", answer.status)
            return False
    return _SHARED.search(await _page(client, base)) is not None


async def _page(client: aiohttp.ClientSession, base: str) -> bytes:
    """Return the session's page, at most 4 MiB of it."""
    body = bytearray()
    async with client.get(f"{base}/", allow_redirects=False) as answer:
        async for chunk in answer.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > _PAGE_BYTES:
                break
    return bytes(body)

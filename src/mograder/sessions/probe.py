"""Requests to a session's server: whether it answers, and how many of its pages are open.

Student code may send the answers: they are limited in size and time, and redirects are not
followed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mograder.sandbox.protocol import Endpoint
from mograder.sessions.connections import Connections, LocalConnections

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

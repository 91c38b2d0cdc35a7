"""What a session's server is asked: whether it answers, and how many pages of it are open.

Student code may be what answers: answers are bounded in size and time, and nothing they name is
asked for.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mograder.sandbox.protocol import Endpoint

Probe = Callable[[Endpoint, str], Awaitable[bool]]
Census = Callable[[Endpoint, str], Awaitable[int | None]]

_CENSUS_SECONDS = 5.0
_CENSUS_BYTES = 1024


class _Connections(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    active: int = Field(ge=0)


async def answers(endpoint: Endpoint, base_url: str) -> bool:
    """Wait for the server's ``/health``; false when it answers, but not well.

    Asked once at start; its socket queues until it does, and the pool bounds the time.
    """
    async with (
        _client(endpoint, None) as client,
        client.get(f"http://session{base_url}/health", allow_redirects=False) as response,
    ):
        return response.status == 200


def listens_no_more(endpoint: Endpoint) -> bool:
    """Whether nobody takes connections any more: the server is dead. Does not wait."""
    with socket.socket(socket.AF_UNIX) as line:
        line.setblocking(False)
        try:
            line.connect(str(endpoint.socket))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:  # it has too many connections, or we have too many files
            pass
    return False


async def connections(
    endpoint: Endpoint, base_url: str, *, seconds: float = _CENSUS_SECONDS
) -> int | None:
    """Return how many pages the server says are open; none when it says nothing sensible.

    It may lie, but only to live as long as a page that somebody forgot.
    """
    url = f"http://session{base_url}/api/status/connections"
    try:
        async with (
            _client(endpoint, seconds) as client,
            client.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                return None
            return _Connections.model_validate_json(await _read(response)).active
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValidationError):
        return None


def _client(endpoint: Endpoint, seconds: float | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(endpoint.socket)),
        timeout=aiohttp.ClientTimeout(total=seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a thousand bytes can hold a million
    )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read a short body; of a longer one, nothing."""
    body = b""
    async for chunk in response.content.iter_chunked(_CENSUS_BYTES):
        body += chunk
        if len(body) > _CENSUS_BYTES:
            return b""
    return body

"""Is a session's server answering? Asked once at start; its socket queues until it does."""

from __future__ import annotations

import aiohttp

from mograder.sessions.launcher import Endpoint


async def answers(endpoint: Endpoint, base_url: str) -> bool:
    """Wait for the server's ``/health``; false when it answers, but not well."""
    connector = aiohttp.UnixConnector(str(endpoint.socket))
    timeout = aiohttp.ClientTimeout(total=None)  # the pool bounds it
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
        # Student code may be what answers: nothing it names is asked for.
        client.get(f"http://session{base_url}/health", allow_redirects=False) as response,
    ):
        return response.status == 200

"""Switches on, in a session, that several pages edit one notebook: marimo's ``rtc_v2``.

marimo reads the setting when a page connects, so it is a request to a session that runs. A page
that was loaded before does not know of it and must be loaded again. The server may be under a
student's control: what it sends is limited in size and time, and counts for nothing but the page
that it serves anyway.
"""

from __future__ import annotations

import re

import aiohttp

from mograder.core.log import get_logger
from mograder.sandbox.protocol import Endpoint
from mograder.sessions.connections import Connections

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

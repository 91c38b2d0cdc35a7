"""One page of a session, without a browser: it has marimo run all cells, as a student's page does.

The page has a token, the WebSocket brings the kernel's messages, a POST request starts the cells.
What the session's server sends was perhaps written by the notebook's code: it is bounded, and only
the kinds of its messages are read.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp

from mograder.core.errors import RemoteFailed
from mograder.sandbox.protocol import Endpoint
from mograder.sessions.connections import Connections

_MOST_PAGE = 32 << 20
_MOST_MESSAGE = 32 << 20
"""Bytes; marimo cuts an output at 8 MB."""

_CLOSE_SECONDS = 0.5
_TOKEN = re.compile(rb'"serverToken":\s*"([^"\\]{0,200})"')
_OPERATION = re.compile(r'\{"op":\s?"([a-z-]{1,40})"')
_OUTPUT = re.compile(r'"output":\s?\{')
_ERROR = "application/vnd.marimo+error"
_RUNS_BY_ITSELF = re.compile(r'"auto_instantiated":\s?true')


class CellRun:
    """The messages of one page, whose times are those of ``now``, in seconds.

    ``first_output`` and ``all_cells`` are None until that has happened; ``errors`` counts the cells
    that ended with an error, as far as the messages tell.
    """

    def __init__(
        self, http: aiohttp.ClientSession, base_url: str, now: Callable[[], float]
    ) -> None:
        self.first_output: float | None = None
        self.all_cells: float | None = None
        self.errors = 0
        self._http = http
        self._url = f"http://session{base_url}"
        self._now = now
        self._session = f"s_{secrets.token_hex(3)}"
        self._ready = ""
        self._news = asyncio.Event()
        self._closed = False
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None

    async def run_all(self) -> None:
        """Load the page, connect, and wait until all cells have run.

        Raises: :class:`~mograder.core.errors.RemoteFailed` when the server does not do that.
        """
        try:
            token = await self._load()
            await self._connect()
            await self._until(lambda: bool(self._ready))
            if not _RUNS_BY_ITSELF.search(self._ready):
                await self._instantiate(token)
        except (aiohttp.ClientError, OSError) as error:
            raise RemoteFailed(f"The notebook's server did not answer: {error}") from error
        await self._until(lambda: self.all_cells is not None)

    async def close(self) -> None:
        """Close the page."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    async def _load(self) -> str:
        async with self._http.get(f"{self._url}/", allow_redirects=False) as answer:
            _expect(answer, "its page")
            page = bytearray()
            async for chunk in answer.content.iter_chunked(1 << 16):
                page += chunk
                if len(page) > _MOST_PAGE:
                    raise RemoteFailed("The notebook's server sends a page without end.")
        found = _TOKEN.search(page)
        return found[1].decode("latin-1") if found else ""

    async def _connect(self) -> None:
        url = f"{self._url}/ws?session_id={self._session}"
        timeout = aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS)
        self._socket = await self._http.ws_connect(url, max_msg_size=_MOST_MESSAGE, timeout=timeout)
        self._reader = asyncio.create_task(self._read(self._socket))

    async def _instantiate(self, token: str) -> None:
        headers = {"Marimo-Session-Id": self._session, "Marimo-Server-Token": token}
        body = {"objectIds": [], "values": [], "autoRun": True}
        url = f"{self._url}/api/kernel/instantiate"
        async with self._http.post(url, json=body, headers=headers) as answer:
            _expect(answer, "the request to run all cells")

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(message.data)
        finally:
            self._closed = True
            self._news.set()

    def _take(self, message: str) -> None:
        found = _OPERATION.match(message)
        operation = found[1] if found else ""
        if operation == "kernel-ready":
            self._ready = message
        elif operation == "cell-op":
            if self.first_output is None and _OUTPUT.search(message):
                self.first_output = self._now()
            self.errors += _ERROR in message
        elif operation == "completed-run" and self.all_cells is None:
            self.all_cells = self._now()
        self._news.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            if self._closed:
                raise RemoteFailed("The notebook's server closed the connection.")
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def opened(
    via: Connections, endpoint: Endpoint, base_url: str, now: Callable[[], float]
) -> AsyncIterator[CellRun]:
    """Yield a page of a session that is not loaded yet; it is closed at the end of the block."""
    async with aiohttp.ClientSession(
        connector=via.connector(endpoint),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as http:
        page = CellRun(http, base_url, now)
        try:
            yield page
        finally:
            await page.close()


def _expect(answer: aiohttp.ClientResponse, what: str) -> None:
    if answer.status != 200:
        raise RemoteFailed(f"The notebook's server answered {what} with {answer.status}.")

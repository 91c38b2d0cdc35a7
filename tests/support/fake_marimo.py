"""A server that speaks enough of marimo's protocol for one page: the cells run at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from mograder.sandbox.protocol import Endpoint

TOKEN = "a-token"


@dataclass
class FakeMarimo:
    """All sessions at one socket; ``pages`` are the paths that were loaded.

    ``by_itself``: cells run without a request, as in a lecture. ``silent``: they never end.
    ``broken``: the server closes each connection as soon as the cells are to run.
    """

    socket: Path
    by_itself: bool = False
    silent: bool = False
    broken: bool = False
    status: int = 200
    page: str = f'<script>{{"serverToken": "{TOKEN}"}}</script>'
    extra: tuple[dict[str, object], ...] = ()
    """Messages between the first and the last one."""
    pages: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    """The sessions whose WebSockets are open."""
    joined: Callable[[str], None] = lambda _: None
    _starts: dict[str, asyncio.Event] = field(default_factory=dict)

    def connector(
        self, endpoint: Endpoint, *, limit: int = 100, keepalive: float | None = None
    ) -> aiohttp.BaseConnector:
        """Connect to this server, whatever the endpoint."""
        return aiohttp.UnixConnector(str(self.socket), limit=limit)

    def is_dead(self, endpoint: Endpoint) -> bool:
        """Say that all live."""
        return False

    async def serve_page(self, request: web.Request) -> web.Response:
        self.pages.append(request.path)
        return web.Response(text=self.page, status=self.status, content_type="text/html")

    async def instantiate(self, request: web.Request) -> web.Response:
        if request.headers.get("Marimo-Server-Token") != TOKEN:
            return web.Response(status=401)
        self._starts[request.headers["Marimo-Session-Id"]].set()
        return web.json_response({"success": True})

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        name = request.query["session_id"]
        started = self._starts[name] = asyncio.Event()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.open.add(request.path)
        self.joined(request.path)
        try:
            await self._run(socket, started)
            async for _ in socket:
                pass
        finally:
            self.open.discard(request.path)
        return socket

    async def _run(self, socket: web.WebSocketResponse, started: asyncio.Event) -> None:
        ready = {"cell_ids": ["a"], "auto_instantiated": self.by_itself}
        await socket.send_str(json.dumps({"op": "kernel-ready", "data": ready}))
        if not self.by_itself:
            await started.wait()
        if self.broken:
            await socket.close()
            return
        output = {"mimetype": "text/html", "data": "1"}
        said = {"op": "cell-op", "data": {"cell_id": "a", "output": output}}
        for message in (said, *self.extra):
            await socket.send_str(json.dumps(message))
        if not self.silent:
            await socket.send_str(json.dumps({"op": "completed-run", "data": {}}))


@asynccontextmanager
async def fake_marimo(directory: Path) -> AsyncIterator[FakeMarimo]:
    """Serve at a socket in this directory."""
    fake = FakeMarimo(directory / "m.sock")
    app = web.Application()
    app.router.add_get("/{path:.*}/ws", fake.talk)
    app.router.add_post("/{path:.*}/api/kernel/instantiate", fake.instantiate)
    app.router.add_get("/{path:.*}/", fake.serve_page)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(fake.socket)).start()
    try:
        yield fake
    finally:
        await runner.cleanup()

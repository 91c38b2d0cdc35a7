"""One student's tab, as cheap as it can be: page, WebSocket, and every cell run once.

The protocol is that of ``tests/support/marimo.py``. Message types are recognised by their first
bytes and parsed only where a cell's name is needed.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.load import Target
from bench.wire import Line, Refused, WebSocket, open_websocket

PATIENCE = 240.0
"""Seconds after which a tab gives up: a failure, in any row."""

_TOKEN = re.compile(rb'"serverToken":\s*"([^"]*)"')
_OPERATION = re.compile(rb'\{"op":\s?"([a-z-]+)"')
_SHOWS = re.compile(rb'"output":\s?\{')
_STARTS_ITSELF = re.compile(rb'"auto_instantiated":\s?true')


@dataclass(slots=True)
class Times:
    """Seconds since the student's request; NaN until it happened."""

    page: float = math.nan
    kernel: float = math.nan
    first_output: float = math.nan
    all_cells: float = math.nan


class Tab:
    """An editor's page at a target, which ends in the slash-less path of the session."""

    def __init__(self, target: Target, asked: float, line: Line | None = None) -> None:
        """``asked`` is the time of the student's request; ``line`` is a connection to reuse."""
        self.times = Times()
        self.gone = ""
        self._target = target
        self._asked = asked
        self._line = line or Line(Target(path="", port=target.port, socket=target.socket))
        self._name = "s_" + secrets.token_hex(3)
        self._token = ""
        self._ready: bytes | None = None
        self._joined = False
        self._sought = b""
        self._runs = 0
        self._news = asyncio.Event()
        self._socket: WebSocket | None = None

    async def load(self) -> None:
        """Get the page. Raises: :class:`~bench.wire.Refused`."""
        answer = await self._line.ask(f"{self._target.path}/", headers=self._target.headers)
        found = _TOKEN.search(answer.expect())
        if found is None:
            raise Refused("the page carries no token")
        self._token = found[1].decode()
        self.times.page = self._elapsed()

    async def connect(self) -> None:
        """Open the WebSocket, or open it again, and wait for the kernel's first word."""
        self._joined, self.gone = False, ""
        path = f"/ws?session_id={self._name}"
        self._socket = await open_websocket(self._target, path, self._heed)
        self._socket.closed.add_done_callback(lambda closed: self._lost(closed.result()))
        await self._until(lambda: self._joined)

    async def run_all(self) -> None:
        """Have every cell run once, as marimo's page does, and wait until they did."""
        assert self._ready is not None
        if not _STARTS_ITSELF.search(self._ready):
            body = {"objectIds": [], "values": [], "autoRun": True}
            await self._post("/api/kernel/instantiate", body)
        await self._until(lambda: self._runs > 0)
        self.times.all_cells = self._elapsed()
        self._line.close()

    async def open(self) -> Tab:
        """Do all of it, within the patience of a tab."""
        async with asyncio.timeout(PATIENCE):
            await self.load()
            await self.connect()
            await self.run_all()
        return self

    async def run(self, index: int, code: str, shows: str) -> None:
        """Type into a cell, run it, and wait for the end of the run.

        Raises: :class:`~bench.wire.Refused` when no message of the run contains ``shows``.
        """
        assert self._ready is not None
        cell = json.loads(self._ready)["data"]["cell_ids"][index]
        before, self._sought = self._runs, shows.encode()
        await self._post("/api/kernel/run", {"cellIds": [cell], "codes": [code]})
        await self._until(lambda: self._runs > before)
        self._line.close()
        if self._sought:
            raise Refused(f"no output shows {shows}")

    def close(self) -> None:
        self._line.close()
        if self._socket is not None:
            self._socket.close()

    async def _post(self, path: str, body: dict[str, object]) -> None:
        headers = {
            **self._target.headers,
            "Marimo-Session-Id": self._name,
            "Marimo-Server-Token": self._token,
        }
        text = json.dumps(body).encode()
        answer = await self._line.ask(f"{self._target.path}{path}", body=text, headers=headers)
        answer.expect()

    def _heed(self, message: bytes) -> None:
        found = _OPERATION.match(message)
        operation = found[1] if found else b""
        if operation == b"cell-op":
            if self._sought and self._sought in message:
                self._sought = b""
            if math.isnan(self.times.first_output) and _SHOWS.search(message):
                self.times.first_output = self._elapsed()
            return
        if operation == b"kernel-ready":
            self._ready, self._joined = message, True
            if math.isnan(self.times.kernel):
                self.times.kernel = self._elapsed()
        elif operation == b"reconnected":
            self._joined = True
        elif operation == b"completed-run":
            self._runs += 1
        else:
            return
        self._news.set()

    def _lost(self, reason: str) -> None:
        self.gone = reason
        self._news.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            if self.gone:
                raise Refused(f"the editor {self.gone}")
            self._news.clear()
            await self._news.wait()

    def _elapsed(self) -> float:
        return time.perf_counter() - self._asked

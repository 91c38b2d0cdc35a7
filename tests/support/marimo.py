"""A headless client of marimo's editor: the protocol of its page, without a browser.

The page contains a token, the WebSocket carries the kernel's messages, POST requests its commands.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection, connect, unix_connect

_SERVER_TOKEN = re.compile(r'"serverToken":\s*"([^"]*)"')
_FILE_NAME = re.compile(r'"filename":\s*("[^"]*")')


TLS = ssl.create_default_context()
"""One for all clients: reading the certificates takes a client of its own 18 ms."""

FRESH = httpx.Limits(keepalive_expiry=1)
"""Servers close a connection that was silent for five seconds; httpx would not retry."""


class EditorFailed(AssertionError):
    """The editor refused, closed the connection, or did not get there in time."""


@dataclass(frozen=True, slots=True)
class Output:
    """A cell's output: its kind (``text/html``, …) and the data as text."""

    mimetype: str
    data: str


@dataclass(slots=True)
class Cells:
    """The notebook as the kernel sent it, in order; positions match between the lists."""

    ids: list[str]
    codes: list[str]
    names: list[str]
    configs: list[dict[str, Any]]
    running_by_itself: bool
    layout: dict[str, Any] | None = None


@dataclass(slots=True)
class Progress:
    """What the kernel has told: outputs and consoles by cell, finished runs, all operations."""

    outputs: dict[str, Output] = field(default_factory=dict)
    console: dict[str, str] = field(default_factory=dict)
    completed_runs: int = 0
    operations: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An editor's URL and the headers that a client sends."""

    base_url: str
    socket: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    timeout: float = 60


class MarimoClient:
    """One editor tab without a browser; made by :func:`open_editor`."""

    def __init__(self, address: Address, http: httpx.AsyncClient) -> None:
        self.address = address
        self.progress = Progress()
        self.cells = Cells([], [], [], [], False)
        self.session_id = "s_" + secrets.token_hex(3)
        self._http = http
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._server_token = ""
        self._file_name = ""

    async def load_page(self) -> None:
        """Fetch the editor's page and remember the token and file name it carries."""
        answer = await self._http.get(self._url("/"))
        if answer.status_code != httpx.codes.OK:
            raise EditorFailed(f"page: {answer.status_code} {answer.text[:300]}")
        token, name = _SERVER_TOKEN.search(answer.text), _FILE_NAME.search(answer.text)
        self._server_token = token.group(1) if token else ""
        self._file_name = json.loads(name.group(1)) if name else ""

    async def connect(self) -> None:
        """Open the WebSocket, which starts the kernel, and wait until it is ready."""
        url = re.sub(r"^http", "ws", self._url(f"/ws?session_id={self.session_id}"))
        self._socket = await self._dial(url)
        self._reader = asyncio.create_task(self._read(self._socket))
        await self.until(lambda: bool(self.cells.ids))

    async def instantiate(self) -> None:
        """Have all cells run, and wait until they did."""
        before = 0
        if not self.cells.running_by_itself:
            before = self.progress.completed_runs
            body = {"objectIds": [], "values": [], "autoRun": True}
            await self.post("/api/kernel/instantiate", body)
        await self.until(lambda: self.progress.completed_runs > before)

    async def edit(self, index: int, code: str) -> Output:
        """Type new code into a cell and run it; return its output."""
        cell = self.cells.ids[index]
        change = {"type": "set-code", "cellId": cell, "code": code}
        await self.post("/api/document/transaction", {"changes": [change]})
        self.cells.codes[index] = code
        self.progress.outputs.pop(cell, None)
        before = self.progress.completed_runs
        await self.post("/api/kernel/run", {"cellIds": [cell], "codes": [code]})
        await self.until(lambda: self.progress.completed_runs > before)
        return self.progress.outputs.get(cell, Output("", ""))

    async def save(self) -> None:
        """Save the notebook as the editor does after typing."""
        cells = self.cells
        body = {
            "cellIds": cells.ids,
            "codes": cells.codes,
            "names": cells.names,
            "configs": cells.configs,
            "filename": self._file_name,
            "layout": None,
            "persist": True,
        }
        await self.post("/api/kernel/save", body)

    async def post(self, path: str, body: Mapping[str, object]) -> httpx.Response:
        """Send a request to the server.

        Raises: EditorFailed when it refuses.
        """
        headers = {
            "Marimo-Session-Id": self.session_id,
            "Marimo-Server-Token": self._server_token,
        }
        answer = await self._http.post(self._url(path), json=dict(body), headers=headers)
        if answer.is_error:
            raise EditorFailed(f"{path}: {answer.status_code} {answer.text[:300]}")
        return answer

    async def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.address.timeout
        while not holds():
            self._news.clear()
            if self._reader is not None and self._reader.done():
                raise EditorFailed(f"the editor closed the connection: {self.progress.operations}")
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._news.wait()
            except TimeoutError:
                raise EditorFailed(f"still waiting after {self.progress.operations}") from None

    def vanish(self) -> None:
        """Have the line cut without a goodbye, as by a computer that falls asleep."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await self._reader

    async def _dial(self, url: str) -> ClientConnection:
        origin = websockets.Origin(self.address.origin) if self.address.origin else None
        headers = dict(self.address.headers)
        timeout = self.address.timeout
        if self.address.socket is not None:
            return await unix_connect(
                str(self.address.socket),
                url,
                additional_headers=headers,
                origin=origin,
                max_size=None,
                open_timeout=timeout,
            )
        return await connect(
            url,
            additional_headers=headers,
            origin=origin,
            max_size=None,
            open_timeout=timeout,
            proxy=None,
        )

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                self._take(json.loads(message))
                self._news.set()
        except websockets.ConnectionClosed:
            pass
        finally:
            self._news.set()

    def _take(self, message: dict[str, Any]) -> None:
        operation, data = str(message["op"]), message.get("data") or {}
        self.progress.operations.append(operation)
        if operation == "kernel-ready":
            self.cells = _cells(data)
        elif operation == "cell-op":
            self._take_cell(data)
        elif operation == "completed-run":
            self.progress.completed_runs += 1

    def _take_cell(self, data: dict[str, Any]) -> None:
        cell = str(data["cell_id"])
        output = data.get("output")
        if output is not None:
            self.progress.outputs[cell] = Output(str(output["mimetype"]), _text(output["data"]))
        said = data.get("console") or []
        for entry in said if isinstance(said, list) else [said]:
            self.progress.console[cell] = self.progress.console.get(cell, "") + _text(entry["data"])

    def _url(self, path: str) -> str:
        return self.address.base_url.rstrip("/") + path


@asynccontextmanager
async def open_editor(address: Address, *, run: bool = True) -> AsyncIterator[MarimoClient]:
    """Open an editor like a tab would: page, WebSocket, and (``run``) all cells once."""
    transport = (
        httpx.AsyncHTTPTransport(uds=str(address.socket), limits=FRESH) if address.socket else None
    )
    async with httpx.AsyncClient(
        transport=transport,
        headers=dict(address.headers),
        timeout=address.timeout,
        trust_env=False,
        follow_redirects=True,
        limits=FRESH,
        verify=TLS,
    ) as http:
        client = MarimoClient(address, http)
        try:
            await client.load_page()
            await client.connect()
            if run:
                await client.instantiate()
            yield client
        finally:
            await client.close()


def _cells(data: dict[str, Any]) -> Cells:
    return Cells(
        ids=[str(cell) for cell in data["cell_ids"]],
        codes=[str(code) for code in data["codes"]],
        names=[str(name) for name in data["names"]],
        configs=[dict(config) for config in data["configs"]],
        running_by_itself=bool(data.get("auto_instantiated")),
        layout=data.get("layout"),
    )


def _text(data: object) -> str:
    return data if isinstance(data, str) else json.dumps(data)

"""WebSocket: one message to a session's server and back, through the hub's proxy and directly.

marimo's own socket only ever sends, so the server is an echo here: the real proxy under the real
web server, on the rig of its contract tests.
"""

from __future__ import annotations

import time

from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect, unix_connect

from bench.options import Options
from bench.report import Budget, Row
from bench.stage import Stage
from tests.support.session_proxy import bearer, running_rig, served_on_unix

_MESSAGES = 200
_TEXT = "x" * 200


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Send messages and wait for their echo, the two ways in turns."""
    ours, theirs = [], []
    async with served_on_unix(_echo) as socket, running_rig() as rig:
        session = rig.session(socket)
        path = f"{session.base_url}/ws?session_id=s_bench1"
        url = f"ws://{rig.host}{path}"
        async with (
            connect(url, additional_headers=bearer("alice"), proxy=None) as proxied,
            unix_connect(str(socket), f"ws://localhost{path}") as direct,
        ):
            for _ in range(options.rounds * _MESSAGES):
                ours.append(await _round_trip(proxied))
                theirs.append(await _round_trip(direct))
    return [
        Row(
            "WebSocket: a message and its echo",
            "ms",
            tuple(ours),
            Budget(0.5, unit="ms"),
            "client, proxy and echo share one process and its event loop",
            reference="direct",
            theirs=tuple(theirs),
        )
    ]


async def _round_trip(connection: ClientConnection) -> float:
    started = time.perf_counter()
    await connection.send(_TEXT)
    await connection.recv()
    return (time.perf_counter() - started) * 1000


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})

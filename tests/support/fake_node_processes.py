"""Fake nodes in processes of their own, which are connected to a real hub.

``python -m tests.support.fake_node_processes HUB TOKEN DIRECTORY`` connects to a hub with a token
and serves until it is stopped, over the real wire: a status every two seconds, each second the use
of a tenth of its sessions, as that of idle ones changes, and one tiny server for all sessions.
While DIRECTORY has a file ``full``, the node carries out no start.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop
from aiohttp import WSMsgType, web

from mograder.auth.node_tokens import NodeToken
from mograder.sandbox.nodes.node_dialer import Hub, NodeDialer
from mograder.sandbox.protocol import Measured, SessionUse
from tests.support.course import REPOSITORY
from tests.support.fake_node import MEGABYTE, FakeNode
from tests.support.hub import HubProcess, outside, run_mograder
from tests.support.process import ServerProcess

_STATUS_SECONDS = 2.0
_MEASURED_SECONDS = 1.0
_PROCESSORS = 32
_MEMORY_MB = 64 << 10
_CHANGING = 10
"""One of so many sessions has used a hundredth of a second more each second."""


@contextmanager
def fake_nodes(hub: HubProcess, count: int, place: Path) -> Iterator[dict[str, ServerProcess]]:
    """Connect so many nodes to a hub that runs; yields their processes by name.

    ``place`` is a directory with a short path, for their sockets and logs.
    """
    names = [f"node-{number}" for number in range(1, count + 1)]
    with ExitStack() as stack:
        nodes: dict[str, ServerProcess] = {}
        for name, token in zip(names, node_tokens(hub, *names), strict=True):
            node = nodes[name] = ServerProcess(name, place / f"{name}.log")
            program = [sys.executable, "-m", "tests.support.fake_node_processes"]
            node.launch([*program, hub.url, token, str(place)], outside(), REPOSITORY)
            stack.callback(node.stop)
        yield nodes


def node_tokens(hub: HubProcess, *names: str) -> list[str]:
    made = run_mograder("hub", "node-token", *names, cwd=hub.course)
    if made.status != 0:
        raise RuntimeError(f"no token was made: {made.errors}")
    return made.output.split()


async def _run(url: str, text: str, directory: Path) -> None:
    """Serve the hub until SIGTERM."""
    token = NodeToken.find(text, "")
    name = token.name
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    path = directory / f"{name}.sock"
    close = await _serve_sessions(path)
    node = FakeNode(
        name,
        memory_mb=_MEMORY_MB,
        processors=_PROCESSORS,
        status_seconds=_STATUS_SECONDS,
        fences=False,
    )

    def socket_of(session_id: str) -> Path | None:
        return path if session_id in node.sessions else None

    dialer = NodeDialer(Hub.parse(url), token.secret, node.serve, socket_of)
    dialer.connect()
    measuring = asyncio.create_task(_measure(node, directory / "full"))
    await ended.wait()
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)
    await dialer.close()
    await close()


async def _measure(node: FakeNode, full: Path) -> None:
    """Each second, tell the use of a tenth of the sessions, and look whether the node is full."""
    used: dict[str, float] = {}
    for turn in itertools.count():
        node.starts = 0 if await asyncio.to_thread(full.exists) else 2 * _PROCESSORS
        uses = []
        for number, session_id in enumerate(node.sessions):
            if (number + turn) % _CHANGING == 0:
                cpu = used[session_id] = round(used.get(session_id, 1.0) + 0.01, 2)
                size = node.session_mb * MEGABYTE
                uses.append(SessionUse(session_id=session_id, memory=size, cpu=cpu, processes=6))
        if uses:
            node.tell(Measured(sessions=tuple(uses), overhead=200 * MEGABYTE))
        await asyncio.sleep(_MEASURED_SECONDS)


async def _serve_sessions(path: Path) -> Callable[[], Awaitable[None]]:
    """Serve all sessions at a Unix socket; return the function that ends this.

    The server is healthy, has no pages, and echoes on WebSockets.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(message.data)
            return socket
        if request.path.endswith("/api/status/connections"):
            return web.json_response({"active": 0})
        return web.json_response({"status": "healthy"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    return runner.cleanup


if __name__ == "__main__":
    uvloop.run(_run(sys.argv[1], sys.argv[2], Path(sys.argv[3])))

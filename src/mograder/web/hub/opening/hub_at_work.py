"""The beginning of a hub's work on a course: its database, once no other hub is at work.

On PostgreSQL a hub waits for the lock of the one at work, and opens when that is free, by the path
that a restart takes. On SQLite another hub is refused. While it waits it answers every request
with 503, and so does a hub that may not be the one at work any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mograder.core.errors import Busy, Conflict, MograderError
from mograder.core.files import file_lock
from mograder.core.log import get_logger
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.systemd import READY, Service
from mograder.core.tasks import to_its_end
from mograder.sandbox.client.bootstrap import supervisor_config
from mograder.store.database.database import database_url, open_engine, upgrade
from mograder.store.hub.active_hub import HubLock, Hubs, may_be_several
from mograder.store.hub.hub_state import HubState
from mograder.web.hub.opening.preparation import Preparation

_TRY_SECONDS = 1.0
_LOOK_EACH = 10
"""Attempts from one look at where the other hub is to the next."""
_log = get_logger(__name__)

Standby = Callable[[], AbstractAsyncContextManager[None]]
"""Returns what a hub does while it waits."""
RETRY_SECONDS = 2
CLOSE_HEADER = b"x-mograder-standby: close"
"""A request with this header gets no answer: its connection is closed."""
_TEXT = "This hub waits: another one is at work on the course. Try again in a few seconds.\n"
_HEAD = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
    f"Content-Length: {len(_TEXT)}\r\nRetry-After: {RETRY_SECONDS}\r\nCache-Control: no-store\r\n"
    "Connection: close\r\n\r\n"
)
_HEAD_SECONDS = 5.0
_REST_SECONDS = 2.0
_REST_BYTES = 1 << 20
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class HubAtWork:
    """The database of the hub at work, and the hub's epoch.

    ``confirmed`` returns whether no other hub can be at work, without I/O; it is None on SQLite,
    where no hub takes another one's place.
    """

    state: HubState
    epoch: int
    confirmed: Callable[[], bool] | None


async def begin_work(
    loaded: LoadedSettings,
    environ: Environ,
    standby: Standby,
    preparation: Preparation,
    stack: AsyncExitStack,
) -> HubAtWork:
    """Open the database when no other hub is at work; wait for that inside ``standby()``.

    What is opened is closed with ``stack``. A hub that waits for one on another machine prepares
    what needs no lock.

    Raises: :class:`Conflict` while another hub works and this one cannot wait, and as
    :func:`~mograder.store.database.database.upgrade`.
    """
    loaded.state_dir.mkdir(mode=0o700, exist_ok=True)
    url = database_url(loaded.settings.database.url, loaded.course_dir)
    engine = open_engine(url)
    stack.callback(engine.dispose)
    place = _place(loaded, environ)
    if not may_be_several(url):
        stack.callback(os.close, _lock(loaded.state_dir / "hub.lock"))
        await asyncio.to_thread(upgrade, engine)
        epoch = await asyncio.to_thread(Hubs(engine).begin_epoch, place)
        return HubAtWork(HubState(engine), epoch, None)
    lock = HubLock(engine)
    stack.push_async_callback(asyncio.to_thread, lock.close)
    if not await to_its_end(lock.take):
        async with standby():
            await _wait(loaded, Hubs(engine), lock, place, preparation)
    with contextlib.suppress(Conflict):  # a hub that hangs on this machine may have it still
        stack.callback(os.close, _lock(loaded.state_dir / "hub.lock"))
    await asyncio.to_thread(upgrade, engine)
    epoch = await to_its_end(lock.begin_epoch, place)
    return HubAtWork(HubState(engine), epoch, lambda: lock.confirmed)


async def _wait(
    loaded: LoadedSettings,
    hubs: Hubs,
    lock: HubLock,
    place: str,
    preparation: Preparation,
) -> None:
    """Wait until this hub has the lock. Raises: as :func:`_demand_nodes`."""
    _log.info("another hub is at work on this course; this one waits")
    gc.enable()  # it is off for a start, which is short (``cli/hub/run.py``)
    for attempt in itertools.count():
        if attempt % _LOOK_EACH == 0 and (other := await _other_place(hubs, place)):
            _demand_nodes(loaded, other)
            preparation.look()
        await asyncio.sleep(_TRY_SECONDS)
        if await _takes(lock):
            break
    gc.disable()
    _log.info("the hub at work has ended; this one takes its place")


async def _takes(lock: HubLock) -> bool:
    """Try to take the lock; return false, too, if the database does not answer."""
    try:
        return await to_its_end(lock.take)
    except Busy as error:
        _log.warning("the lock of the hub at work cannot be asked for: %s", error)
        return False


async def _other_place(hubs: Hubs, place: str) -> str:
    """Return where the hub at work is, "" if that is ``place`` or cannot be read."""
    try:
        other = await asyncio.to_thread(hubs.place)
    except MograderError as error:
        _log.debug("the hubs of this course cannot be read: %s", error)
        return ""
    return "" if other == place else other


def _demand_nodes(loaded: LoadedSettings, other: str) -> None:
    """See that this hub can wait for one that is elsewhere. Raises: :class:`Conflict` if not."""
    if not loaded.settings.nodes.enabled:
        raise Conflict(
            f"Another hub works on this course, on another machine ({other}).",
            hint="Only a hub with nodes ([nodes] enabled) can wait for that one's end: the "
            "sessions of a hub without nodes go on at its machine.",
        )


def _place(loaded: LoadedSettings, environ: Environ) -> str:
    """Return where the sessions of this hub run, if it has no nodes: a machine and a supervisor."""
    return f"{socket.gethostname()} {supervisor_config(loaded, environ).socket}"[:500]


def _lock(path: Path) -> int:
    """Lock the course, since two hubs would conflict over its sessions; return the descriptor.

    It ends with the process. Raises: Conflict.
    """
    descriptor = file_lock.open_lock(path)
    if not file_lock.acquire(descriptor):
        os.close(descriptor)
        raise Conflict(
            "Another hub is running on this course.",
            hint="Stop it first, or serve another course directory with -C.",
        )
    return descriptor


@contextlib.asynccontextmanager
async def standing_by(listener: socket.socket, service: Service) -> AsyncIterator[None]:
    """Answer all requests on ``listener`` with 503 during the block; SIGTERM and SIGINT cancel it.

    The listener stays open: what connects after the block waits for the hub.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:  # for the type checker: this is called from a task
        raise AssertionError
    server = await asyncio.start_server(_answer, sock=listener.dup(), limit=_PIECE)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    service.tell(READY, "STATUS=Waiting: another hub is at work")
    try:
        async with service.kept_alive():
            yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        if CLOSE_HEADER not in head.lower().split(b"\r\n"):
            writer.write((_HEAD if head.startswith(b"HEAD ") else _HEAD + _TEXT).encode())
            await writer.drain()
            writer.write_eof()
            await _drop_rest(reader)
    writer.close()


async def _drop_rest(reader: asyncio.StreamReader) -> None:
    """Read a body: closed with one unread, the kernel would reset the connection."""
    left = _REST_BYTES
    async with asyncio.timeout(_REST_SECONDS):
        while left > 0 and (piece := await reader.read(_PIECE)):
            left -= len(piece)


class WhileAtWork:
    """Passes requests on to the hub's app while this hub is certainly the one at work.

    A process that was stopped for a while goes on with what it had begun before it notices that
    another hub has taken its place.
    """

    def __init__(self, app: ASGIApp, at_work: Callable[[], bool]) -> None:
        self._app = app
        self._at_work = at_work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503 if it is not certain."""
        if scope["type"] == "lifespan" or self._at_work():
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1012})
        else:
            headers = {"Retry-After": str(RETRY_SECONDS), "Cache-Control": "no-store"}
            await PlainTextResponse(_TEXT, 503, headers)(scope, receive, send)

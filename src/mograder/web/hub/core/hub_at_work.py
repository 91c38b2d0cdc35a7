"""The beginning of a hub's work on a course: its database, once no other hub is at work.

On PostgreSQL a hub waits for the lock of the one at work, and opens when that is free, by the path
that a restart takes. On SQLite another hub is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import Busy, Conflict, MograderError
from mograder.core.files import file_lock
from mograder.core.log import get_logger
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks.background_tasks import to_its_end
from mograder.sandbox.client.bootstrap import supervisor_config
from mograder.store.database.database import database_url, open_engine, upgrade
from mograder.store.hub.active_hub import HubLock, Hubs, may_be_several
from mograder.store.hub.hub_state import HubState

_TRY_SECONDS = 1.0
_LOOK_EACH = 10
"""Attempts from one look at where the other hub is to the next."""
_log = get_logger(__name__)

Standby = Callable[[], AbstractAsyncContextManager[None]]
"""Returns what a hub does while it waits."""


@dataclass(frozen=True, slots=True)
class HubAtWork:
    """The database of the hub at work, and the hub's epoch.

    ``confirmed`` returns whether no other hub can be at work; no I/O.
    """

    state: HubState
    epoch: int
    confirmed: Callable[[], bool]


async def begin_work(
    loaded: LoadedSettings,
    environ: Environ,
    standby: Standby,
    stack: AsyncExitStack,
) -> HubAtWork:
    """Open the database when no other hub is at work; wait for that inside ``standby()``.

    What is opened is closed with ``stack``.

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
        return HubAtWork(HubState(engine), epoch, _always)
    lock = HubLock(engine)
    stack.push_async_callback(asyncio.to_thread, lock.close)
    if not await to_its_end(lock.take):
        await _wait(loaded, Hubs(engine), lock, place, standby)
    with contextlib.suppress(Conflict):  # a hub that hangs on this machine may have it still
        stack.callback(os.close, _lock(loaded.state_dir / "hub.lock"))
    await asyncio.to_thread(upgrade, engine)
    epoch = await to_its_end(lock.begin_epoch, place)
    return HubAtWork(HubState(engine), epoch, lambda: lock.confirmed)


def _always() -> bool:
    return True


async def _wait(
    loaded: LoadedSettings,
    hubs: Hubs,
    lock: HubLock,
    place: str,
    standby: Standby,
) -> None:
    """Wait until this hub has the lock."""
    _log.info("another hub is at work on this course; this one waits")
    gc.enable()  # it is off for a start, which is short (``cli/hub/run.py``)
    async with standby():
        for attempt in itertools.count():
            if attempt % _LOOK_EACH == 0 and not loaded.settings.nodes.enabled:
                await _see_place(hubs, place)
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


async def _see_place(hubs: Hubs, place: str) -> None:
    """See that a hub without nodes can take over. Raises: :class:`Conflict` if it cannot."""
    try:
        other = await asyncio.to_thread(hubs.place)
    except MograderError as error:
        _log.debug("the hubs of this course cannot be read: %s", error)
        return
    if other and other != place:
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

"""The beginning of a hub's work on a course, once no other hub is at work, and the wait before it.

On PostgreSQL a hub waits for the lock of the one at work; on SQLite another hub is refused.

A hub with nodes prepares its own sandbox and environments meanwhile, which it would have to build
first else. It reads the releases and the locks of the hub at work, and changes nothing shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from importlib import metadata

from mograder.core.errors import Busy, Conflict, MograderError
from mograder.core.log import get_logger
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks import to_its_end
from mograder.notebook.pep723 import Script
from mograder.operations.pruning import published_scripts
from mograder.sandbox.client.bootstrap import open_sandbox, supervisor_config
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.builder import Environments, SharedLocks
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.store.database.database import database_url, open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.active_hub import HubLock, Hubs, demand_moved, lock_course, may_be_several
from mograder.store.hub.hub_state import HubState

_TRY_SECONDS = 1.0
_LOOK_EACH = 10
"""Attempts from one look at where the other hub is to the next."""
_log = get_logger(__name__)

Standby = Callable[[], AbstractAsyncContextManager[None]]
"""Returns what a hub does while it waits."""

_FAILED_SECONDS = 600.0
"""How long what could not be built is left alone: a build asks an index, and may take minutes."""


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

    Raises: :class:`Conflict` while another hub works and this one cannot wait, and as
    :func:`~mograder.store.hub.active_hub.demand_moved`.
    """
    loaded.state_dir.mkdir(mode=0o700, exist_ok=True)
    url = database_url(loaded.settings.database.url, loaded.course_dir)
    engine = open_engine(url)
    stack.callback(engine.dispose)
    state, place = HubState(engine), _place(loaded, environ)
    if not may_be_several(url):
        stack.callback(os.close, lock_course(loaded.state_dir))
        await asyncio.to_thread(_prepare, state, loaded)
        epoch = await asyncio.to_thread(Hubs(engine).begin_epoch, place)
        return HubAtWork(state, epoch, None)
    lock = HubLock(engine)
    stack.push_async_callback(asyncio.to_thread, lock.close)
    if not await to_its_end(lock.take):
        async with standby():
            await _wait(loaded, Hubs(engine), lock, place, preparation)
    with contextlib.suppress(Conflict):  # a hub that hangs on this machine may have it still
        stack.callback(os.close, lock_course(loaded.state_dir))
    await asyncio.to_thread(_prepare, state, loaded)
    epoch = await to_its_end(lock.begin_epoch, place)
    return HubAtWork(state, epoch, lambda: lock.confirmed)


def _prepare(state: HubState, loaded: LoadedSettings) -> None:
    demand_moved(state.engine, loaded.state_dir / "hub.db")
    upgrade(state.engine)


async def _wait(
    loaded: LoadedSettings,
    hubs: Hubs,
    lock: HubLock,
    place: str,
    preparation: Preparation,
) -> None:
    _log.info("another hub is at work on this course; this one waits")
    gc.enable()  # it is off for a start, which is short (``cli/hub/run.py``)
    for attempt in itertools.count():
        if attempt % _LOOK_EACH == 0 and (other := await _other_place(hubs, place)):
            if not loaded.settings.nodes.enabled:
                raise Conflict(
                    f"Another hub works on this course, on another machine ({other}).",
                    hint="Only a hub with nodes ([nodes] enabled) can wait for that one's end: the "
                    "sessions of a hub without nodes go on at its machine.",
                )
            preparation.look()
        await asyncio.sleep(_TRY_SECONDS)
        try:
            if await to_its_end(lock.take):
                break
        except Busy as error:
            _log.warning("the lock of the hub at work cannot be asked for: %s", error)
    gc.disable()
    _log.info("the hub at work has ended; this one takes its place")


async def _other_place(hubs: Hubs, place: str) -> str:
    """Return where the hub at work is, "" if that is ``place`` or cannot be read."""
    try:
        other = await asyncio.to_thread(hubs.place)
    except MograderError as error:
        _log.debug("the hubs of this course cannot be read: %s", error)
        return ""
    return "" if other == place else other


def _place(loaded: LoadedSettings, environ: Environ) -> str:
    """Return where the sessions of this hub run, if it has no nodes: a machine and a supervisor."""
    return f"{socket.gethostname()} {supervisor_config(loaded, environ).socket}"[:500]


class HubSandbox:
    """The hub's supervisor; ``confines`` is whether its sessions are sandboxed, once it is open."""

    def __init__(self, loaded: LoadedSettings, environ: Environ, *, dev: bool) -> None:
        self._config = supervisor_config(loaded, environ)
        self._wanted = loaded.settings.security.use_bubblewrap
        self._dev = dev
        self._opening: asyncio.Task[tuple[SupervisorClient, bool]] | None = None
        self.confines = False

    async def open(self, epoch: int = 0) -> SupervisorClient:
        """Return its client; callers share one attempt.

        It goes on if they are cancelled: what it starts would have no owner. ``epoch`` is that of
        the hub at work, 0 while it waits.
        """
        if self._opening is None or _failed(self._opening):
            opening = open_sandbox(self._config, self._wanted, dev=self._dev, epoch=epoch)
            self._opening = asyncio.create_task(opening)
        client, self.confines = await asyncio.shield(self._opening)
        return client

    async def at_work(self, epoch: int) -> SupervisorClient:
        """Return its client. Raises: as :meth:`open`; Conflict if a later hub uses it."""
        client = await self.open(epoch)
        await client.begin(epoch)
        return client

    async def close(self) -> None:
        if self._opening is None:
            return
        await asyncio.wait({self._opening})
        if not _failed(self._opening):
            await self._opening.result()[0].close()


def _failed(opening: asyncio.Task[tuple[SupervisorClient, bool]]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


def shared_locks(loaded: LoadedSettings, *, writes: bool) -> SharedLocks | None:
    """Return the locks of the hubs of a course; None if they have their environments in common."""
    if not loaded.settings.nodes.enabled:
        return None
    return SharedLocks(loaded.state_dir / "locks", writes)


class Preparation:
    """Builds the environments of the published items in the background.

    Mutable state: the task, the environments, and when a build failed, by its header.
    """

    def __init__(self, loaded: LoadedSettings, sandbox: HubSandbox) -> None:
        self._loaded = loaded
        self._sandbox = sandbox
        self._task: asyncio.Task[None] | None = None
        self._environments: Environments | None = None
        self._failed: dict[Script, float] = {}

    def look(self) -> None:
        """Begin to build what is missing; do nothing while that is under way."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._prepare())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._environments is not None:
            await self._environments.close()

    async def _prepare(self) -> None:
        try:
            if self._environments is None:
                client = await self._sandbox.open()
                self._environments = await asyncio.to_thread(self._open, client)
            directory = self._loaded.path(self._loaded.settings.hub.release_dir)
            for script in await asyncio.to_thread(published_scripts, directory):
                await self._build(self._environments, script)
        except (MograderError, OSError) as error:
            _log.warning("this hub waits, and cannot prepare environments: %s", error)
        except Exception:  # noqa: BLE001 - it is tried again, and must not end a hub that waits
            _log.exception("this hub waits, and cannot prepare environments")

    def _open(self, client: SupervisorClient) -> Environments:
        hub, limits = self._loaded.settings.hub, self._loaded.settings.limits
        root = self._loaded.path(hub.environments_dir)
        return Environments(
            root,
            client,
            # Not where the hub at work has its own: the newest one there says what is not needed.
            wheel=build_runtime_wheel(root / "wheels"),
            marimo=metadata.version("marimo"),
            timeout=limits.build_timeout,
            locks=shared_locks(self._loaded, writes=False),
        )

    async def _build(self, environments: Environments, script: Script) -> None:
        if environments.ready(script) is not None:
            return
        if time.monotonic() - self._failed.get(script, -_FAILED_SECONDS) < _FAILED_SECONDS:
            return
        try:
            await environments.prepare(script, lambda _: None)
        except MograderError as error:
            self._failed[script] = time.monotonic()
            _log.warning("this hub waits, and cannot prepare an environment: %s", error)
        else:
            self._failed.pop(script, None)
            _log.info("an environment is ready, should this hub take over")

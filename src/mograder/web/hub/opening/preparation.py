"""What a hub prepares on its own machine while it waits: its sandbox, and the environments.

Hubs with nodes have an environments directory and a supervisor each. Without this a hub that takes
over would first have to start its supervisor, and to build each environment that only the other
hub's machine has. It changes nothing that the hubs share: it reads the releases and the locks of
the hub at work, and writes below its own environments directory.
"""

from __future__ import annotations

import asyncio
import time
from importlib import metadata

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.core.settings import Environ, LoadedSettings
from mograder.notebook.pep723 import Script
from mograder.operations.pruning import published_scripts
from mograder.sandbox.client.bootstrap import open_sandbox, supervisor_config
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.builder import Environments, SharedLocks
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel

_FAILED_SECONDS = 600.0
"""How long what could not be built is left alone: a build asks an index, and may take minutes."""
_log = get_logger(__name__)


class HubSandbox:
    """The hub's supervisor: opened once, by :meth:`at_work` if nothing has opened it before.

    ``confines`` is whether its sessions are sandboxed, once it is open.
    """

    def __init__(self, loaded: LoadedSettings, environ: Environ, *, dev: bool) -> None:
        self._config = supervisor_config(loaded, environ)
        self._wanted = loaded.settings.security.use_bubblewrap
        self._dev = dev
        self._opening: asyncio.Task[tuple[SupervisorClient, bool]] | None = None
        self.confines = False

    async def open(self, epoch: int = 0) -> SupervisorClient:
        """Return its client; callers share one attempt.

        ``epoch`` is that of the hub at work, 0 while it waits. An attempt goes on if its callers
        are cancelled, because what it starts would have no owner.

        Raises: as :func:`~mograder.sandbox.client.bootstrap.open_sandbox`.
        """
        if self._opening is None or _failed(self._opening):
            opening = open_sandbox(self._config, self._wanted, dev=self._dev, epoch=epoch)
            self._opening = asyncio.create_task(opening)
        client, self.confines = await asyncio.shield(self._opening)
        return client

    async def at_work(self, epoch: int) -> SupervisorClient:
        """Return its client for the hub that begins to work.

        Raises: as :meth:`open`; :class:`Conflict` if a hub of a higher epoch uses the supervisor.
        """
        client = await self.open(epoch)
        await client.begin(epoch)
        return client

    async def close(self) -> None:
        """Disconnect from the supervisor, and end it if it is the hub's own."""
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

    Call :meth:`look` again and again, and :meth:`close` at the end. Mutable state: the task, the
    environments once there is a sandbox, and when a build failed, by its header.
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
        """Cancel the builds; the sandbox stays open."""
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

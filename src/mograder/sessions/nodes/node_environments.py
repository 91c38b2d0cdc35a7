"""The environments of nodes: each builds its own, by the lock that the hub sends."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.tasks import BackgroundTasks, Progress, SingleFlight
from mograder.sandbox.environments.locked_builds import order_of
from mograder.sandbox.machines import ignore
from mograder.sessions.nodes.node_registry import ConnectedNode, NodeRegistry

_log = logging.getLogger(__name__)

_START_SECONDS = 120.0
"""Added to the limit of a build: the time until its node has begun, and for its zygote."""
_LINE_LENGTH = 200
"""Characters of a line of a node's that students are shown."""
_COMMANDS = 3
"""A build runs up to this number of commands, each of which has the time limit."""


class NodeEnvironments:
    """Has nodes build environments before sessions need them, or else when one does.

    Mutable state: ``_wanted``, the hub's environments by name, the latest last; ``_builds``;
    ``_background``, tasks that nothing waits for.
    """

    def __init__(self, registry: NodeRegistry, build_timeout: float) -> None:
        """``build_timeout`` is the limit of one command of a build, in seconds."""
        self._registry = registry
        self._seconds = _COMMANDS * build_timeout + _START_SECONDS
        self._wanted: dict[str, Path] = {}
        self._builds: SingleFlight[tuple[ConnectedNode, str], None] = SingleFlight()
        self._background = BackgroundTasks()

    async def prepare(
        self, node: ConnectedNode, environment: Path, progress: Progress = ignore
    ) -> None:
        """Have a node build an environment unless it has reported it.

        ``progress`` is called with what the node tells of the build.

        Raises: the node's error, and as
        :meth:`~mograder.sandbox.client.supervisor_client.Connection.call`.
        """
        if node.status is None or environment.name not in node.status.environments:
            await self._build(node, environment, progress)

    def warm_later(self, environment: Path) -> None:
        """Have all nodes, also those that connect later, prepare warm starts; log failures."""
        self._wanted.pop(environment.name, None)
        self._wanted[environment.name] = environment
        for node in self._registry.all():
            if node.status is None or environment.name not in node.status.zygotes:
                self._background.start(self._warm(node, environment))

    def prepare_all(self, node: ConnectedNode) -> None:
        """Have a node that has connected prepare all environments, one after the other."""
        self._background.start(self._warm_all(node))

    async def close(self) -> None:
        await self._background.close()
        await self._builds.close()

    async def _warm_all(self, node: ConnectedNode) -> None:
        for name, environment in tuple(self._wanted.items()):
            if not await asyncio.to_thread(environment.is_dir):
                self._wanted.pop(name, None)  # it was removed, since nothing needs it any more
            elif node.link.connection.alive:
                await self._warm(node, environment)

    async def _warm(self, node: ConnectedNode, environment: Path) -> None:
        try:
            await self._build(node, environment)
        except MograderError as error:
            _log.warning("node %s has no environment %s: %s", node.name, environment.name, error)

    async def _build(
        self, node: ConnectedNode, environment: Path, progress: Progress = ignore
    ) -> None:
        async def build(tell: Progress) -> None:
            tell("The machine is getting the software of this notebook")
            order = await asyncio.to_thread(order_of, environment, warm=True)
            await node.connection.call(order, lambda line: tell(line[:_LINE_LENGTH]), self._seconds)

        await self._builds.get((node, environment.name), build, progress)

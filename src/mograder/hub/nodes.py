"""Opening the connections to the hub's nodes, and what starts and ends sessions on them."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mograder.core.clock import Clock
from mograder.core.errors import InvalidInput
from mograder.core.files.disk import write_file
from mograder.core.settings import LoadedSettings
from mograder.hub.hosting import Hosting, HubNodes
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sessions.nodes.node_environments import NodeEnvironments
from mograder.sessions.nodes.node_leases import Leases
from mograder.sessions.nodes.node_link import NodeConnections, NodeLinks
from mograder.sessions.nodes.node_machines import NodeMachines
from mograder.sessions.nodes.node_registry import NodeRegistry, node_capacity
from mograder.store.filesystem.files import remove_tree
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.nodes import Nodes

RUNS = "runs-directory"
"""The file in the course's own directory that names the directory of the last hub's runs."""

_RUN = re.compile(r"run-[0-9a-f]{16}")


@asynccontextmanager
async def open_nodes(
    loaded: LoadedSettings,
    state: HubState,
    clock: Clock,
    builder: SupervisorClient,
    epoch: int,
) -> AsyncIterator[Hosting]:
    """Let nodes in, and run everything on them; ``builder`` builds environments only.

    Raises: :class:`InvalidInput` if the directory for runs cannot be used.
    """
    settings, nodes = loaded.settings, Nodes(state.engine)
    registry = NodeRegistry(clock, settings.nodes.lease_seconds)
    leases = Leases(nodes, clock, settings.nodes.lease_seconds, epoch)
    environments = NodeEnvironments(registry, settings.limits.build_timeout)
    machines = NodeMachines(registry, leases, environments, state, epoch)
    for info in await builder.sessions():  # of this machine, before the hub had nodes
        await builder.stop(info.session_id)
    runs = await asyncio.to_thread(_runs_directory, loaded)
    capacity = node_capacity(settings.hub.session_ttl, settings.limits, registry)
    links = NodeLinks(machines.came, machines.went)
    watching = asyncio.create_task(leases.watch())
    try:
        yield Hosting(
            machines,
            capacity,
            NodeConnections(links.by_name.get),
            runs,
            HubNodes(nodes, registry, links),
        )
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await machines.close()
        await environments.close()
        await leases.close()
        await links.close()
    await asyncio.to_thread(remove_tree, runs)


def _runs_directory(loaded: LoadedSettings) -> Path:
    """Return a new directory for this hub's runs; remove that of the course's hub before it.

    A file of the course names the one to remove. Whatever else is there stays: another course may
    have the same ``runs_dir``, or the setting may name a directory of other files by mistake.

    Raises: :class:`InvalidInput` if it cannot be made.
    """
    directory, named = loaded.path(loaded.settings.nodes.runs_dir), loaded.state_dir / RUNS
    own = directory / f"run-{secrets.token_hex(8)}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        earlier = named.read_text("ascii", "replace") if named.exists() else ""
        if _RUN.fullmatch(earlier):
            remove_tree(directory / earlier)
        write_file(named, own.name.encode(), 0o600)
        own.mkdir(mode=0o700)
    except OSError as error:
        raise InvalidInput(
            f"The directory {directory} cannot be used: {error.strerror}.",
            hint="Set [nodes] runs_dir to a directory that this user can write.",
        ) from error
    return own

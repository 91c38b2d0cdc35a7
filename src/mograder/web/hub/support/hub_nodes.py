"""The hub's nodes: the listener to which they connect, their authority, and all that uses them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.auth.node_certificates import Authority
from mograder.core.clock import Clock
from mograder.core.errors import Conflict, InvalidInput, MograderError
from mograder.core.log import get_logger
from mograder.core.sections.node_settings import address_for_nodes
from mograder.core.settings import LoadedSettings
from mograder.core.tasks.periodic import repeat
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.nodes.certificate_renewal import renew_if_due
from mograder.sandbox.nodes.hub_listener import HubListener
from mograder.sandbox.nodes.joining import Admission
from mograder.sandbox.nodes.node_link import NodeLink
from mograder.sandbox.nodes.tls_contexts import hub_context, use_certificate
from mograder.sandbox.nodes.wire_messages import JoinAnswer, JoinRequest
from mograder.sessions.node_connections import NodeConnections
from mograder.sessions.nodes.node_capacity import node_capacity
from mograder.sessions.nodes.node_environments import NodeEnvironments
from mograder.sessions.nodes.node_launcher import NodeLauncher
from mograder.sessions.nodes.node_leases import Leases
from mograder.sessions.nodes.node_machines import NodeMachines
from mograder.sessions.nodes.node_registry import NodeRegistry
from mograder.sessions.nodes.node_runs import NodeRuns
from mograder.store.filesystem.files import remove_tree
from mograder.store.hub.active_hub import Hubs
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import NodeRow
from mograder.store.hub.node_authority import open_authority
from mograder.store.hub.nodes import Nodes
from mograder.web.hub.support.connected_nodes import HubNodes
from mograder.web.hub.support.hosting import Hosting

_log = get_logger(__name__)

_RENEWAL_SECONDS = 3600.0
_LOOK_SECONDS = 5.0


@dataclass(slots=True)
class HubAddresses:
    """Where nodes connect to the hubs of the course, the one at work and those that wait."""

    hubs: Hubs
    own: str
    known: tuple[str, ...] = ()

    def all(self) -> tuple[str, ...]:
        """Return all addresses, as of the last look."""
        return self.known

    async def look(self) -> None:
        """Note this hub's address, and read those of the others."""
        await asyncio.to_thread(self.hubs.note, self.own)
        self.known = await asyncio.to_thread(self.hubs.addresses)

    async def keep(self) -> None:
        """Do it now and then, until cancelled."""
        await repeat("the addresses of hubs", self.look, _LOOK_SECONDS, at_once=False)


@dataclass(frozen=True, slots=True)
class NodeGate:
    """Who may connect and join, by the hub's database."""

    nodes: Nodes
    authority: Authority
    clock: Clock
    addresses: Callable[[], tuple[str, ...]]

    async def recognizes(self, name: str, fingerprint: str) -> bool:
        """Return whether a node of this name has joined with the key of this fingerprint."""
        row = await asyncio.to_thread(self.nodes.find, name)
        return row is not None and row.fingerprint == fingerprint

    async def join(self, request: JoinRequest) -> JoinAnswer:
        """Let a machine join if its token is good. Raises: as :meth:`Admission.join`."""
        return await Admission(self.authority, self).join(request, self.clock.now())

    async def use_token(self, token_hash: str) -> bool:
        """Count one use of a token; return False if it is not valid any more."""
        return await asyncio.to_thread(self.nodes.use_token, token_hash, self.clock.now())

    async def return_token(self, token_hash: str) -> None:
        """Take back one use of a token."""
        await asyncio.to_thread(self.nodes.return_token, token_hash)

    async def add(self, name: str, fingerprint: str, certificate_until: datetime) -> None:
        """Add a node. Raises: :class:`Conflict` while a node of this name is at work."""
        row = NodeRow(name, fingerprint, self.clock.now(), certificate_until)
        await asyncio.to_thread(self.nodes.add, row)

    async def hubs(self) -> tuple[str, ...]:
        """Return the addresses of all hubs."""
        return self.addresses()


@asynccontextmanager
async def open_nodes(
    loaded: LoadedSettings,
    state: HubState,
    clock: Clock,
    secret: str,
    builder: SupervisorClient,
    epoch: int,
) -> AsyncIterator[Hosting]:
    """Listen for nodes, and run everything on them during the block.

    ``builder`` is the hub's own supervisor, which only builds environments. ``epoch`` is the hub's.

    Raises: :class:`Conflict` if the address cannot be used, and as
    :func:`~mograder.store.hub.node_authority.open_authority`.
    """
    settings, nodes = loaded.settings, Nodes(state.engine)
    authority = await asyncio.to_thread(open_authority, nodes, secret, clock.now())
    registry = NodeRegistry(clock, settings.nodes.lease_seconds)
    addresses = HubAddresses(Hubs(state.engine), address_for_nodes(settings.nodes))
    await addresses.look()
    leases = Leases(nodes, clock, settings.nodes.lease_seconds, addresses.all, epoch)
    environments = NodeEnvironments(registry, settings.limits.build_timeout)
    launcher = NodeLauncher(registry, leases, environments, state, epoch)
    await _end_own_sessions(builder)
    runs = await asyncio.to_thread(_runs_directory, loaded, epoch)
    capacity = node_capacity(settings.hub.session_ttl, settings.limits, registry)
    gate = NodeGate(nodes, authority, clock, addresses.all)
    async with _listening(gate, launcher, settings.nodes.listen) as listener:
        watching = asyncio.gather(leases.watch(), addresses.keep())
        try:
            on_nodes = NodeRuns(registry, environments)
            yield Hosting(
                NodeMachines(launcher, on_nodes, environments, state, builder.in_use),
                capacity,
                NodeConnections(listener.links.get),
                runs,
                HubNodes(nodes, registry, listener),
            )
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await launcher.close()
            await environments.close()
            await leases.close()
    await asyncio.to_thread(remove_tree, runs)


@asynccontextmanager
async def _listening(
    gate: NodeGate, launcher: NodeLauncher, address: str
) -> AsyncIterator[HubListener]:
    """Listen for nodes during the block, and renew certificates."""
    authority, now = gate.authority, gate.clock.now
    context = hub_context(authority.hub_certificate(now()), authority.certificate)
    listener = HubListener(context, authority.certificate, gate, launcher.came, launcher.went)
    await _listen(listener, address)
    renewing = asyncio.create_task(_renew_certificates(listener, gate, context))
    try:
        yield listener
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await listener.close()


async def _end_own_sessions(builder: SupervisorClient) -> None:
    """End sessions that ran on this machine before the hub had nodes, where they may start now."""
    for info in await builder.sessions():
        await builder.stop(info.session_id)


async def _listen(listener: HubListener, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        await listener.open(host.strip("[]"), int(port))
    except OSError as error:
        raise Conflict(
            f"The hub cannot listen for nodes at {address}: {error.strerror or error}.",
            hint="Set [nodes] listen to an address of this machine and a free port.",
        ) from error


def _runs_directory(loaded: LoadedSettings, epoch: int) -> Path:
    """Return this hub's own directory for runs; remove those of earlier hubs.

    Raises: :class:`InvalidInput` if it cannot be made.
    """
    directory = loaded.path(loaded.settings.nodes.runs_dir)
    own = directory / str(epoch)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for earlier in directory.iterdir():
            remove_tree(earlier)
        own.mkdir(mode=0o700)
    except OSError as error:
        raise InvalidInput(
            f"The directory {directory} cannot be used: {error.strerror}.",
            hint="Set [nodes] runs_dir to a directory that this user can write.",
        ) from error
    return own


async def _renew_certificates(
    listener: HubListener, gate: NodeGate, context: ssl.SSLContext
) -> None:
    """Renew the certificates of nodes when it is time, and the hub's own each hour."""

    async def renew() -> None:
        use_certificate(context, gate.authority.hub_certificate(gate.clock.now()))
        for link in tuple(listener.links.values()):
            await _renew_one(link, gate)

    await repeat("the certificates of nodes", renew, _RENEWAL_SECONDS, at_once=False)


async def _renew_one(link: NodeLink, gate: NodeGate) -> None:
    try:
        until = await renew_if_due(link, gate.authority, gate.clock.now())
        if until is not None:
            known = link.fingerprint
            await asyncio.to_thread(gate.nodes.renew_certificate, link.name, known, known, until)
    except MograderError as error:
        _log.warning("the certificate of node %s was not renewed: %s", link.name, error)

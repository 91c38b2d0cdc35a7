"""The agent: the process of a node that connects its supervisor to the hub at work.

It has no database and no secret of a hub. It decides nothing about students: it carries the hub's
calls to the supervisor, within the rules of :mod:`mograder.sandbox.nodes.node_paths`, and the bytes
of sessions. It builds environments by the hubs' locks, and keeps the lease (decision 48).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.environment_root import mark_used
from mograder.sandbox.environments.locked_builds import LockedBuilds
from mograder.sandbox.node_messages import GrantLease, NodeStatus, PrepareEnvironment
from mograder.sandbox.nodes.hub_conversation import HubConversation, OwnCall, tell_progress
from mograder.sandbox.nodes.node_config import NodeConfig
from mograder.sandbox.nodes.node_dialer import Hub, NodeDialer
from mograder.sandbox.nodes.node_drain import Drain
from mograder.sandbox.nodes.node_lease import NodeLease
from mograder.sandbox.nodes.node_paths import Located, NodePaths
from mograder.sandbox.nodes.node_pruning import prune_daily
from mograder.sandbox.nodes.node_use import NodeUse
from mograder.sandbox.protocol import LINE_LIMIT, Done, SessionInfo, StartSession, Warm
from mograder.sandbox.supervisor.config import SESSIONS
from mograder.sandbox.supervisor.lease import boot_time

_log = logging.getLogger(__name__)

_STATUS_SECONDS = 1.5
_LOOK_SECONDS = 0.2
_FAREWELL_SECONDS = 3.0
_BUILD_END_SECONDS = 5.0
"""How long builds may take to end after the drain: the engine kills the node soon after it."""
_HOLD_SECONDS = 2.0
"""How long the supervisor may take to hold a lease; the next one is granted soon after."""


class NodeAgent:
    """A node at work, until :meth:`serve` returns.

    Mutable state: the conversations with hubs, the lease, the drain, the sessions that it ends,
    whether it may not serve them (:meth:`_is_unfit`), and the
    epoch of the hub that granted the last lease.
    """

    def __init__(self, config: NodeConfig, hub: Hub, secret: str, client: SupervisorClient) -> None:
        """``client`` is that of the node's own supervisor, which runs already."""
        self._config = config
        self._client = client
        self._paths = NodePaths(config.shares, config.environments)
        wheels = config.state / "runtime"
        seconds = config.build_seconds
        self._builds = LockedBuilds(config.environments, client, wheels=wheels, seconds=seconds)
        self._lease = NodeLease()
        self._use = NodeUse()
        self.drain = Drain(config.drain_seconds)
        self._talks: set[HubConversation] = set()
        self._moving: dict[str, asyncio.Task[None]] = {}
        self._ending = False
        self._unfit = False
        self._epoch = 0
        self._dialer = NodeDialer(
            hub,
            secret,
            self._converse,
            self._socket_of,
            hurried=lambda: self._lease.seconds_left() > 0,
        )

    @property
    def connected(self) -> bool:
        """Whether it is connected to its hub."""
        return self._dialer.connected

    async def serve(self) -> None:
        """Serve the hub until the drain is over, then end all sessions."""
        self._client.watch(self._use.forget, lambda: None, self._use.hear)
        self._dialer.connect()
        keeping = asyncio.create_task(self._keep_lease())
        pruning = asyncio.create_task(prune_daily(self._builds.path, self._client.in_use))
        try:
            await self._tell()
        finally:
            keeping.cancel()
            pruning.cancel()
            await self._end()

    async def _end(self) -> None:
        self._ending = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BUILD_END_SECONDS):
                await self._builds.close()
        try:
            await self._client.shutdown()  # before the dialer: the hubs are told of the ends
        except MograderError as error:
            _log.error("the supervisor could not be ended: %s", error)
        await asyncio.gather(*self._moving.values())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                while self._talks:  # noqa: ASYNC110 - once, at the end
                    await asyncio.sleep(_LOOK_SECONDS)
        await self._dialer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a new connection to the supervisor, which is started again if it has ended."""
        if self._ending:
            raise SandboxUnavailable("This node is about to end.")
        await self._client.open()
        path = self._config.supervisor.socket
        return await asyncio.open_unix_connection(path, limit=LINE_LIMIT)

    async def locate(self, operation: Located) -> Located:
        """Return an operation with this machine's paths.

        Raises: :class:`SandboxUnavailable` while the node is drained, and as
        :meth:`NodePaths.located`.
        """
        if self.drain.draining and not isinstance(operation, Warm):
            raise SandboxUnavailable(
                "This machine takes no new sessions, since it is to be stopped.",
                hint="Try again: another machine is used.",
            )
        return await asyncio.to_thread(self._located, operation)

    def _located(self, operation: Located) -> Located:
        located = self._paths.located(operation)
        if isinstance(located, StartSession):
            mark_used(located.environment)
        return located

    async def answer(self, call_id: int, operation: OwnCall, writer: asyncio.StreamWriter) -> Done:
        """Hold a lease, or build an environment.

        Raises: :class:`~mograder.core.errors.MograderError`, ``OSError``.
        """
        if isinstance(operation, GrantLease):
            await self._hold(operation)
            return Done(id=call_id)
        return await self._prepare(call_id, operation, writer)

    async def _hold(self, grant: GrantLease) -> None:
        until = self._lease.end_of(grant.number, grant.seconds)
        self.drain.wish(draining=grant.draining or self._is_unfit(grant))
        async with asyncio.timeout(_HOLD_SECONDS):
            await self._client.hold_lease(until, grant.epoch)  # refuses a hub that was replaced
        self._lease.held_until(until)
        if grant.epoch != self._epoch:
            self._epoch = grant.epoch
            # Those of a hub that hangs would stay open: beside one editor another may only read.
            self._dialer.cut_sessions()

    def _is_unfit(self, grant: GrantLease) -> bool:
        """Return whether either the hub or this node is root, and log it once.

        Such a node may take no session: as root it gives a copy's directory to the session's own
        uid, which takes it away from a hub that is not root.
        """
        unfit = grant.uid is not None and (grant.uid == 0) != (os.geteuid() == 0)
        if unfit and not self._unfit:
            _log.error(
                "this node runs as uid %d, but its hub as uid %d: it takes no sessions. Run both "
                "as the same user",
                os.geteuid(),
                grant.uid,
            )
        self._unfit = unfit
        return unfit

    async def _prepare(
        self, call_id: int, order: PrepareEnvironment, writer: asyncio.StreamWriter
    ) -> Done:
        built = await self._builds.prepare(order, lambda text: tell_progress(writer, call_id, text))
        warm = order.warm and await self._client.warm(built.directory)
        return Done(id=call_id, environments=(built.directory,), warm=warm)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = HubConversation(self, reader, writer)
        self._talks.add(conversation)
        self._lease.expect()
        try:
            # At once: after a hub's restart the lease may be over before the next regular status.
            with contextlib.suppress(MograderError, OSError):
                conversation.tell(await self._status())
            await conversation.run()
        finally:
            self._talks.discard(conversation)

    def _socket_of(self, session_id: str) -> Path | None:
        """Return the socket of a session while it may be used; ids are names without a slash."""
        if self._lease.seconds_left() <= 0:
            return None
        path = self._config.supervisor.runtime / SESSIONS / f"{session_id}.sock"
        return path if path.is_socket() else None

    async def _tell(self) -> None:
        """Send a status to every hub every 1.5 seconds, until the drain is over."""
        while True:
            try:
                status = await self._status()
            except (MograderError, OSError) as error:
                _log.error("the state of this node is not known: %s", error)
            else:
                for conversation in tuple(self._talks):
                    conversation.tell(status)
                if self.drain.is_over(busy=bool(status.sessions or status.runs)):
                    return
                self._move(status.sessions)
            await self.drain.changed(_STATUS_SECONDS)

    def _move(self, sessions: tuple[str, ...]) -> None:
        """End those of the live sessions that the drain has no more time for, in the background."""
        left = sorted({*sessions} - self._moving.keys())
        for session_id in left[: self.drain.due(len(left))]:
            self._moving[session_id] = asyncio.create_task(self._end_session(session_id))

    async def _end_session(self, session_id: str) -> None:
        try:
            await self._client.stop(session_id, asked=False)
        except (MograderError, OSError) as error:
            _log.warning("session %s was not ended completely: %s", session_id, error)

    async def _status(self) -> NodeStatus:
        keys = await asyncio.to_thread(self._builds.keys)
        asked = boot_time()
        listed = await self._client.listed()
        self._use.keep(listed.sessions)
        sessions = _ids(listed.sessions)
        for conversation in self._talks:
            sessions |= conversation.started_since(asked)
        return NodeStatus(
            number=self._lease.next_number(),
            memory=self._config.memory,
            used=self._use.total,
            processors=len(os.sched_getaffinity(0)),
            load=os.getloadavg()[0],
            starts=self._config.starts,
            starting=sum(conversation.starting for conversation in self._talks),
            environments=keys,
            zygotes=tuple(sorted({path.name for path in listed.zygotes})),
            sessions=tuple(sorted(sessions)),
            runs=sum(conversation.runs for conversation in self._talks),
            draining=self.drain.draining,
            drain_seconds=self.drain.seconds_granted(),
        )

    def _look_at_lease(self) -> None:
        if self._lease.has_lapsed():
            _log.error("the lease is over; all connections to hubs are closed")
            self._dialer.cut()
        elif self._lease.is_overdue() and self._dialer.connected:
            _log.warning("the hub is silent; the connection to it is closed")
            self._lease.expect()
            for conversation in tuple(self._talks):
                conversation.abort()

    async def _keep_lease(self) -> None:
        """Close all connections when the lease ends, and connect again; earlier to another hub."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._look_at_lease()
            except Exception:  # noqa: BLE001 - without this loop connections would outlive a lease
                _log.exception("connections whose lease is over could not be closed")


def _ids(sessions: tuple[SessionInfo, ...]) -> set[str]:
    return {session.session_id for session in sessions}

"""The machines of a hub with nodes: starts, stops and finds sessions, and runs notebooks, on them.

What a node says counts for its own sessions only. A session counts as ended when its node says so
or when that node's lease is over by the database's clock; until then it may be running, also while
the node cannot be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mograder.core.errors import Busy, Conflict, MograderError, RemoteFailed
from mograder.core.tasks import BackgroundTasks, Paced, Progress, first_of
from mograder.sandbox.machines import ignore
from mograder.sandbox.protocol import (
    Answered,
    Arrived,
    Checked,
    Ended,
    Execute,
    Executed,
    Judged,
    JudgeSubmission,
    ListSessions,
    Measured,
    News,
    NodeStatus,
    SessionInfo,
    SessionUse,
    StartSession,
    StopSession,
    Subscribe,
)
from mograder.sessions.admission import RECONSIDER_SECONDS
from mograder.sessions.capacity import UNKNOWN
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.nodes.node_environments import NodeEnvironments
from mograder.sessions.nodes.node_leases import Leases
from mograder.sessions.nodes.node_link import NodeLink
from mograder.sessions.nodes.node_registry import (
    ConnectedNode,
    NodeLoad,
    NodeRegistry,
    choose_for_run,
    choose_node,
    failure_on,
)
from mograder.store.hub.hub_state import HubState
from mograder.store.hub.hub_tables import SessionState

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
_WAIT_SECONDS = 20.0
"""How long a start that was admitted waits for a usable node: longer than a lease, by default."""
_LEFT_SECONDS = 1.0
"""The same where all usable nodes have failed."""
_LIST_SECONDS = 5.0
"""How long a node has to list its sessions: all others wait for that."""
_STOP_SECONDS = 45.0
"""How long a node has to stop a session before it is cut off: by the limits of a supervisor that is
busy a stop takes up to 30, if the session is still starting (zygote, fork, sandbox, save, end)."""
_AGAIN_SECONDS = 5.0
"""When it is asked again."""
_RUN_WAIT_SECONDS = 120.0
"""How long a run waits for a usable node."""


class _NotStarting(Conflict):
    """The row of a session says that it is not being started any more."""


class NodeMachines:
    """All nodes, as the machines of a hub; for use on the event loop only.

    It stands in place of :class:`~mograder.sandbox.client.supervisor_client.SupervisorClient`.
    Directories of runs must be below the one that the hubs and the nodes share.

    Call :meth:`came` and :meth:`went` for each connection of a node, and :meth:`close` last.

    Mutable state: ``_places``, the nodes of sessions, by session id; ``_starting``, ids whose start
    is in progress; ``_reported``, the sessions in each node's last status, kept until its lease is
    over; ``_ending``, for each session that is being ended, by node, a future that is done when the
    node's lease is over; ``_background``, tasks that nothing waits for; ``_uses``, what was
    measured and is not passed on yet: all nodes are counted a few times a second, not for each
    message.
    """

    def __init__(
        self,
        registry: NodeRegistry,
        leases: Leases,
        environments: NodeEnvironments,
        rows: HubState,
        epoch: int,
    ) -> None:
        self._registry = registry
        self._epoch = epoch
        self._leases = leases
        self._environments = environments
        self._rows = rows
        self._places: dict[str, str] = {}
        self._starting: set[str] = set()
        self._reported: dict[str, frozenset[str]] = {}
        self._ending: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._background = BackgroundTasks()
        self._uses: dict[str, SessionUse] = {}
        self._count = Paced(self._pass_on, RECONSIDER_SECONDS)
        self._on_ended: Callable[[Ended], None] = ignore
        self._on_lost: Callable[[], None] = lambda: None
        self._on_news: Callable[[News], None] = ignore
        leases.connected = registry.all
        leases.silent = self._silent
        leases.on_over = self._lease_over
        leases.on_granted = lambda _: self._count()

    def watch(
        self,
        on_ended: Callable[[Ended], None],
        on_lost: Callable[[], None],
        on_news: Callable[[News], None] = ignore,
    ) -> None:
        self._on_ended, self._on_lost, self._on_news = on_ended, on_lost, on_news

    # ---- nodes that come and go ----

    def came(self, link: NodeLink) -> None:
        """Take over a node's new connection, before any of its messages is read."""
        node, former = self._registry.add(link)
        link.connection.watch(
            lambda gone: self._note_end(node, gone),
            lambda: self.went(link),
            lambda news: self._note_news(node, news),
        )
        if former is not None:
            self._background.start(former.link.close())
        self._background.start(self._greet(node))

    def went(self, link: NodeLink) -> None:
        """Note that a node's connection is over; its sessions may go on."""
        node = self._registry.find(link.name)
        if node is not None and node.link is link and self._registry.remove(node):
            _log.warning("node %s is not connected; its sessions may go on", link.name)
            self._count.now()

    async def _greet(self, node: ConnectedNode) -> None:
        try:
            await node.link.connection.greet(self._epoch)
            await node.connection.call(Subscribe())
        except MograderError as error:
            _log.warning("node %s is not used: %.300s", node.name, error)
            await node.link.close()
            self.went(node.link)
            return
        _log.info("node %s (mograder %s) is connected", node.name, node.version)
        self._on_lost()  # ends may have been missed: the manager compares the sessions
        self._environments.prepare_all(node)

    async def close(self) -> None:
        self._count.close()
        await self._background.close()

    # ---- sessions ----

    async def start(self, request: StartSession, progress: Progress = ignore) -> SessionInfo:
        """Start a session on the best node; on another one if that node fails meanwhile.

        ``progress`` is called with what a node tells that first has to build the environment.

        Raises: :class:`Busy` without a usable node, the error that the last node reports, and
        :class:`Conflict` if the session is not to be started any more.
        """
        failed: dict[str, MograderError] = {}
        self._starting.add(request.session_id)
        try:
            while True:
                node = await self._choose(request, failed)
                try:
                    return await self._start_on(node, request, progress)
                except _NotStarting:
                    raise
                except MograderError as error:
                    failed[node.name] = failure_on(node.name, error)
                    node.note_failure()
                    self._count.now()
                    _log.warning("a start on node %s failed: %.300s", node.name, error)
                    await self._end_certainly(request.session_id, node.name)
        except BaseException:
            self._forget(request.session_id)
            raise
        finally:
            self._starting.discard(request.session_id)

    async def stop(self, session_id: str) -> bool:
        """End a session, and keep its node from starting it later; return false if there was none.

        It returns when the session has certainly ended: for a node that cannot be reached, when
        that node's lease is over.
        """
        name = await self._place_of(session_id)
        return bool(name) and await self._end_certainly(session_id, name)

    def answered(self, session_id: str) -> None:
        async def tell() -> None:
            node = self._registry.find(self._places.get(session_id, ""))
            with contextlib.suppress(MograderError):
                if node is not None:
                    await node.connection.call(Answered(session_id=session_id))

        self._background.start(tell())

    async def sessions(self) -> tuple[SessionInfo, ...]:
        """Return the sessions that run, or may run on a node that cannot be reached."""
        rows = await asyncio.to_thread(self._rows.sessions)
        nodes = self._registry.all()
        lists = await asyncio.gather(*(self._list(node) for node in nodes))
        answered = {
            node.name for node, found in zip(nodes, lists, strict=True) if found is not None
        }
        away = [row for row in rows if row.node and row.node not in answered]
        over = await self._leases.lapsed(frozenset(row.node for row in away)) if away else ()
        presumed = [_info(row.session_id, row.node) for row in away if row.node not in over]
        places = {row.session_id: row.node for row in rows}
        running = {row.session_id for row in rows if row.state is SessionState.RUNNING}
        listed = [each for answer in lists for each in answer or ()]
        # A node may have sessions without a row, but none whose row names another node.
        found = [each for each in listed if places.get(each.session_id, each.node) == each.node]
        running_there = {info.session_id for info in found}
        for session_id in self._places.keys() - places.keys() - running_there - self._starting:
            if self._places[session_id] in answered:
                self._forget(session_id)
        for info in (*presumed, *found):
            if info.session_id in running:
                self._places[info.session_id] = info.node
            else:  # a start under way may move it to another node
                self._places.setdefault(info.session_id, info.node)
        return (*found, *presumed)

    async def answers(self) -> bool:
        return any(node.usable for node in self._registry.all())

    # ---- runs ----

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        """Run a notebook, call ``on_line`` with each line of its report; return how it ended.

        Raises: as :func:`failure_on`; :class:`~mograder.core.errors.Busy` if no node is usable for
        two minutes.
        """
        async with self._node(request.environment, UNKNOWN) as node:
            return await node.link.connection.execute(request, on_line)

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged:
        """Judge a submission; ``on_line`` gets the lines of both reports; raises as `execute`."""
        async with self._node(request.worker.environment, 2 * UNKNOWN) as node:
            return await node.link.connection.judge(request, on_line)

    @asynccontextmanager
    async def _node(self, environment: Path, expected: int) -> AsyncIterator[ConnectedNode]:
        """Yield a node with the environment, and memory reserved on it until the block ends."""

        def choose(loads: Sequence[NodeLoad]) -> str | None:
            return choose_for_run(loads, environment.name, expected)

        run_id = f"run-{secrets.token_hex(8)}"
        node = await self._registry.reserve(choose, run_id, expected, _RUN_WAIT_SECONDS)
        try:
            await self._environments.prepare(node, environment)
            node.begin(run_id)
            yield node
        except MograderError as error:
            node.note_failure()
            _log.warning("a run on node %s failed: %.300s", node.name, error)
            raise failure_on(node.name, error) from error
        finally:
            node.release(run_id)

    def warm_later(self, environment: Path) -> None:
        self._environments.warm_later(environment)

    # ---- details ----

    async def _choose(
        self, request: StartSession, failed: Mapping[str, MograderError]
    ) -> ConnectedNode:
        """Return the node for a session, and reserve its place there.

        After a failure only a node with room for it is chosen, as the one that failed may have been
        the only one with room when the start was admitted.

        Raises: the last error if there is no node but those that failed; :class:`Busy` if there is
        no usable one for a while.
        """
        expected = self._registry.expected(request.session_id)
        expected = min(expected, request.limits.memory_mb << 20 or expected)

        def choose(loads: Sequence[NodeLoad]) -> str | None:
            others = [load for load in loads if load.name not in failed]
            return choose_node(others, request.environment.name, expected, must_fit=bool(failed))

        others = any(load.usable for load in self._registry.loads() if load.name not in failed)
        try:
            seconds = _LEFT_SECONDS if failed and not others else _WAIT_SECONDS
            return await self._registry.reserve(choose, request.session_id, expected, seconds)
        except Busy:
            if failed:
                raise tuple(failed.values())[-1] from None
            raise

    async def _start_on(
        self, node: ConnectedNode, request: StartSession, progress: Progress
    ) -> SessionInfo:
        self._places[request.session_id] = node.name  # what is reserved there is released by this
        await self._environments.prepare(node, request.environment, progress)
        # Written first: the next hub must know where to stop it.
        placed = await asyncio.to_thread(self._rows.place_session, request.session_id, node.name)
        if not placed:
            raise _NotStarting("The notebook is not being started any more.", hint="Open it again.")
        done = await node.connection.call(request)
        node.begin(request.session_id)
        if [each.session_id for each in done.sessions] != [request.session_id]:
            raise RemoteFailed(f"The machine {node.name} does not say that the notebook runs.")
        return _info(request.session_id, node.name)

    async def _list(self, node: ConnectedNode) -> list[SessionInfo] | None:
        """Return a node's sessions, or None if it does not answer; it is then asked again later."""
        try:
            done = await node.connection.call(ListSessions(), seconds=_LIST_SECONDS)
        except MograderError as error:
            _log.warning("node %s does not list its sessions: %.300s", node.name, error)
            if node.link.connection.alive:  # it is asked again
                asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._on_lost)
            return None
        ids = (each.session_id for each in done.sessions)
        return [_info(each, node.name) for each in ids if self._may_be_of(each, node)]

    async def _end_certainly(self, session_id: str, name: str) -> bool:
        """Stop a session; return when it has ended, and whether it had to be stopped."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ending[name].add(over)
        since = self._registry.clock.steady()
        try:
            while not over.done():
                stopping = asyncio.ensure_future(self._stop_on(session_id, name))
                await _either(over, stopping)
                if stopping.done() and (stopped := stopping.result()) is not None:
                    return stopped
                stopping.cancel()
                if self._registry.clock.steady() - since >= _STOP_SECONDS:
                    self._cut_off(name)
                await asyncio.wait({over}, timeout=_RETRY_SECONDS)
            return False
        finally:
            self._ending[name].discard(over)
            if not self._ending[name]:  # else another session waits for the end of its lease
                del self._ending[name]
                self._leases.refused.discard(name)
            self._forget(session_id)

    def _cut_off(self, name: str) -> None:
        """Grant a node no lease while it does not stop a session; there must be another node.

        Its sessions end with the lease, so that those who wait can go on elsewhere.
        """
        node = self._registry.find(name)
        others = any(each.usable for each in self._registry.all() if each is not node)
        if node is None or not others or name in self._leases.refused:
            return
        _log.error("node %s does not stop a session; it is cut off until its lease is over", name)
        self._leases.refused.add(name)
        self._background.start(node.link.close())
        self.went(node.link)

    async def _stop_on(self, session_id: str, name: str) -> bool | None:
        """Return the node's answer to a stop, or None if there is none."""
        node = self._registry.find(name)
        if node is None:
            return None
        try:
            stop = StopSession(session_id=session_id)
            return (await node.connection.call(stop, seconds=_STOP_SECONDS)).stopped
        except MograderError as error:
            _log.warning("session %s is not stopped on %s yet: %.300s", session_id, name, error)
            return None

    async def _place_of(self, session_id: str) -> str:
        """Return the name of a session's node, "" if the session is unknown or not placed."""
        if session_id not in self._starting:
            # The previous hub may have started it: the row says where, also before the node does.
            place = await asyncio.to_thread(self._rows.place_of, session_id)
            if place:
                return place
        return self._places.get(session_id, "")

    # ---- news ----

    def _note_end(self, node: ConnectedNode, gone: Ended) -> None:
        if not self._may_be_of(gone.session_id, node):
            _log.debug("node %s reports the end of a session of another node", node.name)
            return
        self._forget(gone.session_id)
        by_itself = not gone.reason and not gone.asked and gone.status != 0
        if node.draining and (by_itself or gone.reason == EndReason.LOST):
            gone = gone.model_copy(update={"reason": EndReason.MOVED.value})
        self._on_ended(gone.model_copy(update={"node": node.name}))

    def _note_news(self, node: ConnectedNode, news: News) -> None:
        if self._registry.find(node.name) is not node:
            return  # it was replaced by a newer connection
        match news:
            case NodeStatus():
                node.note_status(news)
                self._reported[node.name] = node.session_ids
                self._leases.renew(node, news)
            case Arrived():
                if self._may_be_of(news.session_id, node):
                    self._on_news(news)
            case Measured():
                node.note_use(news)
                own = (use for use in news.sessions if self._may_be_of(use.session_id, node))
                self._uses.update({use.session_id: use for use in own})
                self._count()
            case Checked():
                self._on_news(news.model_copy(update={"node": node.name}))

    def _pass_on(self) -> None:
        """Pass on the use of the sessions that was measured, and of all nodes together.

        All together use what the nodes say that count for the capacity, which changes at the same
        moment. So no node can make the others look fuller, whatever it says of its sessions.
        """
        loads = self._registry.changed()
        used, runs = sum(each.status.used for each in loads), sum(each.runs for each in loads)
        known, self._uses = tuple(self._uses.values()), {}
        self._on_news(Measured(sessions=known, runs=runs, used=used))

    def _may_be_of(self, session_id: str, node: ConnectedNode) -> bool:
        """Return whether a session may run on a node; false if it is known to be on another."""
        return self._places.get(session_id, node.name) == node.name

    # ---- leases ----

    def _silent(self) -> frozenset[str]:
        """Return the names of the nodes that should have sessions but have no fresh lease.

        A node with a fresh one that does not end a session is cut off first.
        """
        fresh = {node.name for node in self._registry.all() if node.granted}
        reported = (name for name, ids in self._reported.items() if ids)
        return frozenset({*self._places.values(), *reported, *self._ending} - fresh)

    def _lease_over(self, name: str) -> None:
        """End the sessions of a node whose lease is over, and close what is left of its link."""
        for over in self._ending.get(name, ()):
            if not over.done():
                over.set_result(None)
        node = self._registry.find(name)
        if node is not None and self._registry.remove(node):
            self._background.start(node.link.close())
            self._count.now()
        reported = self._reported.pop(name, frozenset())
        ids = {each for each in reported if self._places.get(each, name) == name}
        ids |= {each for each, place in self._places.items() if place == name}
        # A start fails by the end of the connection, and goes on elsewhere.
        for session_id in sorted(ids - self._starting):
            self._forget(session_id)
            gone = Ended(
                session_id=session_id,
                status=-1,
                log_tail="",
                reason=EndReason.MACHINE.value,
                node=name,
            )
            self._on_ended(gone)

    def _forget(self, session_id: str) -> None:
        name = self._places.pop(session_id, "")
        if (node := self._registry.find(name)) is not None:
            node.release(session_id)


async def _either(one: asyncio.Future[None], other: asyncio.Future[bool | None]) -> None:
    """Wait until one of two has ended; if this is cancelled, so is the second one."""
    try:
        await first_of(one, other)
    except asyncio.CancelledError:
        other.cancel()
        raise


def _info(session_id: str, name: str) -> SessionInfo:
    """Return a session on a node; what the node says of its socket does not matter here."""
    return SessionInfo(session_id=session_id, socket=Path(f"{session_id}.sock"), node=name)

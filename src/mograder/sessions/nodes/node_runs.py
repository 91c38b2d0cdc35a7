"""Runs and judgings on nodes, in the memory that sessions leave free there."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mograder.core.errors import RemoteFailed
from mograder.sandbox.protocol import Execute, Executed, Judged, JudgeSubmission
from mograder.sessions.capacity import UNKNOWN
from mograder.sessions.nodes.connected_node import ConnectedNode
from mograder.sessions.nodes.node_environments import NodeEnvironments
from mograder.sessions.nodes.node_registry import NodeRegistry
from mograder.sessions.nodes.placement import NodeLoad, choose_for_run

_WAIT_SECONDS = 120.0
"""How long a run waits for a usable node."""
_RUN_SECONDS = 60.0
"""Added to a run's time limit: the time for its sandboxes to start and to end."""


class NodeRuns:
    """Runs notebooks and judges submissions on nodes.

    Their directories must be below the one that the hubs and the nodes share.
    """

    def __init__(self, registry: NodeRegistry, environments: NodeEnvironments) -> None:
        self._registry = registry
        self._environments = environments

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        """Run a notebook, call ``on_line`` with each line of its report; return how it ended.

        Raises: the error that the node reports; :class:`~mograder.core.errors.Busy` if no node is
        usable for two minutes; :class:`RemoteFailed` if the node was lost.
        """
        async with self._node(request.environment, UNKNOWN) as node:
            done = await node.call(request, on_line, request.seconds + _RUN_SECONDS)
        if done.executed is None:
            raise RemoteFailed(f"The machine {node.name} does not say how a notebook ended.")
        return done.executed

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged:
        """Judge a submission, call ``on_line`` with the lines of both reports; return their ends.

        Raises: as :meth:`execute`.
        """
        async with self._node(request.worker.environment, 2 * UNKNOWN) as node:
            done = await node.call(request, on_line, request.seconds + _RUN_SECONDS)
        if done.judged is None:
            raise RemoteFailed(f"The machine {node.name} does not say how a submission was judged.")
        return done.judged

    @asynccontextmanager
    async def _node(self, environment: Path, expected: int) -> AsyncIterator[ConnectedNode]:
        """Yield a node with the environment, and memory reserved on it until the block ends."""

        def choose(loads: Sequence[NodeLoad]) -> str | None:
            return choose_for_run(loads, environment.name, expected)

        run_id = f"run-{secrets.token_hex(8)}"
        node = await self._registry.reserve(choose, run_id, expected, _WAIT_SECONDS)
        try:
            await self._environments.prepare(node, environment)
            node.begin(run_id)
            yield node
        finally:
            node.release(run_id)

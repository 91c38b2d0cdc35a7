"""``mograder node run``: run sessions for the hubs that this machine has joined."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from dataclasses import replace
from pathlib import Path

import click

from mograder.cli.node.join import join_and_save
from mograder.cli.node.options import (
    identity_of,
    name_option,
    node_environ_of,
    share_option,
    state_option,
)
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.log import configure_logging
from mograder.core.systemd import READY, STOPPING, Service
from mograder.operations.share_checks import refuse_squashed_root
from mograder.sandbox.client.bootstrap import open_sandbox
from mograder.sandbox.limits.cpu import put_first
from mograder.sandbox.nodes.agent import NodeAgent
from mograder.sandbox.nodes.node_config import NodeConfig, node_config
from mograder.sandbox.nodes.node_identity import NodeIdentity
from mograder.sandbox.nodes.node_process import held

_log = logging.getLogger("mograder.node")


@click.command("run")
@share_option
@state_option
@name_option
@click.option(
    "--memory-mb",
    type=click.IntRange(min=1),
    help="Memory for all sessions together.  [env var: MOGRADER_NODE_MEMORY_MB; default: nine "
    "tenths of the machine's]",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0, max=86_400),
    help="Time between the signal to end and the end of the last session.  [env var: "
    "MOGRADER_NODE_DRAIN_SECONDS; default: 20]",
)
def run(
    shares: tuple[Path, ...],
    state: Path | None,
    name: str,
    memory_mb: int | None,
    drain_seconds: float | None,
) -> None:
    """Run sessions for the hubs that this machine has joined, until it is stopped.

    A machine that has not joined yet joins by the token in MOGRADER_NODE_TOKEN, if that is set.

    SIGTERM drains the node: no new sessions start, and those that are left are ended one after the
    other in the second half of --drain-seconds; a second SIGTERM ends them at once. SIGUSR1 drains
    it until the last session has ended by itself, and SIGUSR2 takes that back.
    """
    environ = node_environ_of(state=state, shares=shares, name=name)
    node = environ.node
    if memory_mb is not None:
        node = replace(node, memory_mb=memory_mb)
    if drain_seconds is not None:
        node = replace(node, drain_seconds=drain_seconds)
    environ = replace(environ, node=node)
    configure_logging(journal=environ.service.journal)
    config = node_config(environ)
    _demand_shares(config)
    identity = identity_of(config.identity)
    if identity is None:
        if node.token is None:
            NodeIdentity.load(config.identity)  # raises, with the remedy
            raise NotFound("This machine has not joined a hub.")
        identity = join_and_save(config.identity, node.token, node.name)
    put_first()
    with held(config.state):
        asyncio.run(_serve(config, identity, environ.service))


def _demand_shares(config: NodeConfig) -> None:
    """Raise :class:`InvalidInput` unless there are shares, all of which are directories."""
    if not config.shares:
        raise InvalidInput(
            "A node needs the directories that it has in common with the hub.",
            hint="Name them with --share, for example --share /srv/mograder/share.",
        )
    for share in config.shares:
        if share == Path(os.sep) or not share.is_dir():
            raise InvalidInput(
                f"The share {share} is not a directory that can be used.",
                hint="Mount it here at the same path as on the hub's machine.",
            )
    refuse_squashed_root(*config.shares)


async def _serve(config: NodeConfig, identity: NodeIdentity, service: Service) -> None:
    client, _ = await open_sandbox(config.supervisor, None, dev=False)
    agent = NodeAgent(config, identity, client)
    loop = asyncio.get_running_loop()

    def leave() -> None:
        service.tell(STOPPING)
        agent.drain.leave(hurry=True)

    loop.add_signal_handler(signal.SIGTERM, leave)
    loop.add_signal_handler(signal.SIGINT, leave)
    loop.add_signal_handler(signal.SIGUSR1, lambda: agent.drain.leave(hurry=False))
    loop.add_signal_handler(signal.SIGUSR2, agent.drain.stay)
    _log.info("the node %s serves %s", identity.name, ", ".join(identity.hubs))
    service.tell(READY, f"STATUS=Serving {', '.join(identity.hubs)}")
    try:
        async with service.kept_alive():
            await agent.serve()
    finally:
        await client.close()

"""``mograder node run`` and ``drain``."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from pathlib import Path

import click

from mograder.cli.node.options import (
    hub_of,
    hub_option,
    name_option,
    node_environ_of,
    share_option,
    state_option,
    token_of,
    token_option,
)
from mograder.core.errors import InvalidInput
from mograder.core.log import configure_logging
from mograder.operations.share_checks import refuse_squashed_root
from mograder.sandbox.nodes.node_config import NodeConfig, held, node_config, send
from mograder.sandbox.nodes.node_supervisor import serve_node

_log = logging.getLogger("mograder.node")


@click.command("run")
@hub_option
@token_option
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
    hub: str,
    token_file: Path | None,
    shares: tuple[Path, ...],
    state: Path | None,
    name: str,
    memory_mb: int | None,
    drain_seconds: float | None,
) -> None:
    """Run sessions for a hub on another machine, until it is stopped.

    Its token is that of `mograder hub node-token`.

    SIGTERM drains the node: no new sessions start, and those that are left are ended one after the
    other in the second half of --drain-seconds; a second SIGTERM ends them at once. SIGUSR1 drains
    it until the last session has ended by itself, and SIGUSR2 takes that back.
    """
    environ = node_environ_of(state=state, shares=shares, name=name, hub=hub, token_file=token_file)
    node = environ.node
    if memory_mb is not None:
        node = replace(node, memory_mb=memory_mb)
    if drain_seconds is not None:
        node = replace(node, drain_seconds=drain_seconds)
    environ = replace(environ, node=node)
    configure_logging(journal=environ.service.journal)
    config = node_config(environ)
    _demand_shares(config)
    address, token = hub_of(environ), token_of(environ)
    _make_state(config.state)
    _log.info("this machine is the node %s", token.name)
    with held(config.state):
        serve_node(config, address, token.secret, environ.service)


def _make_state(state: Path) -> None:
    """Make the node's directory. Raises: :class:`InvalidInput`."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"The node's directory {state} cannot be made: {error.strerror}.",
            hint="Name a directory of this user with --state.",
        ) from error


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


@click.command("drain")
@click.option("--cancel", is_flag=True, help="Take new sessions again.")
@state_option
def drain(cancel: bool, state: Path | None) -> None:
    """Start no new sessions on this machine's node, which ends with its last one.

    To drain it without ending it, use `mograder hub nodes drain` on the hub.
    """
    config = node_config(node_environ_of(state=state))
    send(config.state, signal.SIGUSR2 if cancel else signal.SIGUSR1)
    done = "takes new sessions again" if cancel else "takes no new sessions, and ends with the last"
    click.echo(f"The node {done}.")

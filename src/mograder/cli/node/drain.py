"""``mograder node drain``: let the node of this machine end without interrupting anybody."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from mograder.cli.node.options import node_environ_of, state_option
from mograder.sandbox.nodes.node_config import node_config, send


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

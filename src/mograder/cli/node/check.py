"""``mograder node check``: find the problems that prevent a node from running."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from mograder.cli.node.options import node_environ_of, share_option, state_option
from mograder.cli.shared.check_output import checked
from mograder.cli.shared.result import Result, json_option
from mograder.operations.node_checks import examine_node


@click.command("check")
@share_option
@state_option
@json_option
def check(shares: tuple[Path, ...], state: Path | None) -> Result:
    """Check that this machine can run sessions for a hub.

    Run it as the node's user, in the node's container if it runs in one. It starts a session in a
    sandbox, cold and warm, writes a file on each share, and connects to the hubs that this machine
    has joined. It ends with 1 if there is a problem.
    """
    environ = node_environ_of(state=state, shares=shares)
    return checked("Node", asyncio.run(examine_node(environ)))

"""``mograder node check``: find the problems that prevent a node from running."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from mograder.cli.node.options import (
    hub_option,
    name_option,
    node_environ_of,
    share_option,
    state_option,
    token_option,
)
from mograder.cli.shared.check_output import checked
from mograder.cli.shared.result import Result, json_option
from mograder.operations.node_checks import examine_node


@click.command("check")
@hub_option
@token_option
@name_option
@share_option
@state_option
@json_option
def check(
    hub: str, token_file: Path | None, name: str, shares: tuple[Path, ...], state: Path | None
) -> Result:
    """Check that this machine can run sessions for a hub.

    Run it as the node's user, in the node's container if it runs in one. It starts a session in a
    sandbox, cold and warm, writes a file on each share, and asks the hub whether it accepts this
    machine's token. It ends with 1 if there is a problem.
    """
    environ = node_environ_of(state=state, shares=shares, name=name, hub=hub, token_file=token_file)
    return checked("Node", asyncio.run(examine_node(environ)))

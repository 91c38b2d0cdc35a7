"""``mograder node``: the commands of a machine that runs sessions for hubs elsewhere."""

from __future__ import annotations

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup


@click.group(
    cls=LazyGroup,
    table={
        "run": Lazy("mograder.cli.node.run:run"),
        "join": Lazy("mograder.cli.node.run:join"),
        "drain": Lazy("mograder.cli.node.drain:drain"),
        "check": Lazy("mograder.cli.node.check:check"),
    },
)
def node() -> None:
    """Run notebooks on this machine for a hub on another one.

    Give it the token that `mograder hub node-token` prints.
    """

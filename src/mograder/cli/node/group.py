"""``mograder node``: the commands of a machine that runs sessions for hubs elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup


class _Node(LazyGroup):
    table: ClassVar[Mapping[str, Lazy]] = MappingProxyType(
        {
            "run": Lazy(
                "mograder.cli.node.run:run",
                "Run sessions for the hubs that this machine has joined, until it is stopped.",
            ),
            "join": Lazy(
                "mograder.cli.node.join:join_command",
                "Make this machine a node of a hub, by a token of `mograder hub node-token`.",
            ),
            "drain": Lazy(
                "mograder.cli.node.drain:drain",
                "Start no new sessions on this machine's node, which ends with its last one.",
            ),
            "check": Lazy(
                "mograder.cli.node.check:check",
                "Check that this machine can run sessions for a hub.",
            ),
        }
    )


@click.group(cls=_Node)
def node() -> None:
    """Run notebooks on this machine for a hub on another one.

    Give it the join token that `mograder hub node-token` prints.
    """

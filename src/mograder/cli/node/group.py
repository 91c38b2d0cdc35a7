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
            "run": Lazy("mograder.cli.node.run:run"),
            "join": Lazy("mograder.cli.node.join:join_command"),
            "drain": Lazy("mograder.cli.node.drain:drain"),
            "check": Lazy("mograder.cli.node.check:check"),
        }
    )


@click.group(cls=_Node)
def node() -> None:
    """Run notebooks on this machine for a hub on another one.

    Give it the join token that `mograder hub node-token` prints.
    """

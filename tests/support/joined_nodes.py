"""Rows of nodes in a hub's database, as a hub would have written them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, update

from mograder.sandbox.protocol import NodeStatus
from mograder.store.database.database import writing
from mograder.store.hub.nodes import NodeNote, NodeRow, Nodes, nodes

LEASE_SECONDS = 12.0
GIGABYTE = 10**9


def status(**changed: Any) -> NodeStatus:
    """The status of a node with two sessions, of which a test changes what it is about."""
    usual = {
        "number": 7,
        "memory": 16 * GIGABYTE,
        "used": 3 * GIGABYTE,
        "processors": 4,
        "load": 1.25,
        "starts": 8,
        "environments": ("a" * 8, "b" * 8, "c" * 8),
        "zygotes": ("a" * 8,),
        "sessions": ("session-1", "session-2"),
    }
    return NodeStatus.model_validate(usual | changed)


def joined(engine: Engine, name: str) -> None:
    """Have a node with a token that was never connected."""
    Nodes(engine).add(NodeRow(name, name.encode().hex(), added_at=datetime.now(UTC)))


def connected(
    engine: Engine,
    name: str,
    version: str = "1.0",
    *,
    lease_seconds: float = LEASE_SECONDS,
    **changed: Any,
) -> None:
    """Have a node at work, with the status of :func:`status`; give it a token if it has none.

    It is away once its lease, of this many seconds of the real clock, is over.
    """
    store = Nodes(engine)
    if store.find(name) is None:
        joined(engine, name)
    note = NodeNote(name, version, status(**changed).model_dump_json())
    assert store.renew_leases({name: name.encode().hex()}, lease_seconds, [note])


def lapse(engine: Engine, name: str, seconds: float = 600.0) -> None:
    """Have a node's lease be over for some seconds."""
    until = datetime.now(UTC) - timedelta(seconds=seconds)
    with writing(engine) as connection:
        connection.execute(update(nodes).where(nodes.c.name == name).values(lease_until=until))

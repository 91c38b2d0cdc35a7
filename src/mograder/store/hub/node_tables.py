"""The tables of nodes and of several hubs, and the dataclasses of their rows.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, Text, false

from mograder.store.hub.hub_tables import HASH, NAME, WORD, UtcDateTime, metadata

_ADDRESS = String(500)

nodes = Table(
    "nodes",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("fingerprint", HASH, nullable=False),
    Column("joined_at", UtcDateTime(), nullable=False),
    Column("certificate_until", UtcDateTime(), nullable=False),
    Column("lease_until", UtcDateTime()),
    Column("draining", Boolean, nullable=False, server_default=false()),
    Column("version", NAME, nullable=False, server_default=""),
    Column("status", Text, nullable=False, server_default=""),
)

node_tokens = Table(
    "node_tokens",
    metadata,
    Column("token_hash", HASH, primary_key=True),
    Column("expires", UtcDateTime(), nullable=False),
    Column("uses", Integer, nullable=False),
)

node_authority = Table(
    "node_authority",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("certificate", Text, nullable=False),
    Column("key", Text, nullable=False),
)

hubs = Table(
    "hubs",
    metadata,
    Column("hub_id", WORD, primary_key=True),
    Column("address", _ADDRESS, nullable=False),
    Column("started_at", UtcDateTime(), nullable=False),
    Column("alive_until", UtcDateTime(), nullable=False),
)

hub_leases = Table(
    "hub_leases",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("hub_id", WORD, nullable=False),
    Column("until", UtcDateTime(), nullable=False),
)

hub_news = Table(
    "hub_news",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("hub_id", WORD, nullable=False),
    Column("at", UtcDateTime(), nullable=False),
    Column("text", Text, nullable=False),
    Index(None, "at"),
)


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node that has joined.

    ``fingerprint`` is the SHA-256, in hex, of the only certificate by which it is known. No hub may
    take its sessions as ended before ``lease_until``, unless the node says so; it is None before
    its first connection. ``draining`` is the administrator's wish. ``status`` is the JSON of its
    last :class:`~mograder.sandbox.protocol.NodeStatus`, written now and then for people.
    """

    name: str
    fingerprint: str
    joined_at: datetime
    certificate_until: datetime
    lease_until: datetime | None = None
    draining: bool = False
    version: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class HubRow:
    """A hub process; ``address`` is where nodes connect to it. It is dead after ``alive_until``."""

    hub_id: str
    address: str
    started_at: datetime
    alive_until: datetime

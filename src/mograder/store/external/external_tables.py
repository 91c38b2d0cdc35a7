"""The tables of learning platforms, LTI 1.3, without what is needed to speak with them.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from sqlalchemy import Column, Index, String, Table, Text

from mograder.store.database.row_tables import HASH, Line, Name, UtcDateTime, table_of
from mograder.store.hub.hub_tables import metadata

ADDRESS = String(500)
ID = String(255)

Address = Annotated[str, ADDRESS]
Id = Annotated[str, ID]

lti_keys = Table(
    "lti_keys",
    metadata,
    Column("kid", HASH, primary_key=True),
    Column("private_key", Text, nullable=False),
    Column("created_at", UtcDateTime(), nullable=False),
    Column("retired_at", UtcDateTime()),
)
"""The hub's own keys; ``private_key`` is encrypted with a key derived from the hub's secret."""

lti_platforms = Table(
    "lti_platforms",
    metadata,
    Column("issuer", ADDRESS, primary_key=True),
    Column("client_id", ID, primary_key=True),
    Column("settings", Text, nullable=False),
    Column("registered_at", UtcDateTime(), nullable=False),
)
"""Registered platforms; ``settings`` is the JSON of a ``[[lti.platform]]`` table."""

lti_registrations = Table(
    "lti_registrations",
    metadata,
    Column("code_hash", HASH, primary_key=True),
    Column("settings", Text, nullable=False),
    Column("expires", UtcDateTime(), nullable=False),
)
"""One-time addresses for registration; ``settings`` is JSON of what the platform does not tell."""


@dataclass(frozen=True, slots=True)
class Link:
    """An activity of a platform: its item, "" for none, and the addresses of its grades.

    ``title`` is the activity's, with that of its course, as far as the launch told them.
    """

    issuer: Address
    client_id: Id
    deployment: Id
    context: Id
    resource_link: Id
    item: Name
    title: Line
    lineitem: Line
    lineitems: Line
    seen_at: datetime


lti_links = table_of(
    "lti_links",
    metadata,
    Link,
    ("issuer", "client_id", "deployment", "context", "resource_link"),
    Index(None, "item"),
)

"""The tables of kept releases.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, Table, Text, UniqueConstraint

from mograder.store.hub.hub_tables import HASH, NAME, UtcDateTime, metadata

kept_texts = Table(
    "kept_texts",
    metadata,
    Column("digest", HASH, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
"""The texts of kept releases, compressed; ``size`` is that of the text in bytes."""

kept_releases = Table(
    "kept_releases",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("item", NAME, nullable=False),
    Column("digest", HASH, nullable=False),
    Column("files_digest", HASH, nullable=False),
    Column("files", Text, nullable=False),
    Column("published", UtcDateTime(), nullable=False),
    UniqueConstraint("item", "digest", "files_digest"),
)
"""The releases of each item: ``digest`` is that of the notebook's text, ``files`` the JSON of the
data files' SHA-256 by name, and ``published`` the time at which the release was last found."""

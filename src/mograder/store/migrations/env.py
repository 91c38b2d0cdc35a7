"""Alembic's way in, for the hub's own database."""

from __future__ import annotations

from mograder.store.migrating import run
from mograder.store.tables import metadata

run(metadata)

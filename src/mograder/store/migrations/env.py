"""The environment script that Alembic runs for the hub's own database."""

from __future__ import annotations

from mograder.store.hub_tables import metadata
from mograder.store.migrating import run

run(metadata)

"""The environment script that Alembic runs for the hub's own database."""

from __future__ import annotations

from mograder.store.database.upgrades import run_migrations
from mograder.store.migrations.tables import metadata

run_migrations(metadata)

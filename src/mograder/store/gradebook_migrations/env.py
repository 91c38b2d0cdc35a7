"""The environment script that Alembic runs for the gradebook."""

from __future__ import annotations

from mograder.store.database.upgrades import run_migrations
from mograder.store.gradebook.gradebook_tables import metadata

run_migrations(metadata)

"""The environment script that Alembic runs for the gradebook."""

from __future__ import annotations

from mograder.store.gradebook_tables import metadata
from mograder.store.migrating import run

run(metadata)

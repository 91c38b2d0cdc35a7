"""The environment script that Alembic runs for the gradebook."""

from __future__ import annotations

from mograder.store import marking_tables  # noqa: F401  (its tables are part of the metadata)
from mograder.store.gradebook_tables import metadata
from mograder.store.migrating import run

run(metadata)

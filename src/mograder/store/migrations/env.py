"""The environment script that Alembic runs for the hub's own database."""

from __future__ import annotations

from mograder.store.copies import update_tables
from mograder.store.database.migrating import run
from mograder.store.external import external_tables
from mograder.store.hub import board_tables
from mograder.store.hub.hub_tables import metadata
from mograder.store.versions import version_tables

# Their tables are in it now.
assert board_tables.board_checks.metadata is metadata
assert external_tables.external_people.metadata is metadata
assert version_tables.versions.metadata is metadata
assert update_tables.update_offers.metadata is metadata
run(metadata)

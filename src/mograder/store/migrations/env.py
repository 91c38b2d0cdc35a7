"""The environment script that Alembic runs for the hub's own database."""

from __future__ import annotations

from mograder.store import (
    board_tables,
    external_tables,
    node_tables,
    release_tables,
    update_tables,
    version_tables,
)
from mograder.store.hub_tables import metadata
from mograder.store.migrating import run

# Their tables are in it now.
assert board_tables.board_checks.metadata is metadata
assert external_tables.external_people.metadata is metadata
assert node_tables.nodes.metadata is metadata
assert release_tables.kept_releases.metadata is metadata
assert version_tables.versions.metadata is metadata
assert update_tables.update_offers.metadata is metadata
run(metadata)

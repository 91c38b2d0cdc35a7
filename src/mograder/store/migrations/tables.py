"""All tables of the hub's own database: ``metadata``."""

from __future__ import annotations

from mograder.store.copies import update_rows
from mograder.store.external import external_people, external_tables
from mograder.store.hub import active_hub, board, grading_jobs, letters, nodes
from mograder.store.hub.hub_tables import metadata
from mograder.store.versions import version_texts

__all__ = ["metadata"]

# Their tables are in it now.
_TABLES = (
    active_hub.active_hub,
    board.board_checks,
    external_people.external_people,
    external_tables.lti_platforms,
    grading_jobs.grading_jobs,
    letters.letters,
    nodes.nodes,
    update_rows.update_offers,
    version_texts.versions,
)
assert all(each.metadata is metadata for each in _TABLES)

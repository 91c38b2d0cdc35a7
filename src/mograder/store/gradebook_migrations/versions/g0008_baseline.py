"""Create the tables of the gradebook; those of 0.3.16 in the same file are left as they are.

The revisions before were never released. As in the hub's database, the first revision after a
release has to replace ``create_all`` by the tables as this revision made them.
"""

from __future__ import annotations

from alembic import op

from mograder.store.gradebook.gradebook_tables import metadata

revision = "g0008"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())

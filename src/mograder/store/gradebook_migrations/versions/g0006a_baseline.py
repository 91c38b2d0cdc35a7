"""Create the tables of the gradebook; complete those that 0.3.16 or a version before it made.

The revisions g0001 to g0005 were never released. As in the hub's database, the first revision after
a release has to replace ``create_all`` by the tables as this revision made them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mograder.store.gradebook.gradebook_tables import assignments, metadata, students, submissions

revision = "g0006a"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rows and unknown columns are unchanged."""
    connection = op.get_bind()
    metadata.create_all(connection)
    for table in (assignments, students, submissions):
        present = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                op.add_column(table.name, column)

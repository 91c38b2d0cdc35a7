"""Add the tables for what stood in those of 0.3.16 before; no version was released since g0006a.

The rows are imported when the gradebook is opened (``gradebook_0316``).
"""

from __future__ import annotations

from alembic import op

from mograder.store.gradebook.gradebook_tables import metadata

revision = "g0007"
down_revision = "g0006a"
branch_labels = None
depends_on = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
    for name in ("mirrored", "mirrored_penalties"):
        op.drop_table(name, if_exists=True)

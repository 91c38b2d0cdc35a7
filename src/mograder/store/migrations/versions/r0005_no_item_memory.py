"""Drop the memory that sessions of each item needed: it is measured from running sessions now."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remove the table, which is no longer read."""
    op.drop_table("item_memory")

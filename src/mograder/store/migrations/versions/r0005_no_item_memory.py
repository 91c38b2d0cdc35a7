"""Drop the memory that sessions of each item needed: running sessions tell it now."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remove the table; nothing reads it any more."""
    op.drop_table("item_memory")

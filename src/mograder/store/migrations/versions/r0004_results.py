"""Add the last validation result of each copy, so that it survives a restart of the hub."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; existing tables are unchanged."""
    op.create_table(
        "results",
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("username", "item", name="pk_results"),
    )
    op.create_index("ix_results_at", "results", ["at"])

"""Add the tables of what one of several hubs does for all, and of their news."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; existing tables are unchanged."""
    op.create_table(
        "hub_leases",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("hub_id", sa.String(20), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_hub_leases"),
    )
    op.create_table(
        "hub_news",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("hub_id", sa.String(20), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_hub_news"),
    )
    op.create_index("ix_hub_news_at", "hub_news", ["at"], unique=False)

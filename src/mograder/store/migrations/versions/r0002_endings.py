"""Add the reasons why sessions ended, and the memory that sessions of each item need."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add both tables; existing tables are unchanged."""
    op.create_table(
        "endings",
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("mode", sa.String(20), nullable=False),
        sa.Column("session_id", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("ended_at", _TIME, nullable=False),
        sa.Column("detail", sa.String(1000), nullable=False),
        sa.PrimaryKeyConstraint("username", "item", "mode", name="pk_endings"),
    )
    op.create_index("ix_endings_ended_at", "endings", ["ended_at"])
    op.create_table(
        "item_memory",
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("mode", sa.String(20), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("item", "mode", name="pk_item_memory"),
    )

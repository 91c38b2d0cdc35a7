"""Add the tables of the board, of help requests and of messages to open notebooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; existing tables are unchanged."""
    op.create_table(
        "board_checks",
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("earned", sa.Float(), nullable=False),
        sa.Column("total", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("passed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("item", "username", "label", name="pk_board_checks"),
    )
    op.create_index(
        "ix_board_checks_item_last_at", "board_checks", ["item", "last_at"], unique=False
    )
    op.create_index("ix_board_checks_last_at", "board_checks", ["last_at"], unique=False)
    op.create_table(
        "help_requests",
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("helper", sa.String(200), server_default="", nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("together", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("item", "username", name="pk_help_requests"),
    )
    op.create_table(
        "item_messages",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sender", sa.String(200), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_item_messages"),
    )
    op.create_index("ix_item_messages_until", "item_messages", ["until"], unique=False)

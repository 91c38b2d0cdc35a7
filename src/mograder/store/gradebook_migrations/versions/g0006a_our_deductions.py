"""Add what our computation last put into the penalty columns that 0.3.16 reads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "g0006a"
down_revision = "g0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; those of 0.3.16 are unchanged."""
    op.create_table(
        "mirrored_penalties",
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("penalty_pct", sa.Float()),
        sa.Column("earlier_pct", sa.Float()),
        sa.Column("earlier_mark", sa.Float()),
        sa.PrimaryKeyConstraint("assignment", "student", name="pk_mirrored_penalties"),
    )

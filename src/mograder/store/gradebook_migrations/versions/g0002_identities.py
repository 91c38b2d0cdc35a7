"""Add the usernames of Moodle users, and the values last sent to Moodle."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "g0002"
down_revision = "g0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables; those of 0.3.16 are unchanged."""
    op.create_table(
        "identities",
        sa.Column("site", sa.String(500), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("full_name", sa.Text(), nullable=False, server_default=""),
        sa.Column("email", sa.Text(), nullable=False, server_default=""),
        sa.Column("idnumber", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("site", "user_id", name="pk_identities"),
    )
    op.create_table(
        "uploads",
        sa.Column("site", sa.String(500), nullable=False),
        sa.Column("assignment_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("grade", sa.String(40), nullable=False),
        sa.Column("uploaded_at", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("site", "assignment_id", "user_id", name="pk_uploads"),
    )

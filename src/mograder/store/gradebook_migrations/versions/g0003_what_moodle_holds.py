"""Store the values in Moodle after an upload, to detect changes there, and unfinished uploads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "g0003"
down_revision = "g0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the digest by the values themselves; existing rows have only the grade."""
    op.rename_table("uploads", "old_uploads")
    for name in ("uploads", "upload_intents"):
        op.create_table(name, *_columns(), sa.PrimaryKeyConstraint(*_KEY, name=f"pk_{name}_values"))
    op.execute(
        "INSERT INTO uploads (site, assignment_id, user_id, grade, attempt, uploaded_at) "
        "SELECT site, assignment_id, user_id, grade, -1, uploaded_at FROM old_uploads"
    )
    op.drop_table("old_uploads")


_KEY = ("site", "assignment_id", "user_id")


def _columns() -> tuple[SchemaItem, ...]:
    return (
        sa.Column("site", sa.String(500), nullable=False),
        sa.Column("assignment_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("grade", sa.String(40), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("modified", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("comment", sa.Text()),
        sa.Column("files", sa.Text()),
        sa.Column("team", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("uploaded_at", sa.String(40), nullable=False),
    )

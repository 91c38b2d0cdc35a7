"""Create the tables of 0.3.16 where they are missing; add columns that older versions lack."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "g0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create or complete the three tables; rows and unknown columns are unchanged."""
    _ensure(
        "assignments",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("max_mark", sa.Float(), server_default="100"),
        sa.Column("marks_metadata", sa.Text()),
        sa.Column("auto_check_keys", sa.Text()),
        sa.PrimaryKeyConstraint("name"),
    )
    _ensure(
        "students",
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("full_name", sa.Text()),
        sa.PrimaryKeyConstraint("username"),
    )
    _ensure(
        "submissions",
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("auto_mark", sa.Float()),
        sa.Column("manual_mark", sa.Float()),
        sa.Column("total_mark", sa.Float()),
        sa.Column("feedback", sa.Text(), server_default=""),
        sa.Column("cell_errors", sa.Integer(), server_default="0"),
        sa.Column("tampered", sa.Text(), server_default="[]"),
        sa.Column("check_results", sa.Text(), server_default="[]"),
        sa.Column("graded_at", sa.Text()),
        sa.Column("autograded_at", sa.Text()),
        sa.Column("updated_at", sa.Text()),
        sa.Column("penalty_pct", sa.Float()),
        sa.Column("penalised_mark", sa.Float()),
        sa.Column("submitted_at", sa.Text()),
        sa.PrimaryKeyConstraint("assignment", "student"),
    )


def _ensure(name: str, *items: SchemaItem) -> None:
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(name):
        op.create_table(name, *items)
        return
    present = {column["name"] for column in inspector.get_columns(name)}
    for item in items:
        if isinstance(item, sa.Column) and item.name not in present:
            op.add_column(name, item)

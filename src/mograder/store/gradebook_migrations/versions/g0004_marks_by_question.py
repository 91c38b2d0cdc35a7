"""Add the results of grading, and marks by question.

Rows of both are only added.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "g0004"
down_revision = "g0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; those of 0.3.16 are unchanged."""
    op.create_table(
        "grading_runs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("submission_sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False, server_default=""),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
    )
    op.create_index("ix_grading_runs_student", "grading_runs", ["assignment", "student"])
    op.create_table(
        "question_marks",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("points", sa.Float()),
        sa.Column("available", sa.Float()),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False, server_default=""),
        sa.Column("marker", sa.String(200), nullable=False, server_default=""),
        sa.Column("run", sa.Integer()),
        sa.Column("at", sa.String(40), nullable=False),
    )
    op.create_index("ix_question_marks_student", "question_marks", ["assignment", "student"])
    op.create_table(
        "mirrored",
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("auto_mark", sa.Float()),
        sa.Column("manual_mark", sa.Float()),
        sa.Column("graded_at", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("assignment", "student", name="pk_mirrored"),
    )

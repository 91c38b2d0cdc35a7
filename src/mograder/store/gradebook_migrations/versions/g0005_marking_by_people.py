"""Add marking by people, release of marks, requests, late work and similarity.

Rows of all these tables are only added.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "g0005"
down_revision = "g0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; those of 0.3.16 are unchanged."""
    _create_marking()
    _create_answers()
    _create_release()
    _create_late()
    _create_similarity()


def _made() -> tuple[sa.Column[str], sa.Column[str]]:
    return (
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
    )


def _create_marking() -> None:
    op.create_table(
        "rubrics",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.String(20), nullable=False),
        *_made(),
    )
    op.create_index("ix_rubrics_question", "rubrics", ["assignment", "question"])
    op.create_table(
        "saved_comments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("comment", sa.String(40), nullable=False),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("points", sa.Float()),
        sa.Column("position", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("retired", sa.Boolean(), nullable=False, server_default="0"),
        *_made(),
    )
    op.create_index("ix_saved_comments_question", "saved_comments", ["assignment", "question"])
    op.create_table(
        "mark_details",
        sa.Column("mark", sa.Integer(), nullable=False),
        sa.Column("adjustment", sa.Float()),
        sa.Column("saved_comments", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("mark", name="pk_mark_details"),
    )


def _create_answers() -> None:
    op.create_table(
        "answer_annotations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("annotation", sa.String(40), nullable=False),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("submission_sha256", sa.String(64), nullable=False),
        sa.Column("question", sa.Text(), nullable=False, server_default=""),
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("first_line", sa.Integer()),
        sa.Column("last_line", sa.Integer()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("saved_comment", sa.String(40)),
        sa.Column("removed", sa.Boolean(), nullable=False, server_default="0"),
        *_made(),
    )
    op.create_index(
        "ix_answer_annotations_student", "answer_annotations", ["assignment", "student"]
    )
    op.create_table(
        "marking_shares",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("marker", sa.String(200), nullable=False),
        *_made(),
    )
    op.create_index("ix_marking_shares_student", "marking_shares", ["assignment", "student"])
    op.create_table(
        "answer_separations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("separate", sa.Boolean(), nullable=False),
        *_made(),
    )
    op.create_index(
        "ix_answer_separations_question", "answer_separations", ["assignment", "question"]
    )


def _create_release() -> None:
    op.create_table(
        "mark_releases",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("visible_from", sa.String(40)),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("grade", sa.Text(), nullable=False, server_default=""),
        *_made(),
    )
    op.create_index("ix_mark_releases_student", "mark_releases", ["assignment", "student"])
    op.create_table(
        "regrade_requests",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        *_made(),
    )
    op.create_index("ix_regrade_requests_student", "regrade_requests", ["assignment", "student"])
    op.create_table(
        "regrade_messages",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("request", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("text", sa.Text(), nullable=False, server_default=""),
        sa.Column("assignee", sa.String(200), nullable=False, server_default=""),
        sa.Column("points_before", sa.Float()),
        sa.Column("points_after", sa.Float()),
        *_made(),
    )
    op.create_index("ix_regrade_messages_request", "regrade_messages", ["request"])


def _create_late() -> None:
    op.create_table(
        "extensions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False, server_default=""),
        sa.Column("student_group", sa.Text(), nullable=False, server_default=""),
        sa.Column("until", sa.String(40)),
        sa.Column("exempt", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("removed", sa.Boolean(), nullable=False, server_default="0"),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        *_made(),
    )
    op.create_index("ix_extensions_assignment", "extensions", ["assignment"])
    op.create_table(
        "group_members",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("student_group", sa.Text(), nullable=False),
        sa.Column("student", sa.Text(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False, server_default="0"),
        *_made(),
    )
    op.create_table(
        "late_policies",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text()),
        *_made(),
    )


def _create_similarity() -> None:
    op.create_table(
        "similarity_verdicts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("assignment", sa.Text(), nullable=False),
        sa.Column("one", sa.Text(), nullable=False),
        sa.Column("other", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(40), nullable=False),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        *_made(),
    )
    op.create_index("ix_similarity_verdicts_assignment", "similarity_verdicts", ["assignment"])

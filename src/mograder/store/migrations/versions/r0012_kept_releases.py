"""Add the tables of kept releases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; existing tables are unchanged."""
    op.create_table(
        "kept_texts",
        sa.Column("digest", sa.String(128), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_kept_texts"),
    )
    op.create_table(
        "kept_releases",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(128), nullable=False),
        sa.Column("files_digest", sa.String(128), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("published", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_kept_releases"),
        sa.UniqueConstraint(
            "item", "digest", "files_digest", name="uq_kept_releases_item_digest_files_digest"
        ),
    )

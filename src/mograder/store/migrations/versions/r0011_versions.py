"""Add the tables of the versions of copies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; existing tables are unchanged."""
    op.create_table(
        "version_copies",
        sa.Column("copy", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("saved", sa.BigInteger(), nullable=False),
        sa.Column("thinned", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("copy", name="pk_version_copies"),
        sa.UniqueConstraint("username", "item", name="uq_version_copies_username_item"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_version_copies_thinned", "version_copies", ["thinned"], unique=False)
    op.create_table(
        "versions",
        sa.Column("copy", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("saved", sa.BigInteger(), nullable=False),
        sa.Column("origin", sa.SmallInteger(), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("base", sa.Integer(), nullable=False),
        sa.Column("depth", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("copy", "number", name="pk_versions"),
        sa.ForeignKeyConstraint(
            ["copy"], ["version_copies.copy"], name="fk_versions_copy", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "version_releases",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_version_releases"),
        sa.UniqueConstraint("digest", name="uq_version_releases_digest"),
    )

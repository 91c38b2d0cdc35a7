"""Add messages to one student, and the checks of versions; no version was released since 0016."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mograder.store.versions.version_texts import version_checks

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    version_checks.create(connection, checkfirst=True)
    known = {column["name"] for column in sa.inspect(connection).get_columns("item_messages")}
    if "username" not in known:  # a new database has it from 0016
        username = sa.Column("username", sa.String(200), nullable=False, server_default="")
        op.add_column("item_messages", username)

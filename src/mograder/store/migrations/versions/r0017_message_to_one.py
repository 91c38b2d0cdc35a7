"""Add the student to whom alone a message is; no version was released since 0016."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("item_messages")}
    if "username" not in known:  # a new database has it from 0016
        username = sa.Column("username", sa.String(200), nullable=False, server_default="")
        op.add_column("item_messages", username)

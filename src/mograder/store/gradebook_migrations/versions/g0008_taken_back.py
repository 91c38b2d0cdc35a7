"""Add which marks took back the change before; no version was released since g0006a."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "g0008"
down_revision = "g0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("mark_details")}
    if "takes_back" not in known:  # a new gradebook has it from g0006a
        takes_back = sa.Column("takes_back", sa.Boolean, nullable=False, server_default="0")
        op.add_column("mark_details", takes_back)

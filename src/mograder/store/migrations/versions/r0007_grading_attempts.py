"""Count the attempts of grading jobs, so that one that ends the hub is not started for ever."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; jobs that are there have had no attempt."""
    attempts = sa.Column("attempts", sa.Integer(), nullable=False, server_default="0")
    op.add_column("grading_jobs", attempts)

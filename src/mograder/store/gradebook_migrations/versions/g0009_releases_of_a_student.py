"""Find a student's releases by an index; the baseline makes it already in a new gradebook."""

from __future__ import annotations

from alembic import op

revision = "g0009"
down_revision = "g0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward; there is no way back but the backup."""
    name = "ix_mark_releases_of_student"
    op.create_index(name, "mark_releases", ["student"], if_not_exists=True)

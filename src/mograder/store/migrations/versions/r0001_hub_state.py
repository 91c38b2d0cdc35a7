"""The first tables of the hub's state: users, logins, links, sessions, capabilities, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create all tables, and the counter for users' numbers."""
    _people()
    _sessions()
    _audit()


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("slot", sa.Integer()),
        sa.Column("epoch", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("username", name="pk_users"),
        sa.UniqueConstraint("slot", name="uq_users_slot"),
    )
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.bulk_insert(counters, [{"name": "slots", "value": 0}])
    op.create_table(
        "revoked_logins",
        sa.Column("login_id", sa.String(128), nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("login_id", name="pk_revoked_logins"),
    )
    op.create_table(
        "links",
        sa.Column("code_hash", sa.String(128), nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("code_hash", name="pk_links"),
    )


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.String(128), nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("mode", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("socket", sa.String(1000), nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("environment", sa.String(1000), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("last_seen", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_sessions"),
        sa.UniqueConstraint("username", "item", "mode", name="uq_sessions_username_item_mode"),
    )
    op.create_table(
        "capabilities",
        sa.Column("cap_hash", sa.String(128), nullable=False),
        sa.Column("session_id", sa.String(128), nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("login_id", sa.String(128), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("cap_hash", name="pk_capabilities"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.session_id"],
            name="fk_capabilities_session_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_capabilities_session_id", "capabilities", ["session_id"])
    op.create_index("ix_capabilities_login_id", "capabilities", ["login_id"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("action", sa.String(200), nullable=False),
        sa.Column("what", sa.String(1000), nullable=False),
        sa.Column("origin", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )

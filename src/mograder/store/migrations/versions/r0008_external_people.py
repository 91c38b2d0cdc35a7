"""Add the tables of signing in by OpenID Connect and LTI 1.3."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; existing tables are unchanged."""
    _people()
    _platforms()
    _grades()


def _people() -> None:
    op.create_table(
        "external_people",
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("display_name", sa.String(200), server_default="", nullable=False),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("linked_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject", name="pk_external_people"),
        sa.UniqueConstraint("issuer", "username", name="uq_external_people_issuer_username"),
    )
    op.create_table(
        "used_states",
        sa.Column("hash", sa.String(128), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_used_states"),
    )
    op.create_table(
        "provider_logins",
        sa.Column("login_id", sa.String(128), nullable=False),
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("sid", sa.String(255), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("login_id", name="pk_provider_logins"),
    )
    op.create_index(
        "ix_provider_logins_issuer_subject",
        "provider_logins",
        ["issuer", "subject"],
        unique=False,
    )


def _platforms() -> None:
    op.create_table(
        "lti_keys",
        sa.Column("kid", sa.String(128), nullable=False),
        sa.Column("private_key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("kid", name="pk_lti_keys"),
    )
    op.create_table(
        "lti_platforms",
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "client_id", name="pk_lti_platforms"),
    )
    op.create_table(
        "lti_registrations",
        sa.Column("code_hash", sa.String(128), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("code_hash", name="pk_lti_registrations"),
    )
    op.create_table(
        "lti_links",
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("deployment", sa.String(255), nullable=False),
        sa.Column("context", sa.String(255), nullable=False),
        sa.Column("resource_link", sa.String(255), nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("title", sa.String(1000), nullable=False),
        sa.Column("lineitem", sa.String(1000), nullable=False),
        sa.Column("lineitems", sa.String(1000), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "issuer", "client_id", "deployment", "context", "resource_link", name="pk_lti_links"
        ),
    )
    op.create_index("ix_lti_links_item", "lti_links", ["item"], unique=False)


def _grades() -> None:
    op.create_table(
        "lti_rosters",
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("context", sa.String(255), nullable=False),
        sa.Column("memberships_url", sa.String(1000), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(1000), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("issuer", "client_id", "context", name="pk_lti_rosters"),
    )
    op.create_table(
        "lti_members",
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("context", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("display_name", sa.String(200), nullable=False),
        sa.Column("roles", sa.String(1000), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "client_id", "context", "subject", name="pk_lti_members"),
    )
    op.create_table(
        "lti_scores",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("client_id", sa.String(255), nullable=False),
        sa.Column("lineitem", sa.String(1000), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("username", sa.String(200), nullable=False),
        sa.Column("item", sa.String(200), nullable=False),
        sa.Column("given", sa.Float(), nullable=True),
        sa.Column("maximum", sa.Float(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(128), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("detail", sa.String(1000), server_default="", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stamp", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_digest", sa.String(128), server_default="", nullable=False),
        sa.Column("ours", sa.String(1000), server_default="[]", nullable=False),
        sa.Column("overwrite", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_lti_scores"),
        sa.UniqueConstraint("lineitem", "subject", name="uq_lti_scores_lineitem_subject"),
    )
    op.create_index("ix_lti_scores_item", "lti_scores", ["item"], unique=False)
    op.create_index("ix_lti_scores_state_next_at", "lti_scores", ["state", "next_at"], unique=False)

"""The tables of signing in by other systems: OpenID Connect, and LTI 1.3.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from mograder.store.hub.hub_tables import HASH, NAME, TEXT, WORD, UtcDateTime, metadata

_ADDRESS = String(500)
_ID = String(255)

external_people = Table(
    "external_people",
    metadata,
    Column("issuer", _ADDRESS, primary_key=True),
    Column("subject", _ID, primary_key=True),
    Column("username", NAME, nullable=False),
    Column("display_name", NAME, nullable=False, server_default=""),
    Column("linked_at", UtcDateTime(), nullable=False),
    Column("linked_by", NAME, nullable=False),
    UniqueConstraint("issuer", "username"),
)
"""The user of this hub for a subject of an issuer; ``linked_by`` is empty for the first sign-in."""

used_states = Table(
    "used_states",
    metadata,
    Column("hash", HASH, primary_key=True),
    Column("until", UtcDateTime(), nullable=False),
)
"""Values that may be used once: states, nonces, ids of tokens, handles; rows expire."""

provider_logins = Table(
    "provider_logins",
    metadata,
    Column("login_id", HASH, primary_key=True),
    Column("issuer", _ADDRESS, nullable=False),
    Column("subject", _ID, nullable=False),
    Column("sid", _ID, nullable=False),
    Column("until", UtcDateTime(), nullable=False),
    Index(None, "issuer", "subject"),
)
"""The logins of this hub that a provider's session began; ``sid`` may be empty."""

lti_keys = Table(
    "lti_keys",
    metadata,
    Column("kid", HASH, primary_key=True),
    Column("private_key", Text, nullable=False),
    Column("created_at", UtcDateTime(), nullable=False),
    Column("retired_at", UtcDateTime()),
)
"""The hub's own keys; ``private_key`` is encrypted with a key derived from the hub's secret."""

lti_platforms = Table(
    "lti_platforms",
    metadata,
    Column("issuer", _ADDRESS, primary_key=True),
    Column("client_id", _ID, primary_key=True),
    Column("settings", Text, nullable=False),
    Column("registered_at", UtcDateTime(), nullable=False),
)
"""Registered platforms; ``settings`` is the JSON of a ``[[lti.platform]]`` table."""

lti_registrations = Table(
    "lti_registrations",
    metadata,
    Column("code_hash", HASH, primary_key=True),
    Column("settings", Text, nullable=False),
    Column("expires", UtcDateTime(), nullable=False),
)
"""One-time addresses for registration; ``settings`` is JSON of what the platform does not tell."""

lti_links = Table(
    "lti_links",
    metadata,
    Column("issuer", _ADDRESS, primary_key=True),
    Column("client_id", _ID, primary_key=True),
    Column("deployment", _ID, primary_key=True),
    Column("context", _ID, primary_key=True),
    Column("resource_link", _ID, primary_key=True),
    Column("item", NAME, nullable=False),
    Column("title", TEXT, nullable=False),
    Column("lineitem", TEXT, nullable=False),
    Column("lineitems", TEXT, nullable=False),
    Column("seen_at", UtcDateTime(), nullable=False),
    Index(None, "item"),
)
"""Activities of platforms that were launched, with their item and addresses of grades."""

lti_rosters = Table(
    "lti_rosters",
    metadata,
    Column("issuer", _ADDRESS, primary_key=True),
    Column("client_id", _ID, primary_key=True),
    Column("context", _ID, primary_key=True),
    Column("memberships_url", TEXT, nullable=False),
    Column("read_at", UtcDateTime()),
    Column("tried_at", UtcDateTime()),
    Column("error", TEXT, nullable=False, server_default=""),
)
"""Where a course's members are read; ``read_at`` is the last complete reading."""

lti_members = Table(
    "lti_members",
    metadata,
    Column("issuer", _ADDRESS, primary_key=True),
    Column("client_id", _ID, primary_key=True),
    Column("context", _ID, primary_key=True),
    Column("subject", _ID, primary_key=True),
    Column("username", NAME, nullable=False),
    Column("display_name", NAME, nullable=False),
    Column("roles", TEXT, nullable=False),
)
"""The members of the last complete reading; ``username`` is empty if the platform tells none."""

lti_scores = Table(
    "lti_scores",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("issuer", _ADDRESS, nullable=False),
    Column("client_id", _ID, nullable=False),
    Column("lineitem", TEXT, nullable=False),
    Column("subject", _ID, nullable=False),
    Column("username", NAME, nullable=False),
    Column("item", NAME, nullable=False),
    Column("given", Float),
    Column("maximum", Float),
    Column("comment", Text, nullable=False),
    Column("digest", HASH, nullable=False),
    Column("state", WORD, nullable=False),
    Column("detail", TEXT, nullable=False, server_default=""),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_at", UtcDateTime(), nullable=False),
    Column("stamp", UtcDateTime()),
    Column("sent_at", UtcDateTime()),
    Column("sent_digest", HASH, nullable=False, server_default=""),
    Column("ours", TEXT, nullable=False, server_default="[]"),
    Column("overwrite", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("lineitem", "subject"),
    Index(None, "item"),
    Index(None, "state", "next_at"),
)
"""The queue of scores, a row for each grade of a person.

``stamp`` is the timestamp of the present mark, or of the one before while it was never tried. A
process takes a row by moving ``next_at`` ahead, which also is the time of the next try. ``ours`` is
JSON: the marks of this hub that may be at the platform, as parts of the maximum; with
``overwrite``, any other mark there is replaced, too.
"""

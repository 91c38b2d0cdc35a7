"""The tables of the hub's own state; the dataclasses of their rows.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, Table, UniqueConstraint

from mograder.auth.credentials import Role
from mograder.store.database.database import (
    HASH,
    NAME,
    Hash,
    Line,
    Name,
    UtcDateTime,
    Word,
    table_of,
)


class SessionState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("username", NAME, primary_key=True),
    Column("slot", Integer, unique=True),
    Column("epoch", Integer, nullable=False, server_default="0"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("value", Integer, nullable=False),
)

revoked_logins = Table(
    "revoked_logins",
    metadata,
    Column("login_id", HASH, primary_key=True),
    Column("until", UtcDateTime(), nullable=False),
)


@dataclass(frozen=True, slots=True)
class LinkRow:
    code_hash: Hash = field(repr=False)
    username: Name
    role: Role
    expires: datetime


links = table_of("links", metadata, LinkRow, ("code_hash",))


@dataclass(frozen=True, slots=True)
class SessionRow:
    """``mode`` is ``edit`` or ``run``, ``node`` the machine that runs it, "" for the hub's own."""

    session_id: Hash
    username: Name
    item: Name
    mode: Word
    state: SessionState
    socket: Line
    version: Hash
    environment: Line
    started_at: datetime
    node: Name = ""


sessions = table_of(
    "sessions",
    metadata,
    SessionRow,
    ("session_id",),
    UniqueConstraint("username", "item", "mode"),
    node="",
)


@dataclass(frozen=True, slots=True)
class CapabilityRow:
    cap_hash: Hash
    session_id: Annotated[Hash, ForeignKey("sessions.session_id", ondelete="CASCADE")]
    username: Name
    role: Role
    login_id: Hash
    created: datetime


capabilities = table_of(
    "capabilities",
    metadata,
    CapabilityRow,
    ("cap_hash",),
    Index(None, "session_id"),
    Index(None, "login_id"),
)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A line of the audit log; :meth:`HubState.recent_audit` pages by its number."""

    number: int
    at: datetime
    who: Name
    action: Name
    what: Line
    origin: Name
    outcome: Name


audit = table_of("audit", metadata, AuditRow, ("number",))


@dataclass(frozen=True, slots=True)
class EndingRow:
    """The end of the last session of a user, item and mode; the session pool sets ``reason``."""

    username: Name
    item: Name
    mode: Word
    session_id: Hash
    reason: Word
    ended_at: datetime
    detail: Line


endings = table_of(
    "endings", metadata, EndingRow, ("username", "item", "mode"), Index(None, "ended_at")
)

"""The tables of the hub's own state and of nodes; the dataclasses of their rows.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.engine.default import DefaultExecutionContext

from mograder.auth.roles import Role

# The types of columns that the tables share.
NAME = String(200)
HASH = String(128)
TEXT = String(1000)
WORD = String(20)


class LetterState(StrEnum):
    """The state of a letter by e-mail."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


class SessionState(StrEnum):
    """The state of a session."""

    STARTING = "starting"
    RUNNING = "running"


class JobState(StrEnum):
    """The state of a grading job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the job."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


def _word_of(kind: type[StrEnum]) -> Enum:
    """Return the column type of an enumeration, which is stored as text by its values."""
    return Enum(
        kind,
        native_enum=False,
        length=20,
        values_callable=lambda members: [each.value for each in members],
    )


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times on every engine; SQLite itself stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC. Raises: ``ValueError`` for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone reached the database")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


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

links = Table(
    "links",
    metadata,
    Column("code_hash", HASH, primary_key=True),
    Column("username", NAME, nullable=False),
    Column("role", _word_of(Role), nullable=False),
    Column("expires", UtcDateTime(), nullable=False),
)


def _as_started(context: DefaultExecutionContext) -> datetime:
    at: datetime = context.get_current_parameters()["started_at"]  # type: ignore[no-untyped-call]
    return at


sessions = Table(
    "sessions",
    metadata,
    Column("session_id", HASH, primary_key=True),
    Column("username", NAME, nullable=False),
    Column("item", NAME, nullable=False),
    Column("mode", WORD, nullable=False),
    Column("state", _word_of(SessionState), nullable=False),
    Column("socket", TEXT, nullable=False),
    Column("version", HASH, nullable=False),
    Column("environment", TEXT, nullable=False),
    Column("started_at", UtcDateTime(), nullable=False),
    # Not read: a hub that adopts a session takes it as used just now.
    Column("last_seen", UtcDateTime(), nullable=False, default=_as_started),
    Column("node", NAME, nullable=False, server_default=""),
    UniqueConstraint("username", "item", "mode"),
)

capabilities = Table(
    "capabilities",
    metadata,
    Column("cap_hash", HASH, primary_key=True),
    Column(
        "session_id", HASH, ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False
    ),
    Column("username", NAME, nullable=False),
    Column("role", _word_of(Role), nullable=False),
    Column("login_id", HASH, nullable=False),
    Column("created", UtcDateTime(), nullable=False),
    Index(None, "session_id"),
    Index(None, "login_id"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime(), nullable=False),
    Column("who", NAME, nullable=False),
    Column("action", NAME, nullable=False),
    Column("what", TEXT, nullable=False),
    Column("origin", NAME, nullable=False),
    Column("outcome", NAME, nullable=False),
)


endings = Table(
    "endings",
    metadata,
    Column("username", NAME, primary_key=True),
    Column("item", NAME, primary_key=True),
    Column("mode", WORD, primary_key=True),
    Column("session_id", HASH, nullable=False),
    Column("reason", WORD, nullable=False),
    Column("ended_at", UtcDateTime(), nullable=False),
    Column("detail", TEXT, nullable=False),
    Index(None, "ended_at"),
)

results = Table(
    "results",
    metadata,
    Column("username", NAME, primary_key=True),
    Column("item", NAME, primary_key=True),
    Column("at", UtcDateTime(), nullable=False),
    Column("answer", Text, nullable=False),
    Index(None, "at"),
)

letters = Table(
    "letters",
    metadata,
    Column("key", HASH, primary_key=True),
    Column("kind", WORD, nullable=False),
    Column("username", NAME, nullable=False),
    Column("item", NAME, nullable=False),
    Column("address", TEXT, nullable=False),
    Column("subject", TEXT, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", UtcDateTime(), nullable=False),
    Column("next", UtcDateTime(), nullable=False),
    Column("state", _word_of(LetterState), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", TEXT, nullable=False),
    Index(None, "state", "next"),
)

grading_jobs = Table(
    "grading_jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("item", NAME, nullable=False),
    Column("state", _word_of(JobState), nullable=False),
    Column("who", NAME, nullable=False),
    Column("students", Text, nullable=False),
    Column("force", Boolean, nullable=False),
    Column("failed_only", Boolean, nullable=False),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("attention", Integer, nullable=False),
    Column("problems", Text, nullable=False),
    Column("error", TEXT, nullable=False),
    Column("asked_at", UtcDateTime(), nullable=False),
    Column("started_at", UtcDateTime()),
    Column("ended_at", UtcDateTime()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    UniqueConstraint("item"),
)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A row of the table ``sessions``; ``mode`` is ``edit`` or ``run``.

    ``node`` is the machine that runs it, "" for the hub's own.
    """

    session_id: str
    username: str
    item: str
    mode: str
    state: SessionState
    socket: str
    version: str
    environment: str
    started_at: datetime
    node: str = ""


@dataclass(frozen=True, slots=True)
class EndingRow:
    """The end of the last session of a user, item and mode; the session pool sets ``reason``."""

    username: str
    item: str
    mode: str
    session_id: str
    reason: str
    ended_at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class ResultRow:
    """The result of the last validation of a copy; ``answer`` is the hub's own JSON."""

    username: str
    item: str
    at: datetime
    answer: str


@dataclass(frozen=True, slots=True)
class JobRow:
    """The last grading job of an item, asked for by ``who``; ``number`` is its place in the queue.

    ``students`` are the only ones to grade, all if empty. ``force`` grades submissions again whose
    result is up to date, ``failed_only`` only those without a result. ``completed`` of ``total``
    submissions are graded, of which ``attention`` have no result. ``problems`` are sentences about
    single students, by name, and about the assignment, by an empty name. ``error`` says why the job
    failed. ``attempts`` is how often it was begun and neither ended nor was put back in order.
    """

    number: int
    item: str
    state: JobState
    who: str
    students: tuple[str, ...]
    force: bool
    failed_only: bool
    total: int
    completed: int
    attention: int
    problems: tuple[tuple[str, str], ...]
    error: str
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class CapabilityRow:
    """A capability, by its hash, with its session, user, role and login."""

    cap_hash: str
    session_id: str
    username: str
    role: Role
    login_id: str
    created: datetime


@dataclass(frozen=True, slots=True)
class LinkRow:
    """The user that a one-time link signs in, and the role."""

    username: str
    role: Role


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of the audit log: user, action, object, origin and outcome.

    ``number`` is the primary key; :meth:`HubState.recent_audit` pages by it.
    """

    at: datetime
    who: str
    action: str
    what: str
    origin: str
    outcome: str
    number: int = field(default=0, compare=False)


_ADDRESS = String(500)

nodes = Table(
    "nodes",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("secret_hash", HASH, nullable=False),
    Column("added_at", UtcDateTime(), nullable=False),
    Column("lease_until", UtcDateTime()),
    Column("draining", Boolean, nullable=False, server_default=false()),
    Column("version", NAME, nullable=False, server_default=""),
    Column("status", Text, nullable=False, server_default=""),
)

active_hub = Table(
    "active_hub",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("place", _ADDRESS, nullable=False),
)


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node that has a token.

    ``secret_hash`` is the SHA-256, in hex, of the secret by which it is known, "" once it was
    removed. No hub may take its sessions as ended before ``lease_until``, unless the node says so;
    it is None before its first connection. ``draining`` is the administrator's wish. ``status`` is
    the JSON of its last :class:`~mograder.sandbox.protocol.NodeStatus`, written now and then for
    people.
    """

    name: str
    secret_hash: str
    added_at: datetime
    lease_until: datetime | None = None
    draining: bool = False
    version: str = ""
    status: str = ""

"""The tables of the board, of help requests and of messages, and the dataclasses of their rows.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, Column, Float, Index, Integer, String, Table, Text, false

from mograder.store.hub.hub_tables import NAME, WORD, UtcDateTime, metadata

MOST_LABEL = 200
"""Maximum characters of a check's label on the board."""

board_checks = Table(
    "board_checks",
    metadata,
    Column("item", NAME, primary_key=True),
    Column("username", NAME, primary_key=True),
    Column("label", String(MOST_LABEL), primary_key=True),
    Column("status", WORD, nullable=False),
    Column("earned", Float, nullable=False),
    Column("total", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_at", UtcDateTime(), nullable=False),
    Column("last_at", UtcDateTime(), nullable=False),
    Column("passed_at", UtcDateTime()),
    Index(None, "item", "last_at"),
    Index(None, "last_at"),
)

help_requests = Table(
    "help_requests",
    metadata,
    Column("item", NAME, primary_key=True),
    Column("username", NAME, primary_key=True),
    Column("label", String(MOST_LABEL), nullable=False),
    Column("text", Text, nullable=False),
    Column("asked_at", UtcDateTime(), nullable=False),
    Column("helper", NAME, nullable=False, server_default=""),
    Column("taken_at", UtcDateTime()),
    Column("together", Boolean, nullable=False, server_default=false()),
)

item_messages = Table(
    "item_messages",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("item", NAME, nullable=False),
    Column("text", Text, nullable=False),
    Column("sender", NAME, nullable=False),
    Column("sent_at", UtcDateTime(), nullable=False),
    Column("until", UtcDateTime(), nullable=False),
    Index(None, "until"),
)


@dataclass(frozen=True, slots=True)
class CheckRow:
    """What a student's notebook or a validation said of one check; it is no mark.

    ``status`` is the last one, a word of :data:`mograder.judging.Status`. ``attempts`` counts the
    reports, but those of a check that waited for code. ``passed_at`` is the first success.
    """

    item: str
    username: str
    label: str
    status: str
    earned: float
    total: float
    attempts: int
    first_at: datetime
    last_at: datetime
    passed_at: datetime | None


@dataclass(frozen=True, slots=True)
class HelpRow:
    """A student's open request for help with an item; there is at most one per copy.

    ``label`` is the check that it is about, "" for none; ``text`` the student's words. ``helper``
    is the person who took it, "" before. ``together`` is whether the helper may enter the
    student's session.
    """

    item: str
    username: str
    label: str
    text: str
    asked_at: datetime
    helper: str = ""
    taken_at: datetime | None = None
    together: bool = False


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message to all open notebooks of an item, shown ``until`` then."""

    number: int
    item: str
    text: str
    sender: str
    sent_at: datetime
    until: datetime

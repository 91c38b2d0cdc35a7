"""The tables of learning platforms, LTI 1.3, and whether there are any.

A hub without platforms imports this, and nothing of what is needed to speak with them.

``migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from sqlalchemy import (
    Column,
    Engine,
    Float,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
    exists,
    false,
    or_,
    select,
)

from mograder.store.database.database import (
    HASH,
    NAME,
    TEXT,
    Converted,
    Hash,
    Line,
    Name,
    UtcDateTime,
    reading,
    table_of,
)
from mograder.store.hub.hub_tables import metadata

ADDRESS = String(500)
ID = String(255)

Address = Annotated[str, ADDRESS]
Id = Annotated[str, ID]

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
    Column("issuer", ADDRESS, primary_key=True),
    Column("client_id", ID, primary_key=True),
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


@dataclass(frozen=True, slots=True)
class Link:
    """An activity: its item, "" for none, its title as told, and the addresses of its grades."""

    issuer: Address
    client_id: Id
    deployment: Id
    context: Id
    resource_link: Id
    item: Name
    title: Line
    lineitem: Line
    lineitems: Line
    seen_at: datetime


lti_links = table_of(
    "lti_links",
    metadata,
    Link,
    ("issuer", "client_id", "deployment", "context", "resource_link"),
    Index(None, "item"),
)


@dataclass(frozen=True, slots=True)
class Course:
    """A course of a platform; ``context`` is the course's id there."""

    issuer: str
    client_id: str
    context: str


@dataclass(frozen=True, slots=True)
class Roster:
    """``read_at``: when the last complete reading began; ``error``: why a later one failed."""

    issuer: Address
    client_id: Id
    context: Id
    memberships_url: Line
    read_at: datetime | None = None
    tried_at: datetime | None = None
    error: Line = ""

    @property
    def course(self) -> Course:
        return Course(self.issuer, self.client_id, self.context)


COURSE = ("issuer", "client_id", "context")

lti_rosters = table_of("lti_rosters", metadata, Roster, COURSE, error="")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


lti_members = Table(
    "lti_members",
    metadata,
    Column("issuer", ADDRESS, primary_key=True),
    Column("client_id", ID, primary_key=True),
    Column("context", ID, primary_key=True),
    Column("subject", ID, primary_key=True),
    Column("username", NAME, nullable=False),
    Column("display_name", NAME, nullable=False),
    Column("roles", Converted(TEXT, " ".join, _words), nullable=False),
)
"""The members of the last complete reading; ``username`` is empty if the platform tells none."""

PlatformKey = tuple[str, str]
"""A platform's issuer and client id."""


class ScoreState(StrEnum):
    WAITING = "waiting"
    TAKEN = "taken"
    """The platform answered that it took it; whether it is there has not been read yet."""
    SENT = "sent"
    """It was seen at the platform."""
    REFUSED = "refused"
    """The platform does not take it; tried again when the mark changes or on request, and one of a
    person who is no student there when that person comes from the course."""
    CHANGED = "changed"
    """The platform has another mark, or none, and keeps that."""
    GONE = "gone"
    """Its activity or grade item does not exist any more."""
    STOPPED = "stopped"
    """It is no longer due, and was not sent."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A mark in the queue.

    ``stamp`` is the time sent with the mark, in whole seconds: of the present mark, or of the one
    before while it was never tried. A process takes a row by moving ``next_at`` ahead, which also
    is the time of the next try. ``ours`` are the marks of this hub that may be at the platform, as
    parts of the maximum; with ``overwrite``, any other mark there is replaced, too.
    """

    number: int
    issuer: Address
    client_id: Id
    lineitem: Line
    subject: Id
    username: Name
    item: Name
    given: float | None
    maximum: float
    comment: str
    digest: Hash
    state: ScoreState
    detail: Line
    tries: int
    next_at: datetime
    stamp: datetime | None
    sent_at: datetime | None
    ours: Annotated[tuple[float | None, ...], TEXT]
    overwrite: bool

    @property
    def platform(self) -> PlatformKey:
        return self.issuer, self.client_id

    @property
    def part(self) -> float | None:
        """The mark as part of the maximum; None where the mark is erased."""
        return None if self.given is None else self.given / self.maximum


lti_scores = table_of(
    "lti_scores",
    metadata,
    ScoreRow,
    ("number",),
    Column("maximum", Float),
    UniqueConstraint("lineitem", "subject"),
    Index(None, "item"),
    Index(None, "state", "next_at"),
    detail="",
    tries="0",
    ours="[]",
    overwrite=false(),
)


def has_platforms(engine: Engine, now: datetime) -> bool:
    """Return whether a platform is registered, or may be with an address that has not expired."""
    registered = exists().select_from(lti_platforms)
    invited = exists().where(lti_registrations.c.expires > now)
    with reading(engine) as connection:
        return bool(connection.execute(select(or_(registered, invited))).scalar_one())
